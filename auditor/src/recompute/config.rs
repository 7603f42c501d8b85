//! `recompute` and `[recomputation]` of `auditor.toml`.

use std::fmt;
use std::path::PathBuf;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Which adapters are trained again: `"always"`, `"never"`, or a share of those that do not serve.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Share {
    /// None.
    #[default]
    Never,
    /// This share of the candidates, by the auditor's own draw, and every adapter that wants to serve.
    Of(f64),
    /// All.
    Always,
}

const ALWAYS: &str = "always";
const NEVER: &str = "never";
const CHOICE: &str = "\"always\", \"never\", or a share above 0 and up to 1";

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Never => to.serialize_str(NEVER),
            Self::Of(share) => to.serialize_f64(*share),
            Self::Always => to.serialize_str(ALWAYS),
        }
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Choice)
    }
}

struct Choice;

impl Visitor<'_> for Choice {
    type Value = Share;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(CHOICE)
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<Share, E> {
        match word {
            ALWAYS => Ok(Share::Always),
            NEVER => Ok(Share::Never),
            other => Err(E::custom(format!("`{other}` is no choice; write {CHOICE}"))),
        }
    }

    fn visit_f64<E: Error>(self, share: f64) -> Result<Share, E> {
        match share > 0.0 && share <= 1.0 {
            true => Ok(Share::Of(share)),
            false => Err(E::custom(format!("{share} is no such share; write {CHOICE}"))),
        }
    }

    fn visit_i64<E: Error>(self, share: i64) -> Result<Share, E> {
        self.visit_f64(share as f64)
    }

    fn visit_u64<E: Error>(self, share: u64) -> Result<Share, E> {
        self.visit_f64(share as f64)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => write!(f, "\"{NEVER}\""),
            Self::Of(share) => write!(f, "{share}"),
            Self::Always => write!(f, "\"{ALWAYS}\""),
        }
    }
}

/// `[recomputation]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecomputationConfig {
    /// A file with the tables of `student.toml` that fix what an edit becomes: `[inner_update]`,
    /// `[consolidation]`, `[directives]`, `[chat]`, with their replay files. This auditor's own
    /// copy, where the student's machine is another.
    pub update_tables: PathBuf,
    /// Where the student's arithmetic is not this auditor's, or not exact: how far its factors may
    /// lie from those trained here, as a share of the way that training moved them. Absent: such an
    /// adapter is refused.
    #[serde(default)]
    pub tolerance: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Result<Share, String> {
        serde_json::from_str(value).map_err(|error| error.to_string())
    }

    #[test]
    fn a_share_is_read_and_what_is_none_is_refused_with_the_choice() {
        assert_eq!(read("\"always\""), Ok(Share::Always));
        assert_eq!(read("\"never\""), Ok(Share::Never));
        assert_eq!((read("0.25"), read("1")), (Ok(Share::Of(0.25)), Ok(Share::Of(1.0))));
        for none in ["0", "0.0", "-0.5", "1.5", "2", "\"sometimes\"", "true", "[0.5]"] {
            let refused = read(none).unwrap_err();
            assert!(refused.contains(CHOICE), "{none}: {refused}");
        }
    }

    #[test]
    fn a_share_is_written_as_it_is_read() {
        for share in [Share::Never, Share::Of(0.25), Share::Always] {
            assert_eq!(read(&serde_json::to_string(&share).unwrap()), Ok(share));
        }
    }
}
