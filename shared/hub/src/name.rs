//! Names of repositories and revisions, checked before they become parts of paths and addresses.

use std::fmt;
use std::str::FromStr;

use crate::error::HubError;

/// Longest name of a repository, as the hub has it.
const MAX_NAME: usize = 96;
/// Longest name of a revision.
const MAX_REVISION: usize = 255;

/// `owner/name`, or a bare `name` of the hub's early days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoName(String);

impl RepoName {
    /// Owner and name; the owner may be empty.
    pub(crate) fn parts(&self) -> (&str, &str) {
        self.0.split_once('/').unwrap_or(("", &self.0))
    }

    /// The repository's folder in the cache: `models--owner--name`.
    pub(crate) fn folder(&self) -> String {
        format!("models--{}", self.0.replace('/', "--"))
    }
}

impl FromStr for RepoName {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self, HubError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let outer = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
        let sound = |part: &str| {
            part.chars().all(plain) && outer(part.chars().next()) && outer(part.chars().last())
        };
        // Two dashes are the cache's separator.
        let clear = !text.contains("--") && !text.contains("..") && !text.ends_with(".git");
        let parts: Vec<&str> = text.split('/').collect();
        if text.len() <= MAX_NAME && parts.len() <= 2 && clear && parts.into_iter().all(sound) {
            return Ok(Self(text.to_owned()));
        }
        Err(HubError::Name(text.to_owned()))
    }
}

impl fmt::Display for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A branch, tag, pull request (`refs/pr/1`) or commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision(String);

impl Revision {
    /// As it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if it names one commit for ever.
    #[must_use]
    pub fn is_commit(&self) -> bool {
        is_commit(&self.0)
    }
}

impl Default for Revision {
    fn default() -> Self {
        Self("main".to_owned())
    }
}

impl FromStr for Revision {
    type Err = HubError;

    /// The rules of `git check-ref-format`, which keep it a path below `refs/`.
    fn from_str(text: &str) -> Result<Self, HubError> {
        let forbidden = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
        let sound = |part: &str| {
            !part.is_empty() && !part.starts_with(['.', '-']) && !part.ends_with(".lock")
        };
        let clear = !text.contains("..") && !text.contains("@{") && !text.contains(forbidden);
        if text.len() <= MAX_REVISION && clear && text.split('/').all(sound) {
            return Ok(Self(text.to_owned()));
        }
        Err(HubError::Revision(text.to_owned()))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Forty hexadecimal digits.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_hub_are_taken() {
        for (text, folder) in [
            ("Qwen/Qwen2.5-0.5B", "models--Qwen--Qwen2.5-0.5B"),
            ("gpt2", "models--gpt2"),
            ("a_b/c.d-e", "models--a_b--c.d-e"),
        ] {
            assert_eq!(text.parse::<RepoName>().unwrap().folder(), folder);
        }
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_refused() {
        for text in [
            "",
            "/",
            "a/",
            "/a",
            "../a",
            "a/..",
            "a/b/c",
            "a--b/c",
            "a b/c",
            "-a/b",
            "a/b.git",
            "a/b?x",
            "a\\b",
            "a/b\u{1b}[2J",
            "ä/b",
        ] {
            let error = text.parse::<RepoName>().unwrap_err();
            assert!(matches!(error, HubError::Name(_)), "{text}: {error}");
        }
        assert!("n".repeat(97).parse::<RepoName>().is_err());
    }

    #[test]
    fn revisions_are_what_git_allows() {
        for text in ["main", "v1.0", "refs/pr/1", "feature/x", &"a".repeat(40)] {
            assert_eq!(text.parse::<Revision>().unwrap().as_str(), text);
        }
        for text in ["", "..", "a/../b", "/a", "a/", "a//b", ".a", "a b", "a~1", "x.lock", "-f"] {
            assert!(text.parse::<Revision>().is_err(), "{text}");
        }
        assert!(
            "0123456789abcdef0123456789abcdef01234567".parse::<Revision>().unwrap().is_commit()
        );
        assert!(!Revision::default().is_commit());
    }
}
