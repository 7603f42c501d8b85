//! What is wrong with a rule set.

use std::path::PathBuf;

/// A rule set that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RulesError {
    /// Not a linear-time regular expression, or an entropy no text has.
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
    /// `[tau_ngrams]` that every text or none would break.
    #[error("[tau_ngrams]: `words` is at least 2, `share` lies above 0 and up to 1")]
    Ngrams,
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
