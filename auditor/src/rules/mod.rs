//! Text rules on self-edits: what may not be trained on, whatever it would earn.
//!
//! **Invariant:** a rule set whose own examples fail does not load.
//! **Invariant:** a finding names the rule, never the text.
//! **Absent:** judging meaning. What a text does to the weights is measured, not read.

mod alike;
mod checks;
mod context;
mod deny;
mod entropy;
mod error;
mod examples;
mod ngrams;
mod overlap;
mod unicode;
mod whole;

use std::path::Path;

use seal_protocol::{SelfEdit, TrainingExample};
use serde::{Deserialize, Serialize};

pub use self::checks::Check;
use self::deny::{DenyRule, Forms};
pub use self::error::{LoadError, RulesError};
use self::ngrams::NgramIndex;
pub use self::ngrams::NgramSettings;
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
    /// Whether a τ question followed by its answer is refused in one training example.
    pub tau_overlap: bool,
    /// What is refused as close to a τ question with its answer; absent: only the exact words are.
    #[serde(default)]
    pub tau_ngrams: Option<NgramSettings>,
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
    /// Linear-time regular expression over the NFKC, lower-cased text. `.` matches line breaks too.
    pub pattern: String,
    /// Upper and lower case count; the text is not lower-cased for this rule. Keywords never care.
    #[serde(default)]
    pub case_sensitive: bool,
    /// Tried on all lines of an edit as one text, too: an instruction may be told over several.
    #[serde(default)]
    pub whole_edit: bool,
    /// A match counts only with this structure. Both this and the next look at the group named `value`,
    /// or without one at the whole match.
    #[serde(default)]
    pub check: Option<Check>,
    /// A match counts only with at least this Shannon entropy, in bits per character.
    #[serde(default)]
    pub min_entropy_bits: Option<f64>,
    /// If any are given, the pattern is tried only where one of them occurs.
    #[serde(default)]
    pub keywords: Vec<String>,
    /// Texts the rule must match.
    pub positive: Vec<String>,
    /// Texts it must not match.
    pub negative: Vec<String>,
}

/// Findings of an edit that is too long to be read.
const LENGTHS: [&str; 2] = ["long-example", "long-edit"];

/// A rule set that proved itself on its own examples.
pub struct Rules {
    limits: Limits,
    unicode: Vec<UnicodeRule>,
    deny: Vec<DenyRule>,
    overlap: Option<OverlapIndex>,
    ngrams: Option<NgramIndex>,
}

impl Rules {
    /// Compiles and tries every rule. `tau` is what edits must not repeat.
    ///
    /// # Errors
    /// A pattern that does not compile, an example that fails or is missing, a name used twice, runs of
    /// words that mean nothing.
    pub fn new<'a>(
        file: RulesFile,
        tau: impl IntoIterator<Item = &'a Item>,
    ) -> Result<Self, RulesError> {
        let tau: Vec<&Item> = tau.into_iter().collect();
        let ngrams = file.tau_ngrams.map(NgramSettings::checked).transpose()?;
        Ok(Self {
            limits: file.limits,
            unicode: file.unicode,
            deny: examples::compiled_and_tried(file.deny)?,
            overlap: file.tau_overlap.then(|| OverlapIndex::new(tau.iter().copied())),
            ngrams: ngrams.map(|settings| NgramIndex::new(settings, tau)),
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
        let tau: Vec<&Item> = tau.into_iter().collect();
        self.overlap = self.overlap.map(|_| OverlapIndex::new(tau.iter().copied()));
        self.ngrams = self.ngrams.map(|index| index.over(tau));
        self
    }

    /// Names of every rule that speaks against the edit, each once, in a fixed order. An edit longer than
    /// the limits is refused for that alone: its text is not read.
    pub fn findings(&self, edit: &SelfEdit) -> Vec<String> {
        let texts = texts(edit);
        let mut found = self.size_findings(edit, &texts);
        if !found.iter().any(|name| LENGTHS.contains(name)) {
            found.extend(self.text_findings(&texts));
            found.extend(self.tau_findings(edit));
        }
        found.into_iter().map(|name| format!("text.{name}")).collect()
    }

    fn size_findings(&self, edit: &SelfEdit, texts: &[&str]) -> Vec<&str> {
        let total: usize = texts.iter().map(|text| text.len()).sum();
        let longest = texts.iter().map(|text| text.len()).max().unwrap_or(0);
        let checks = [
            ("no-examples", edit.examples.is_empty()),
            ("too-many-examples", edit.examples.len() > self.limits.max_examples),
            (LENGTHS[0], longest > self.limits.max_example_bytes),
            (LENGTHS[1], total > self.limits.max_edit_bytes),
        ];
        let broken = checks.into_iter().filter(|(_, broken)| *broken);
        broken.map(|(name, _)| name).collect()
    }

    fn text_findings(&self, texts: &[&str]) -> Vec<&str> {
        let any = |test: &dyn Fn(&str) -> bool| texts.iter().any(|text| test(text));
        let unicode = self.unicode.iter().filter(|rule| any(&|text| rule.breaks(text)));
        let mut found: Vec<&str> = unicode.map(|rule| rule.name()).collect();
        let forms: Vec<Forms> = texts.iter().map(|text| Forms::of(text)).collect();
        let whole = Forms::of(&whole::whole(texts));
        let denied = self.deny.iter().filter(|rule| {
            forms.iter().any(|text| rule.matches(text))
                || (rule.reads_whole_edit() && rule.matches(&whole))
        });
        found.extend(denied.map(DenyRule::name));
        found
    }

    /// An example's texts are read as one: a question in the prompt and its answer in the completion
    /// teach what the two in one line would. The context itself is no leak.
    fn tau_findings(&self, edit: &SelfEdit) -> Vec<&str> {
        let beside = |text: String| context::beside(&text, &edit.context_digest).to_owned();
        let examples = edit.examples.iter().map(|example| beside(example.texts().join("\n")));
        let others = [&edit.rationale].into_iter().chain(&edit.directives.labels).cloned();
        let texts: Vec<String> = examples.chain(others).collect();
        let any = |test: &dyn Fn(&str) -> bool| texts.iter().any(|text| test(text));
        let exact = self.overlap.as_ref().is_some_and(|index| any(&|text| index.repeats_tau(text)));
        let close = self.ngrams.as_ref().is_some_and(|index| any(&|text| index.is_close(text)));
        let found = [("tau-overlap", exact), ("tau-ngrams", close)];
        found.into_iter().filter(|(_, found)| *found).map(|(name, _)| name).collect()
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
mod corpus_tests;
#[cfg(test)]
mod recorded_tests;
#[cfg(test)]
mod shipped_tests;
#[cfg(test)]
mod tests;
