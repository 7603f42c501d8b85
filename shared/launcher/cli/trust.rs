//! `seal trust …`: keys and the trust root.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use seal_protocol::{Digest, EnforcementLevel, Role};

#[derive(Subcommand, Debug)]
pub(crate) enum Trust {
    /// Make a private key for its owner alone, and its public half beside it.
    Key {
        /// The private key's file; it must not exist. The public half gets `.pub.pem`.
        file: PathBuf,
    },
    /// Make a first trust root: a key for every role that has none, a draft, and the trust root
    /// itself if enough of its root keys are made here.
    Init(TrustInit),
    /// Who may say what, until when; with its digest, which readers pin.
    Show {
        /// A trust root or a draft; default: the run folder's.
        file: Option<PathBuf>,
    },
    /// Draft a next version in which a new key takes an old one's place.
    Rotate(Rotate),
    /// Draft a next version that voids a key's statements, all or from a number on.
    Revoke(Revoke),
    /// Draft a next version with other keys, thresholds, pins, limits or expiry.
    Change(Change),
    /// Show what a draft changes and sign it with a root key, on the machine where that key lies.
    Sign(Sign),
    /// Put a draft that enough root keys have signed in force.
    Install(Install),
}

#[derive(Args, Debug)]
pub(crate) struct TrustInit {
    /// Folder for `keys/` and `trust/`; existing files in it are not overwritten.
    pub(crate) folder: PathBuf,
    /// A public key that was made elsewhere; repeat it for several, and for several of one role.
    #[arg(long = "key", value_name = "ROLE=FILE")]
    pub(crate) keys: Vec<RoleAnd<PathBuf>>,
    /// How many keys of a role must sign: `root=2`, `auditor=2`.
    #[arg(long = "threshold", value_name = "ROLE=N")]
    pub(crate) thresholds: Vec<RoleAnd<usize>>,
    #[command(flatten)]
    pub(crate) terms: Terms,
}

/// Expiry, pins and limits; what is not named stays as it is.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Terms {
    /// Days from now until nothing is believed under it any more.
    #[arg(long, value_name = "DAYS")]
    pub(crate) expires_in_days: Option<u64>,
    /// Allow this artefact, and no other of its kind that is not pinned too: `base-model`, `policy`,
    /// `suite`, `evaluator`.
    #[arg(long = "pin", value_name = "KIND=DIGEST")]
    pub(crate) pins: Vec<Pin>,
    /// Take a pin away.
    #[arg(long = "unpin", value_name = "KIND=DIGEST")]
    pub(crate) unpins: Vec<Pin>,
    /// Weakest confinement of the auditor under which its verdicts count.
    #[arg(long, value_name = "LEVEL", value_parser = level)]
    pub(crate) min_enforcement: Option<EnforcementLevel>,
    /// Longest life of a verdict.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) verdict_ttl_s: Option<u64>,
    /// How far a verdict may be issued in the future.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) max_clock_skew_s: Option<u64>,
    /// Attempts on one tau before it is spent.
    #[arg(long, value_name = "N")]
    pub(crate) tau_query_budget: Option<u64>,
    /// Share of accepts that may be chance.
    #[arg(long, value_name = "SHARE")]
    pub(crate) alpha: Option<f64>,
}

/// Which version is changed, and where the draft goes.
#[derive(Args, Clone, Debug)]
pub(crate) struct Next {
    /// The trust root in force; default: the run folder's.
    #[arg(long, value_name = "FILE")]
    pub(crate) root: Option<PathBuf>,
    /// The draft; default: `root.next.json` beside the trust root. One that nobody has signed yet is
    /// changed further.
    #[arg(long, value_name = "FILE")]
    pub(crate) draft: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Rotate {
    /// root, teacher, student, auditor, ledger, witness or judge.
    #[arg(value_parser = role)]
    pub(crate) role: Role,
    /// The new key's public half.
    #[arg(long, value_name = "FILE")]
    pub(crate) to: PathBuf,
    /// The key it replaces, by the first digits of its id; needed where the role has several.
    #[arg(long, value_name = "KEYID")]
    pub(crate) from: Option<String>,
    #[command(flatten)]
    pub(crate) next: Next,
}

#[derive(Args, Debug)]
pub(crate) struct Revoke {
    /// The first digits of the key's id.
    pub(crate) keyid: String,
    /// First number that is void; 0 voids all. An auditor's verdicts below it stay.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) from_sequence: u64,
    #[command(flatten)]
    pub(crate) next: Next,
}

#[derive(Args, Debug)]
pub(crate) struct Change {
    /// Give a role one more key.
    #[arg(long = "add", value_name = "ROLE=FILE")]
    pub(crate) add: Vec<RoleAnd<PathBuf>>,
    /// Take a key out, by the first digits of its id.
    #[arg(long = "remove", value_name = "KEYID")]
    pub(crate) remove: Vec<String>,
    /// How many keys of a role must sign.
    #[arg(long = "threshold", value_name = "ROLE=N")]
    pub(crate) thresholds: Vec<RoleAnd<usize>>,
    #[command(flatten)]
    pub(crate) terms: Terms,
    #[command(flatten)]
    pub(crate) next: Next,
}

#[derive(Args, Debug)]
pub(crate) struct Sign {
    /// The draft.
    pub(crate) draft: PathBuf,
    /// The root key's private half.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// The version before, from a source you trust; needed from version 2 on.
    #[arg(long, value_name = "FILE")]
    pub(crate) previous: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Install {
    /// The draft; default: `root.next.json` beside the trust root.
    pub(crate) draft: Option<PathBuf>,
    /// The trust root to replace; default: the run folder's.
    #[arg(long, value_name = "FILE")]
    pub(crate) root: Option<PathBuf>,
}

/// `ROLE=…`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RoleAnd<T> {
    pub(crate) role: Role,
    pub(crate) value: T,
}

impl<T: FromStr> FromStr for RoleAnd<T>
where
    T::Err: std::fmt::Display,
{
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("write it as ROLE=VALUE")?;
        let value = value.parse().map_err(|error| format!("{error}"))?;
        Ok(Self { role: role(name)?, value })
    }
}

/// What a pin is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum PinKind {
    BaseModel,
    Policy,
    Suite,
    Evaluator,
}

/// `KIND=DIGEST`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pin {
    pub(crate) kind: PinKind,
    pub(crate) digest: Digest,
}

impl FromStr for Pin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, digest) = text.split_once('=').ok_or("write it as KIND=DIGEST")?;
        let kind = match kind {
            "base-model" => PinKind::BaseModel,
            "policy" => PinKind::Policy,
            "suite" => PinKind::Suite,
            "evaluator" => PinKind::Evaluator,
            _ => return Err("the kind is base-model, policy, suite or evaluator".to_owned()),
        };
        let digest = digest.parse().map_err(|error| format!("{error}"))?;
        Ok(Self { kind, digest })
    }
}

fn role(name: &str) -> Result<Role, String> {
    let roles = [
        Role::Root,
        Role::Teacher,
        Role::Student,
        Role::Auditor,
        Role::Ledger,
        Role::Witness,
        Role::Judge,
    ];
    let named = roles.into_iter().find(|role| role.name() == name);
    named.ok_or_else(|| {
        "the role is root, teacher, student, auditor, ledger, witness or judge".to_owned()
    })
}

fn level(name: &str) -> Result<EnforcementLevel, String> {
    match name {
        "off" => Ok(EnforcementLevel::Off),
        "partial" => Ok(EnforcementLevel::Partial),
        "full" => Ok(EnforcementLevel::Full),
        _ => Err("the level is off, partial or full".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_read_and_others_say_what_is_missing() {
        let read: RoleAnd<usize> = "auditor=2".parse().unwrap();
        assert_eq!(read, RoleAnd { role: Role::Auditor, value: 2 });
        for bad in ["auditor", "juror=2", "auditor=two"] {
            assert!(bad.parse::<RoleAnd<usize>>().is_err(), "{bad}");
        }
        let digest = "5a".repeat(32);
        assert_eq!(format!("policy={digest}").parse::<Pin>().unwrap().kind, PinKind::Policy);
        for bad in ["policy", "policy=5a", &format!("rule={digest}")] {
            assert!(bad.parse::<Pin>().is_err(), "{bad}");
        }
    }
}
