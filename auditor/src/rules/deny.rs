//! One compiled deny rule.

use regex::{Regex, RegexBuilder};
use unicode_normalization::UnicodeNormalization;

use super::alike::alike;
use super::checks::Check;
use super::entropy::bits_per_character;
use super::{DenySpec, RulesError};

/// Compiled size allowed for one rule, in bytes.
const SIZE_LIMIT_BYTES: usize = 1 << 20;
/// The group of a pattern that check and entropy look at; without it they look at the whole match.
const VALUE: &str = "value";

/// A pattern with its keyword prefilter and with what a match must show besides.
pub(super) struct DenyRule {
    name: String,
    pattern: Regex,
    keywords: Vec<String>,
    case_sensitive: bool,
    whole_edit: bool,
    check: Option<Check>,
    min_entropy_bits: Option<f64>,
}

/// A text in the forms that patterns are tried on. Hashes are over the original.
pub(super) struct Forms {
    /// Compatibility forms resolved.
    plain: String,
    /// The same in lower case.
    folded: String,
    /// That as an eye takes it, where it is another text.
    alike: Option<String>,
}

impl Forms {
    pub(super) fn of(text: &str) -> Self {
        let plain: String = text.nfkc().collect();
        let folded = plain.to_lowercase();
        let alike = alike(&folded);
        Self { plain, folded, alike }
    }
}

impl DenyRule {
    pub(super) fn compile(spec: &DenySpec) -> Result<Self, RulesError> {
        let refuse = |reason: String| RulesError::Pattern { rule: spec.name.clone(), reason };
        let pattern = RegexBuilder::new(&spec.pattern)
            .case_insensitive(!spec.case_sensitive)
            // A line break between two words hides nothing.
            .dot_matches_new_line(true)
            .size_limit(SIZE_LIMIT_BYTES)
            .build()
            .map_err(|error| refuse(error.to_string()))?;
        if spec.min_entropy_bits.is_some_and(|bits| !(0.0..=8.0).contains(&bits)) {
            return Err(refuse("`min_entropy_bits` lies from 0 to 8".to_owned()));
        }
        Ok(Self {
            name: spec.name.clone(),
            pattern,
            keywords: spec.keywords.iter().map(|word| Forms::of(word).folded).collect(),
            case_sensitive: spec.case_sensitive,
            whole_edit: spec.whole_edit,
            check: spec.check,
            min_entropy_bits: spec.min_entropy_bits,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it reads all lines of an edit as one text, too.
    pub(super) fn reads_whole_edit(&self) -> bool {
        self.whole_edit
    }

    pub(super) fn matches(&self, text: &Forms) -> bool {
        if self.case_sensitive {
            return self.is_considered(&text.folded) && self.matches_form(&text.plain);
        }
        let forms = [Some(&text.folded), text.alike.as_ref()];
        forms.into_iter().flatten().any(|form| self.is_considered(form) && self.matches_form(form))
    }

    fn is_considered(&self, folded: &str) -> bool {
        self.keywords.is_empty() || self.keywords.iter().any(|word| folded.contains(word))
    }

    /// Matches do not overlap, so that all of them together are read once.
    fn matches_form(&self, text: &str) -> bool {
        if self.check.is_none() && self.min_entropy_bits.is_none() {
            return self.pattern.is_match(text);
        }
        self.pattern.captures_iter(text).any(|found| {
            let value = found.name(VALUE).or_else(|| found.get(0));
            value.is_some_and(|value| self.counts(value.as_str()))
        })
    }

    fn counts(&self, value: &str) -> bool {
        self.check.is_none_or(|check| check.holds(value))
            && self.min_entropy_bits.is_none_or(|least| bits_per_character(value) >= least)
    }
}
