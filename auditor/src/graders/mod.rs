//! Graders: is this answer right, given the gold?
//!
//! **Invariant:** an empty answer is wrong under every grader.
//! **Absent:** models and judges; a grader is a pure function of two texts.

mod normalise;
mod numeric;
mod overlap;
mod pattern;
#[cfg(test)]
mod reference_tests;

pub(crate) use normalise::words;
pub use numeric::numeric;
pub use overlap::{containment, exact, f1, recall};
pub use pattern::pattern;
use serde::{Deserialize, Serialize};

/// A grader could not judge.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum GraderError {
    /// The gold of a regex item is no pattern.
    #[error("the gold answer is not a pattern this grader takes: {0}")]
    Pattern(String),
}

/// How text answers are graded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Grader {
    /// Equal after normalisation.
    Exact,
    /// The gold stands in the answer as one run of words.
    Containment,
    /// At least this share of the gold's words is in the answer.
    Recall {
        /// From 0 to 1.
        threshold: f64,
    },
    /// Token F1 of at least this.
    F1 {
        /// From 0 to 1.
        threshold: f64,
    },
    /// The last number is the gold number.
    Numeric {
        /// Absolute.
        tolerance: f64,
    },
    /// The gold is a pattern.
    Pattern,
}

impl Default for Grader {
    /// Gold-token recall of 0.75, the string grader that agrees best with the recorded judge.
    fn default() -> Self {
        Self::Recall { threshold: 0.75 }
    }
}

impl Grader {
    /// Whether `answer` is right.
    ///
    /// # Errors
    /// A gold that is no pattern, for [`Grader::Pattern`].
    pub fn grade(&self, answer: &str, gold: &str) -> Result<bool, GraderError> {
        if answer.trim().is_empty() {
            return Ok(false);
        }
        match *self {
            Self::Exact => Ok(exact(answer, gold)),
            Self::Containment => Ok(containment(answer, gold)),
            Self::Recall { threshold } => Ok(recall(answer, gold) >= threshold),
            Self::F1 { threshold } => Ok(f1(answer, gold) >= threshold),
            Self::Numeric { tolerance } => Ok(numeric(answer, gold, tolerance)),
            Self::Pattern => pattern(answer, gold),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_answer_is_wrong_under_every_grader() {
        let graders = [
            Grader::Exact,
            Grader::Containment,
            Grader::Recall { threshold: 0.0 },
            Grader::F1 { threshold: 0.0 },
            Grader::Numeric { tolerance: 1.0 },
            Grader::Pattern,
        ];
        for grader in graders {
            assert_eq!(grader.grade(" \n", ".*"), Ok(false), "{grader:?}");
        }
    }
}
