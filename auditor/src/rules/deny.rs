//! One compiled deny rule.

use regex::{Regex, RegexBuilder};
use unicode_normalization::UnicodeNormalization;

use super::{DenySpec, RulesError};

/// Compiled size allowed for one rule, in bytes.
const SIZE_LIMIT_BYTES: usize = 1 << 20;

/// A pattern with its keyword prefilter.
pub(super) struct DenyRule {
    name: String,
    pattern: Regex,
    keywords: Vec<String>,
}

impl DenyRule {
    pub(super) fn compile(spec: &DenySpec) -> Result<Self, RulesError> {
        let pattern = RegexBuilder::new(&spec.pattern)
            .case_insensitive(true)
            .size_limit(SIZE_LIMIT_BYTES)
            .build()
            .map_err(|error| RulesError::Pattern {
                rule: spec.name.clone(),
                reason: error.to_string(),
            })?;
        Ok(Self {
            name: spec.name.clone(),
            pattern,
            keywords: spec.keywords.iter().map(|word| folded(word)).collect(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// `text` must be [`folded`].
    pub(super) fn matches(&self, text: &str) -> bool {
        let considered =
            self.keywords.is_empty() || self.keywords.iter().any(|word| text.contains(word));
        considered && self.pattern.is_match(text)
    }
}

/// The form patterns are tried on: compatibility forms resolved, lower case. Hashes are over the original.
pub(super) fn folded(text: &str) -> String {
    text.nfkc().collect::<String>().to_lowercase()
}
