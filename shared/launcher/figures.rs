//! What a run showed, as numbers: the model behind the final table and the report.

use seal_protocol::Labels;
use serde::{Deserialize, Serialize};

/// A mean with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Estimate {
    /// Contexts (or pairs of contexts) behind it.
    pub(crate) n: usize,
    pub(crate) mean: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Estimate {
    /// The interval; a single value has none.
    pub(crate) fn bounds(&self) -> Option<(f64, f64)> {
        (self.n > 1).then_some((self.low, self.high))
    }

    /// The interval of a share in percent, for people.
    pub(crate) fn shares(&self) -> String {
        self.ends(|low, high| format!("{:.1} – {:.1}", low * 100.0, high * 100.0))
    }

    /// The interval of a difference of shares, in points.
    pub(crate) fn points(&self) -> String {
        self.ends(|low, high| format!("{:+.1} … {:+.1}", low * 100.0, high * 100.0))
    }

    /// The interval of a difference, as it is.
    pub(crate) fn plain(&self) -> String {
        self.ends(|low, high| format!("{low:+.3} … {high:+.3}"))
    }

    fn ends(&self, text: impl FnOnce(f64, f64) -> String) -> String {
        self.bounds().map_or_else(|| "–".to_owned(), |(low, high)| text(low, high))
    }
}

/// Accuracy on held-out contexts under one condition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Condition {
    /// Stage of the run, e.g. `eval-round-1`; `base` for no update.
    pub(crate) stage: String,
    /// For people.
    pub(crate) label: String,
    pub(crate) accuracy: Estimate,
    /// Accuracy per context, in the order of the contexts; for pairing across conditions.
    pub(crate) per_context: Vec<(String, f64)>,
    /// Log-probability of the gold answers above the base's, nats per token, per context.
    #[serde(default)]
    pub(crate) dense_gains: Vec<(String, f64)>,
    /// Questions of τ that were answered with nothing.
    #[serde(default)]
    pub(crate) empty_answers: usize,
    /// Share of retention items right after the update, mean over contexts.
    pub(crate) retention: Option<f64>,
    /// Training lines per edit, mean.
    pub(crate) lines_per_edit: f64,
}

/// One condition minus another, paired by context.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Difference {
    pub(crate) label: String,
    pub(crate) gain: Estimate,
}

/// What became of the edits of one stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Funnel {
    pub(crate) stage: String,
    pub(crate) proposed: usize,
    pub(crate) accepted: usize,
    pub(crate) not_selected: usize,
    /// Refusals by the first rule that spoke against, largest first.
    pub(crate) refused: Vec<(String, usize)>,
    /// Mean reward of all edits, and of the best in each group.
    pub(crate) mean_reward: f64,
    pub(crate) best_reward: f64,
    /// Mean accuracy on the confirmation split: of the accepted, and of a random candidate of the
    /// same groups.
    pub(crate) accepted_confirmation: Option<f64>,
    pub(crate) random_confirmation: Option<f64>,
}

/// The one adapter trained on everything accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Consolidation {
    pub(crate) contexts: usize,
    pub(crate) accepted: bool,
    pub(crate) reasons: Vec<String>,
    /// On the confirmation split of its contexts.
    pub(crate) base_accuracy: f64,
    pub(crate) accuracy: Estimate,
    pub(crate) base_retention: f64,
    pub(crate) retention: f64,
}

/// What became of earlier contexts while further ones were learned: a lower triangle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sequence {
    /// Stage of the run.
    pub(crate) stage: String,
    /// In the order in which they were learned.
    pub(crate) contexts: Vec<String>,
    /// Accuracy on each of them without any edit.
    pub(crate) unedited: Vec<f64>,
    /// After each step, first to last.
    pub(crate) steps: Vec<Step>,
    /// Share of retention items right without any edit.
    pub(crate) unedited_retention: Option<f64>,
    /// Contexts on which no edit was accepted: the sequence went on without them.
    pub(crate) left_out: Vec<String>,
}

/// A row of the triangle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Step {
    /// Edits learned so far.
    pub(crate) edits: usize,
    /// Accuracy on the contexts learned so far, in their order; empty where it could not be measured.
    pub(crate) accuracy: Vec<f64>,
    /// Share of retention items right.
    pub(crate) retention: Option<f64>,
}

/// Several sequences as one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Forgetting {
    /// Accuracy on a context by how many edits came after its own, from 0.
    pub(crate) by_age: Vec<Estimate>,
    /// By how many edits were learned, from 1.
    pub(crate) by_edits: Vec<AfterEdits>,
}

/// All contexts learned so far, after so many edits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AfterEdits {
    pub(crate) edits: usize,
    pub(crate) accuracy: Estimate,
    /// The same contexts without any edit.
    pub(crate) unedited: Estimate,
    /// One minus the other, paired by context.
    pub(crate) gain: Estimate,
}

/// Everything a run showed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) seed: u64,
    pub(crate) selection: String,
    /// What answers to the reward split were held against.
    #[serde(default, skip_serializing_if = "Labels::is_gold")]
    pub(crate) labels: Labels,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) differences: Vec<Difference>,
    /// For each group with a winner: its accuracy on the confirmation split minus the mean of all
    /// candidates of the group, which is what a random choice gets.
    pub(crate) selection_gains: Vec<f64>,
    pub(crate) funnels: Vec<Funnel>,
    pub(crate) consolidation: Option<Consolidation>,
    /// Forgetting matrices, one for each sequence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) sequences: Vec<Sequence>,
    /// What they come to together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) forgetting: Option<Forgetting>,
}

/// What a reader is told beside every reward of a run whose labels were voted.
pub(crate) const VOTED: &str = "Edits were accepted by a vote: what most models of a group answer stood in \
     the place of gold answers, and a group that shares an error votes for it. Rewards are by that vote, \
     accuracies on gold answers alone.";
