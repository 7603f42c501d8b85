//! Text rules on self-edits: what may not be trained on, whatever it would earn.
//!
//! **Invariant:** a rule set whose own examples fail does not load.
//! **Invariant:** a finding names the rule, never the text.
//! **Absent:** judging meaning. What a text does to the weights is measured, not read.

mod deny;
mod examples;
mod overlap;
mod unicode;

use std::path::{Path, PathBuf};

use deny::DenyRule;
use seal_protocol::{SelfEdit, TrainingExample};
use serde::{Deserialize, Serialize};

use self::overlap::OverlapIndex;
use self::unicode::UnicodeRule;
use crate::items::Item;

/// `rules.toml`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulesFile {
    /// Sizes an edit may have.
    pub limits: Limits,
    /// Characters that no edit may hold.
    pub unicode: Vec<UnicodeRule>,
    /// Whether a τ question followed by its answer is refused in an edit line.
    pub tau_overlap: bool,
    /// Patterns that no edit may match.
    #[serde(default)]
    pub deny: Vec<DenySpec>,
}

/// Sizes an edit may have.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Most training examples.
    pub max_examples: usize,
    /// Longest text of one example, in bytes.
    pub max_example_bytes: usize,
    /// Longest text of the whole edit, rationale included, in bytes.
    pub max_edit_bytes: usize,
}

/// One deny rule as written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenySpec {
    /// Stable; the finding is `text.<name>`.
    pub name: String,
    /// Linear-time regular expression over the NFKC, lower-cased text.
    pub pattern: String,
    /// If any are given, the pattern is tried only where one of them occurs.
    #[serde(default)]
    pub keywords: Vec<String>,
    /// Texts the rule must match.
    pub positive: Vec<String>,
    /// Texts it must not match.
    pub negative: Vec<String>,
}

/// A rule set that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RulesError {
    /// Not a linear-time regular expression.
    #[error("rule `{rule}`: the pattern does not compile: {reason}")]
    Pattern {
        /// Its name.
        rule: String,
        /// The compiler's words.
        reason: String,
    },
    /// It says the opposite of its own example.
    #[error("rule `{rule}`: its {side} example {number} fails; mend the pattern or the example")]
    Example {
        /// Its name.
        rule: String,
        /// `positive` or `negative`.
        side: &'static str,
        /// From 1.
        number: usize,
    },
    /// Nothing shows what it does.
    #[error("rule `{rule}`: give at least one positive and one negative example")]
    NoExample {
        /// Its name.
        rule: String,
    },
    /// Two rules of one name, or a name that is no name.
    #[error("rule `{rule}`: a name is `[a-z0-9.-]+` and stands once")]
    Name {
        /// As written.
        rule: String,
    },
}

/// A rules file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It does not read or parse.
    #[error(transparent)]
    File(#[from] seal_service::config::ConfigError),
    /// One of its rules does not hold.
    #[error("`{}`", path.display())]
    Rule {
        /// The file.
        path: PathBuf,
        /// Which rule and why.
        source: RulesError,
    },
}

/// A rule set that proved itself on its own examples.
pub struct Rules {
    limits: Limits,
    unicode: Vec<UnicodeRule>,
    deny: Vec<DenyRule>,
    overlap: Option<OverlapIndex>,
}

impl Rules {
    /// Compiles and tries every rule. `tau` is what edits must not repeat.
    ///
    /// # Errors
    /// A pattern that does not compile, an example that fails or is missing, a name used twice.
    pub fn new<'a>(
        file: RulesFile,
        tau: impl IntoIterator<Item = &'a Item>,
    ) -> Result<Self, RulesError> {
        Ok(Self {
            limits: file.limits,
            unicode: file.unicode,
            deny: examples::compiled_and_tried(file.deny)?,
            overlap: file.tau_overlap.then(|| OverlapIndex::new(tau)),
        })
    }

    /// Reads and tries the rules of a file.
    ///
    /// # Errors
    /// A file that does not parse; a rule that does not hold, with the file's name.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let file: RulesFile = seal_service::config::load(path)?;
        let (path, tau) = (path.to_owned(), []);
        Self::new(file, &tau).map_err(|source| LoadError::Rule { path, source })
    }

    /// The same rules over another τ.
    #[must_use]
    pub fn over<'a>(mut self, tau: impl IntoIterator<Item = &'a Item>) -> Self {
        self.overlap = self.overlap.map(|_| OverlapIndex::new(tau));
        self
    }

    /// Names of every rule that speaks against the edit, each once, in a fixed order.
    pub fn findings(&self, edit: &SelfEdit) -> Vec<String> {
        let texts = texts(edit);
        let mut found = self.size_findings(edit, &texts);
        found.extend(self.text_findings(&texts));
        found.into_iter().map(|name| format!("text.{name}")).collect()
    }

    fn size_findings(&self, edit: &SelfEdit, texts: &[&str]) -> Vec<&str> {
        let total: usize = texts.iter().map(|text| text.len()).sum();
        let longest = texts.iter().map(|text| text.len()).max().unwrap_or(0);
        let checks = [
            ("no-examples", edit.examples.is_empty()),
            ("too-many-examples", edit.examples.len() > self.limits.max_examples),
            ("long-example", longest > self.limits.max_example_bytes),
            ("long-edit", total > self.limits.max_edit_bytes),
        ];
        let broken = checks.into_iter().filter(|(_, broken)| *broken);
        broken.map(|(name, _)| name).collect()
    }

    fn text_findings(&self, texts: &[&str]) -> Vec<&str> {
        let any = |test: &dyn Fn(&str) -> bool| texts.iter().any(|text| test(text));
        let unicode = self.unicode.iter().filter(|rule| any(&|text| rule.breaks(text)));
        let mut found: Vec<&str> = unicode.map(|rule| rule.name()).collect();
        let folded: Vec<String> = texts.iter().map(|text| deny::folded(text)).collect();
        let denied = self.deny.iter().filter(|rule| folded.iter().any(|text| rule.matches(text)));
        found.extend(denied.map(DenyRule::name));
        if self.overlap.as_ref().is_some_and(|index| any(&|text| index.repeats_tau(text))) {
            found.push("tau-overlap");
        }
        found
    }
}

/// Every text of an edit that could reach a weight or an eye.
pub(crate) fn texts(edit: &SelfEdit) -> Vec<&str> {
    let mut texts: Vec<&str> = edit.examples.iter().flat_map(TrainingExample::texts).collect();
    texts.push(&edit.rationale);
    texts.extend(edit.directives.labels.iter().map(String::as_str));
    texts
}

#[cfg(test)]
mod tests;
