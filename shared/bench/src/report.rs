//! What a run found.

use crate::machine::Machine;
use crate::peer::Versions;
use crate::shape::Shape;
use serde::Serialize;

/// Median and range over the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Half the rounds are below.
    pub median: f64,
    /// Smallest.
    pub least: f64,
    /// Largest.
    pub most: f64,
}

impl Spread {
    /// Of the values of at least one round.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = match values.len() {
            0 => f64::NAN,
            n if n % 2 == 1 => values[middle],
            _ => f64::midpoint(values[middle - 1], values[middle]),
        };
        let end = |value: Option<&f64>| value.copied().unwrap_or(f64::NAN);
        Self { median, least: end(values.first()), most: end(values.last()) }
    }
}

/// Seconds of one candidate's whole work.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Side {
    /// All optimizer steps.
    pub training_s: Spread,
    /// All answers.
    pub answering_s: Spread,
    /// Both.
    pub candidate_s: Spread,
}

/// The other side and how many times longer it takes than ours.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// What it is.
    pub versions: Versions,
    /// Its seconds.
    pub seconds: Side,
    /// Training, theirs ÷ ours together.
    pub training_ratio: Spread,
    /// Answering, theirs ÷ ours together.
    pub answering_ratio: Spread,
    /// Whole work, theirs ÷ ours together.
    pub ratio: Spread,
    /// Whole work, theirs ÷ one of our candidates alone.
    pub ratio_alone: Spread,
    /// Whole work if they answer a candidate's questions as one batch with the adapter merged.
    pub ratio_batched_and_merged: Spread,
    /// One step padded to 2048 tokens, the published procedure, ÷ one of our steps.
    pub published_step_ratio: Option<f64>,
    /// Losses of the same steps on both sides: ours, theirs.
    pub losses: (Vec<f32>, Vec<f32>),
    /// Tokens of one greedy answer on which both sides agree from the start, of how many.
    pub equal_tokens: (usize, usize),
}

/// What a run found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// Which shape.
    pub shape: Shape,
    /// Weights of the base.
    pub parameters: usize,
    /// Weights of one adapter.
    pub adapter_parameters: usize,
    /// Candidates trained together.
    pub candidates: usize,
    /// Rounds measured.
    pub rounds: usize,
    /// Our candidates together, per candidate.
    pub together: Side,
    /// One of our candidates alone.
    pub alone: Side,
    /// Together.
    pub candidates_per_minute: f64,
    /// Trained tokens per second, together.
    pub training_tokens_per_s: f64,
    /// Written tokens per second, together.
    pub answer_tokens_per_s: f64,
    /// Operations that one candidate's training needs.
    pub training_flops: f64,
    /// Operations that one candidate's answers need.
    pub answering_flops: f64,
    /// Operations per second of the matrix kernel at its best, over all threads.
    pub peak_flops: f64,
    /// Share of that peak which training together reaches.
    pub utilisation: f64,
    /// The most memory our process held.
    pub peak_memory_bytes: u64,
    /// Against PyTorch and PEFT.
    pub peer: Option<Comparison>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_lies_between_the_middle_two() {
        let spread = Spread::of([4.0, 1.0, 2.0, 3.0]);
        assert_eq!(spread, Spread { median: 2.5, least: 1.0, most: 4.0 });
        assert_eq!(Spread::of([5.0]).median, 5.0);
    }
}
