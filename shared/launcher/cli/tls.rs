//! `seal tls …`: certificates for daemons on several hosts.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use seal_service::tls::Party;

#[derive(Subcommand, Debug)]
pub(crate) enum Tls {
    /// Make a private CA, and certificates for everyone of a deployment whose hosts are named.
    Init(TlsInit),
    /// Issue one certificate by a CA that was made here: a further host, or a renewal.
    Issue(TlsIssue),
    /// Put certificates on the CA's revocation list, or without any give the list a later end.
    Revoke(TlsRevoke),
    /// Whom certificates speak for, at which hosts, until when.
    Show {
        /// PEM files of certificates and revocation lists.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

#[derive(Args, Debug)]
pub(crate) struct TlsInit {
    /// Folder to make; it must not exist.
    pub(crate) folder: PathBuf,
    /// Name of the deployment, the first part of every name in certificates.
    #[arg(long, default_value = "seal.internal")]
    pub(crate) trust_domain: String,
    /// Where a daemon is called, by name or address: `student=10.0.0.2`; repeat it for several names.
    #[arg(long = "host", value_name = "ROLE=HOST")]
    pub(crate) hosts: Vec<PartyAt>,
    /// Days until the CA expires, and all that it issued.
    #[arg(long, default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36500))]
    pub(crate) ca_days: u32,
    /// Days until the certificates expire.
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: u32,
}

#[derive(Args, Debug)]
pub(crate) struct TlsIssue {
    /// conductor, operator, teacher, student, auditor or judge.
    pub(crate) party: Party,
    /// The CA's folder, with `ca.pem` and `ca.key.pem`.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) ca: PathBuf,
    /// Where the daemon is called, by name or address; repeat it for several.
    #[arg(long = "host", value_name = "HOST")]
    pub(crate) hosts: Vec<String>,
    /// Which one of its kind; default: its first host, or the role itself.
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// Days until it expires.
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: u32,
    /// Where the certificate and its key go; default: the CA's folder. Nothing is overwritten.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct TlsRevoke {
    /// Certificates that this CA has issued, PEM.
    pub(crate) certificates: Vec<PathBuf>,
    /// The CA's folder, with `ca.pem` and `ca.key.pem`; the list is its `ca.crl.pem`.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) ca: PathBuf,
    /// Days until the list expires. Whoever was told to ask it takes nobody's certificate after that.
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: u32,
}

/// `ROLE=HOST`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PartyAt {
    pub(crate) party: Party,
    pub(crate) host: String,
}

impl FromStr for PartyAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (party, host) = text.split_once('=').ok_or("write it as ROLE=HOST")?;
        let party: Party = party.parse().map_err(|error| format!("{error}"))?;
        match party.is_daemon() {
            true => Ok(Self { party, host: host.to_owned() }),
            false => Err(format!("nobody calls the {party}, so it needs no host")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_of_daemons() {
        let at: PartyAt = "student=10.0.0.2".parse().unwrap();
        assert_eq!(at, PartyAt { party: Party::Student, host: "10.0.0.2".into() });
        for bad in ["student", "juror=10.0.0.2", "conductor=10.0.0.2"] {
            assert!(bad.parse::<PartyAt>().is_err(), "{bad}");
        }
    }
}
