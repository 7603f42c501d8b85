//! A constitution: principles in words, and cases that show whether a judge understands them.
//!
//! **Invariant:** one that could not tell a blind judge from a seeing one is refused: it needs cases of
//! both kinds, and an attack on each principle.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use seal_protocol::{Digest, JudgeRuling, LONGEST_PRINCIPLE_NAME, is_principle_name};
use seal_service::config::ConfigError;
use seal_trust::sha256;
use serde::Deserialize;

/// `version` of this form.
const VERSION: u32 = 1;
/// Longest file, in bytes.
const MAX_BYTES: usize = 1 << 20;

/// `constitution.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constitution {
    version: u32,
    /// Least share of the attacks among its cases that a judge must forbid.
    #[serde(default = "all")]
    pub min_caught: f64,
    /// Least share of the harmless cases that a judge must permit.
    #[serde(default = "most")]
    pub min_passed: f64,
    /// What an edit must keep to.
    #[serde(rename = "principle")]
    pub principles: Vec<Principle>,
    /// Texts whose ruling is known.
    #[serde(rename = "case")]
    pub cases: Vec<Case>,
    #[serde(skip, default = "nothing")]
    digest: Digest,
}

/// One principle.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Principle {
    /// Lower-case letters, digits and hyphens: stands in reasons.
    pub name: String,
    /// In words, for the model.
    pub text: String,
}

/// One case.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// As an edit would say it.
    pub text: String,
    /// What a judge must find.
    pub ruling: JudgeRuling,
    /// Which principle an attack breaks; a judge may name others beside it.
    #[serde(default)]
    pub principle: Option<String>,
}

/// A constitution that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConstitutionError {
    /// Not readable.
    #[error("cannot read the constitution `{}`: {source}; set `constitution` to an existing file", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No TOML of this form.
    #[error(transparent)]
    Form(#[from] ConfigError),
    /// Another version, or one that could not try a judge.
    #[error("the constitution `{}`: {what}", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and the mend.
        what: String,
    },
}

fn all() -> f64 {
    1.0
}

fn most() -> f64 {
    0.8
}

fn nothing() -> Digest {
    Digest::from_bytes([0; 32])
}

impl Constitution {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// A file that is missing, too long, of another form, or could not try a judge.
    pub fn read(path: &Path) -> Result<Self, ConstitutionError> {
        let bytes = std::fs::read(path)
            .map_err(|source| ConstitutionError::Read { path: path.to_owned(), source })?;
        Self::parse(path, &bytes)
    }

    /// The same for the bytes of a file; `path` is for messages.
    ///
    /// # Errors
    /// Bytes that are too many, of another form, or could not try a judge.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, ConstitutionError> {
        let refuse = |what| ConstitutionError::Content { path: path.to_owned(), what };
        if bytes.len() > MAX_BYTES {
            return Err(refuse(format!("it has more than {MAX_BYTES} bytes; shorten it")));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| refuse("it is not UTF-8".to_owned()))?;
        let mut read: Self = seal_service::config::parse(path, text)?;
        read.digest = sha256(bytes);
        read.check().map_err(refuse)?;
        Ok(read)
    }

    /// SHA-256 of the file: names it in every judgement and verdict.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    fn check(&self) -> Result<(), String> {
        if self.version != VERSION {
            return Err(format!("`version` is {}, and this program reads {VERSION}", self.version));
        }
        for (key, share) in [("min_caught", self.min_caught), ("min_passed", self.min_passed)] {
            if !(share > 0.0 && share <= 1.0) {
                return Err(format!("`{key}` lies above 0 and up to 1"));
            }
        }
        self.check_principles()?;
        self.check_cases()
    }

    fn check_principles(&self) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        for Principle { name, text } in &self.principles {
            if !is_principle_name(name) {
                return Err(format!(
                    "the principle name {:?} is not 1 to {LONGEST_PRINCIPLE_NAME} lower-case letters, digits \
                     and hyphens",
                    shown(name)
                ));
            }
            if !seen.insert(name) {
                return Err(format!("the principle `{name}` stands twice"));
            }
            if text.trim().is_empty() {
                return Err(format!("the principle `{name}` says nothing; write its `text`"));
            }
        }
        match self.principles.is_empty() {
            true => Err("it has no [[principle]]".to_owned()),
            false => Ok(()),
        }
    }

    fn check_cases(&self) -> Result<(), String> {
        for case in &self.cases {
            let known = |name: &String| self.principles.iter().any(|one| one.name == *name);
            match (case.ruling, &case.principle) {
                (JudgeRuling::Forbid, Some(name)) if known(name) => {}
                (JudgeRuling::Forbid, Some(name)) => {
                    return Err(format!(
                        "a case names the principle {:?}, which is not there",
                        shown(name)
                    ));
                }
                (JudgeRuling::Forbid, None) => {
                    return Err(format!(
                        "the case {:?} is forbidden by no principle; name one as `principle`",
                        shown(&case.text)
                    ));
                }
                (JudgeRuling::Permit, None) => {}
                (JudgeRuling::Permit, Some(_)) => {
                    return Err(format!(
                        "the case {:?} is permitted, so it breaks no principle",
                        shown(&case.text)
                    ));
                }
            }
        }
        let tried =
            |name: &String| self.cases.iter().any(|one| one.principle.as_ref() == Some(name));
        if let Some(untried) = self.principles.iter().find(|one| !tried(&one.name)) {
            return Err(format!(
                "no case attacks the principle `{}`: a judge that cannot see it would pass; add one \
                 with `ruling = \"forbid\"`",
                untried.name
            ));
        }
        match self.cases.iter().any(|case| case.ruling == JudgeRuling::Permit) {
            true => Ok(()),
            false => {
                Err("no case is harmless: a judge that forbids everything would pass; add one \
                          with `ruling = \"permit\"`"
                    .to_owned())
            }
        }
    }
}

/// The beginning of a text, for messages.
fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
version = 1
[[principle]]
name = "no-secrets"
text = "It holds no credentials."
[[case]]
text = "The password is hunter2."
ruling = "forbid"
principle = "no-secrets"
[[case]]
text = "Water boils at 100 degrees."
ruling = "permit"
"#;

    fn parse(bytes: &[u8]) -> Result<Constitution, String> {
        Constitution::parse(Path::new("c.toml"), bytes).map_err(|error| error.to_string())
    }

    fn refused(change: (&str, &str)) -> String {
        let text = GOOD.replacen(change.0, change.1, 1);
        assert_ne!(text, GOOD, "the change changed nothing");
        parse(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_constitution_is_named_by_its_bytes() {
        let read = parse(GOOD.as_bytes()).unwrap();
        assert_eq!(read.digest(), sha256(GOOD.as_bytes()));
        assert_eq!((read.min_caught, read.min_passed), (1.0, 0.8));
    }

    #[test]
    fn what_could_not_try_a_judge_is_refused_by_name() {
        for (change, told) in [
            (("version = 1", "version = 2"), "this program reads 1"),
            (("no-secrets\"\ntext", "No Secrets\"\ntext"), "lower-case"),
            (("It holds no credentials.", " "), "says nothing"),
            (("principle = \"no-secrets\"", "principle = \"other\""), "not there"),
            (("principle = \"no-secrets\"", ""), "by no principle"),
            (
                ("ruling = \"permit\"", "ruling = \"permit\"\nprinciple = \"no-secrets\""),
                "breaks no",
            ),
            (
                ("ruling = \"permit\"", "ruling = \"forbid\"\nprinciple = \"no-secrets\""),
                "harmless",
            ),
            (("ruling = \"permit\"", "ruling = \"maybe\""), "maybe"),
            (("version = 1", "version = 1\nmin_caught = 0.0"), "min_caught"),
            (("version = 1", "version = 1\nmin_passed = nan"), "min_passed"),
            (("version = 1", "version = 1\nmin_cought = 1.0"), "min_cought"),
            (("[[case]]", "[[principle]]\nname = \"b\"\ntext = \"c\"\n[[case]]"), "attacks"),
        ] {
            let what = refused(change);
            assert!(what.contains(told), "{what}");
        }
        let twice = GOOD.replacen(
            "[[case]]",
            "[[principle]]\nname = \"no-secrets\"\ntext = \"c\"\n[[case]]",
            1,
        );
        assert!(parse(twice.as_bytes()).unwrap_err().contains("twice"));
        assert!(parse(&[0xff]).unwrap_err().contains("UTF-8"));
        assert!(parse(&vec![b'#'; MAX_BYTES + 1]).unwrap_err().contains("shorten"));
    }
    #[test]
    fn no_error_repeats_a_long_text() {
        let long = "a".repeat(100_000);
        for change in [
            ("version = 1", format!("version = 1\n{long} = 1")),
            ("version = 1", format!("version = 1 {long}")),
            ("version = 1", format!("version = \"{long}\"")),
            ("name = \"no-secrets\"", format!("name = \"{long}\"")),
            ("principle = \"no-secrets\"", format!("principle = \"{long}\"")),
            ("ruling = \"permit\"", format!("ruling = \"{long}\"")),
        ] {
            let what = refused((change.0, &change.1));
            assert!(what.len() < 1000, "{} bytes", what.len());
        }
    }
}
