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
    #[serde(default)]
    pub(crate) signal: Signal,
}

/// How many groups could teach which edit is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Signal {
    /// Groups with a measured edit.
    pub(crate) groups: usize,
    /// Of them, those whose edits all got the same reward.
    pub(crate) without: usize,
    /// Of those, the ones of which nothing was accepted.
    pub(crate) skipped: usize,
}

impl Signal {
    /// From the rewards of each group's measured edits, and whether one of them was accepted.
    pub(crate) fn of(groups: impl Iterator<Item = (Vec<f64>, bool)>) -> Self {
        let mut signal = Self::default();
        for (rewards, is_accepted) in groups.filter(|(rewards, _)| !rewards.is_empty()) {
            let is_alike = rewards.iter().all(|reward| *reward == rewards[0]);
            signal.groups += 1;
            signal.without += usize::from(is_alike);
            signal.skipped += usize::from(is_alike && !is_accepted);
        }
        signal
    }

    /// In words; nothing where every group had a signal.
    pub(crate) fn said(&self) -> Option<String> {
        let Self { groups, without, skipped } = self;
        (*without > 0).then(|| {
            format!(
                "{without} of {groups} groups without signal: all their edits got the same reward; nothing \
                 was accepted of {skipped} of them"
            )
        })
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_whose_edits_are_all_worth_the_same_is_counted_and_told() {
        let groups = [
            (vec![0.2, 0.4], true),
            (vec![0.0, 0.0, 0.0], false),
            (vec![0.6, 0.6], true),
            (vec![0.4], false),
            (vec![], false),
        ];
        let signal = Signal::of(groups.into_iter());
        assert_eq!(signal, Signal { groups: 4, without: 3, skipped: 2 });
        assert!(signal.said().unwrap().starts_with("3 of 4 groups without signal"));
        assert_eq!(Signal::of([(vec![0.1, 0.2], false)].into_iter()).said(), None);
    }
}
