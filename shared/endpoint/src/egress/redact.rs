//! What is replaced in a prompt before it leaves: regular expressions as data in the config.
//!
//! Rules run in their order over the whole prompt, instruction included, so nothing that matches can
//! leave by another way into it.

use regex::{Regex, RegexBuilder};
use serde::Deserialize;

/// Largest compiled rule, in bytes.
const LARGEST: usize = 4 << 20;

/// One entry of `redact`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedactionRule {
    /// For people and for the record.
    pub name: String,
    /// A regular expression (linear time, no look-around).
    pub pattern: String,
    /// What stands in its place; `$1` and `${name}` are groups of the match.
    pub replacement: String,
}

/// A rule that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("redaction rule `{name}` under [egress]: {reason}")]
pub struct RedactionError {
    name: String,
    reason: String,
}

/// The rules, compiled.
#[derive(Clone, Debug, Default)]
pub(crate) struct Redactor(Vec<(Regex, String)>);

impl Redactor {
    /// Compiles the rules.
    ///
    /// # Errors
    /// A pattern that does not compile, or that its own replacement matches again.
    pub(crate) fn new(rules: &[RedactionRule]) -> Result<Self, RedactionError> {
        rules.iter().map(compiled).collect::<Result<_, _>>().map(Self)
    }

    /// The text with every match replaced.
    pub(crate) fn apply(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (rule, replacement)| {
            rule.replace_all(&text, replacement.as_str()).into_owned()
        })
    }
}

fn compiled(rule: &RedactionRule) -> Result<(Regex, String), RedactionError> {
    let wrong = |reason: String| RedactionError { name: rule.name.clone(), reason };
    let regex = RegexBuilder::new(&rule.pattern)
        .size_limit(LARGEST)
        .build()
        .map_err(|error| wrong(error.to_string()))?;
    if regex.is_match("") {
        return Err(wrong("it matches the empty text".to_owned()));
    }
    if regex.is_match(&rule.replacement) {
        return Err(wrong("its replacement matches it again".to_owned()));
    }
    Ok((regex, rule.replacement.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(pattern: &str, replacement: &str) -> RedactionRule {
        let [pattern, replacement] = [pattern, replacement].map(str::to_owned);
        RedactionRule { name: "r".to_owned(), pattern, replacement }
    }

    #[test]
    fn every_match_is_replaced_in_the_order_of_the_rules() {
        let mail = rule(r"[\w.]+@[\w.]+", "[mail]");
        let name = rule(r"(?i)\bproject (\w)\w*", "project $1.");
        let redactor = Redactor::new(&[mail, name]).unwrap();
        let text = redactor.apply("Ask ada@example.org or kim.b@x.org about Project Zeltor.");
        assert_eq!(text, "Ask [mail] or [mail] about project Z..");
    }

    #[test]
    fn a_rule_that_cannot_hold_is_refused_by_name() {
        for (pattern, replacement) in [("(", "x"), ("x*", "y"), ("secret", "no secret")] {
            let error = Redactor::new(&[rule(pattern, replacement)]).unwrap_err().to_string();
            assert!(error.starts_with("redaction rule `r` under [egress]"), "{error}");
        }
    }
}
