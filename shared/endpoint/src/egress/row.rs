//! The rows of the egress record.

use std::collections::BTreeMap;

use seal_protocol::{Digest, UnixSeconds};
use serde::{Deserialize, Serialize};

/// Tokens and money, paid or reserved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spent {
    /// Tokens read by the model.
    pub input_tokens: u64,
    /// Tokens written by it.
    pub output_tokens: u64,
    /// In millionths of the config's currency.
    pub cost_micro: u64,
}

/// What a request was for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Purpose {
    /// Digest of the context whose text (after redaction) is in the body; of a fine-tuning job, that of
    /// its training file.
    pub context_digest: Digest,
    /// Which of its proposals.
    pub proposal: u32,
    /// From 1; higher ones are repeats.
    pub attempt: u32,
}

/// One row of the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum EgressRow {
    /// Written before the request left.
    Sent {
        /// From 1.
        number: u64,
        /// When.
        time: UnixSeconds,
        /// `POST` or `GET`.
        method: String,
        /// Where to.
        url: String,
        /// As set by this program; the key is withheld. The HTTP library adds `host`, `accept` and
        /// `content-length`.
        headers: BTreeMap<String, String>,
        /// SHA-256 of the body.
        body_sha256: Digest,
        /// Length of the body.
        body_bytes: u64,
        /// The body, byte for byte; it is UTF-8.
        body: String,
        /// What for.
        purpose: Purpose,
        /// The most it was taken to cost, which counts until the answer is known.
        reserved: Spent,
        /// SHA-256 of the row before, or zeros.
        previous: Digest,
    },
    /// Written when the request was over.
    Answered {
        /// The request's number.
        number: u64,
        /// When.
        time: UnixSeconds,
        /// `ok`, or the name of what went wrong.
        outcome: String,
        /// The endpoint's own words about a failure, cut and without the key. Anybody's text: strip
        /// control characters before showing it.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        detail: String,
        /// What it cost.
        spent: Spent,
        /// Whether the endpoint said so; else it is our estimate.
        measured: bool,
        /// SHA-256 of the row before.
        previous: Digest,
    },
}
