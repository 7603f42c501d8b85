//! Graders: is this answer right, given the gold?
//!
//! **Invariant:** an empty answer is wrong under every grader.
//! **Absent:** models and judges; a grader is a pure function of two texts.

mod agreement;
mod grid;
mod key_words;
mod normalise;
mod numeric;
mod overlap;
mod pattern;
#[cfg(test)]
mod reference_tests;

pub use agreement::{Agreement, kappa_interval};
pub use grid::grid;
pub(crate) use normalise::words;
pub use numeric::numeric;
pub use overlap::{containment, exact, f1, key_recall, recall, substring};
pub use pattern::pattern;
use serde::{Deserialize, Serialize};

/// A grader could not judge.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum GraderError {
    /// The gold of a regex item is no pattern.
    #[error("the gold answer is not a pattern this grader takes: {0}")]
    Pattern(String),
}

/// An answer to be graded.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// What was asked; only [`Grader::KeyRecall`] looks at it.
    pub question: &'a str,
    /// The right answer.
    pub gold: &'a str,
    /// What the model said.
    pub answer: &'a str,
}

/// How text answers are graded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Grader {
    /// Equal after normalisation.
    Exact,
    /// The gold stands in the answer as one run of words.
    Containment,
    /// The gold stands in the answer, be it inside a word.
    Substring,
    /// At least this share of the gold's words is in the answer.
    Recall {
        /// From 0 to 1.
        threshold: f64,
    },
    /// At least this share of the gold's key words is in the answer: accents folded, numbers as
    /// digits, light stems, no function words.
    KeyRecall {
        /// From 0 to 1.
        threshold: f64,
        /// Words of the gold that the question holds already count for nothing.
        #[serde(default)]
        beyond_question: bool,
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
    /// The gold is a grid of numbers.
    Grid,
}

impl Default for Grader {
    /// Share of the gold's key words beyond the question. `docs/GRADERS.md` has the comparison with
    /// the recorded judge that it was chosen by.
    fn default() -> Self {
        Self::KeyRecall { threshold: 0.6, beyond_question: true }
    }
}

impl Grader {
    /// Whether the answer is right.
    ///
    /// # Errors
    /// A gold that is no pattern, for [`Grader::Pattern`].
    pub fn grade(&self, asked: &Asked<'_>) -> Result<bool, GraderError> {
        let Asked { gold, answer, .. } = *asked;
        if answer.trim().is_empty() {
            return Ok(false);
        }
        if let (Some(threshold), Some(score)) = (self.threshold(), self.score(asked)) {
            return Ok(score >= threshold);
        }
        match *self {
            Self::Exact => Ok(exact(answer, gold)),
            Self::Containment => Ok(containment(answer, gold)),
            Self::Substring => Ok(substring(answer, gold)),
            Self::Numeric { tolerance } => Ok(numeric(answer, gold, tolerance)),
            Self::Grid => Ok(grid(answer, gold)),
            Self::Pattern => pattern(answer, gold),
            Self::Recall { .. } | Self::KeyRecall { .. } | Self::F1 { .. } => Ok(false),
        }
    }

    /// Whether it compares words as [`words`] has them, so that answers with the same words are graded
    /// alike.
    pub fn compares_words(&self) -> bool {
        match self {
            Self::Exact | Self::Containment | Self::Substring => true,
            Self::Recall { .. } | Self::KeyRecall { .. } | Self::F1 { .. } => true,
            Self::Numeric { .. } | Self::Pattern | Self::Grid => false,
        }
    }

    /// What is compared with the threshold, from 0 to 1, for graders that have one.
    pub fn score(&self, asked: &Asked<'_>) -> Option<f64> {
        let Asked { gold, answer, .. } = *asked;
        match *self {
            Self::Recall { .. } => Some(recall(answer, gold)),
            Self::KeyRecall { beyond_question, .. } => Some(key_recall(asked, beyond_question)),
            Self::F1 { .. } => Some(f1(answer, gold)),
            _ => None,
        }
    }

    /// The threshold, for graders that have one.
    pub fn threshold(&self) -> Option<f64> {
        match *self {
            Self::Recall { threshold }
            | Self::KeyRecall { threshold, .. }
            | Self::F1 { threshold } => Some(threshold),
            _ => None,
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
            Grader::Substring,
            Grader::Recall { threshold: 0.0 },
            Grader::KeyRecall { threshold: 0.0, beyond_question: true },
            Grader::F1 { threshold: 0.0 },
            Grader::Numeric { tolerance: 1.0 },
            Grader::Pattern,
            Grader::Grid,
        ];
        let asked = Asked { question: "", gold: ".*", answer: " \n" };
        for grader in graders {
            assert_eq!(grader.grade(&asked), Ok(false), "{grader:?}");
        }
    }
}
