//! What may leave this machine, and the record of what did.
//!
//! Everything is decided before the process confines itself: the config names the hosts, the address
//! of the endpoint is resolved once, judged and pinned, the key is read, the client is built. The
//! kernel then opens the endpoint's TCP port and nothing else; which host is behind that port is held
//! here, by a client that knows no other address, follows no redirect and reads no proxy variable.
//!
//! **Invariant:** a request is on disk, byte for byte, before its first byte leaves.
//! **Invariant:** the key is in no record, no log and no `Debug`.

mod address;
mod client;
mod journal;
mod key;
mod pin;
mod record;
mod redact;
mod row;

use std::path::PathBuf;

use serde::Deserialize;

pub use address::AddressKind;
pub use client::ClientError;
pub(crate) use client::{Waits, client};
pub use journal::JournalError;
pub(crate) use journal::{Durable, Journal};
pub(crate) use key::ApiKey;
pub use key::{KeyReadError, KeySource};
pub use pin::EgressRefusal;
pub(crate) use pin::{Pinned, base_of, pin, resolve_with_system};
pub(crate) use record::{EgressRecord, Ended, RequestHead, WITHHELD};
pub use record::{RecordError, read_record};
pub(crate) use redact::Redactor;
pub use redact::{RedactionError, RedactionRule};
pub use row::{EgressRow, Purpose, Spent};

/// `[egress]` of a config. Left out: nothing may leave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EgressConfig {
    /// Refuse every request before a socket is made, whatever else is set.
    pub offline: bool,
    /// Hosts that may be reached: `api.example.org`, which means its usual port, or `host:port`.
    pub allow_hosts: Vec<String>,
    /// Also this machine itself, and there without TLS.
    pub allow_loopback: bool,
    /// Also private networks (10/8, 172.16/12, 192.168/16, 100.64/10, fc00::/7).
    pub allow_private: bool,
    /// Certificates (PEM) to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// What is replaced in every prompt before it leaves.
    pub redact: Vec<RedactionRule>,
}
