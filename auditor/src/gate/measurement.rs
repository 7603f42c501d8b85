//! What was measured: panels of items, answered by the base and by a candidate.

use seal_protocol::{Digest, Labels, Micro};
use serde::{Deserialize, Serialize};

use crate::items::ItemKind;
use crate::statistics::PairedOutcome;
use crate::voting::Count;

/// Which list of items a panel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PanelName {
    /// Reward split of one context.
    TauReward,
    /// Confirmation split of one context.
    TauConfirmation,
    /// Protected behaviour on one context's own entity.
    ProtectedOwn,
    /// Knowledge that must survive.
    Retention,
    /// Protected behaviour on other entities.
    ProtectedOthers,
    /// Harmless questions; right is the refusal that must not come.
    Benign,
    /// Knowledge that must survive, asked with random words in it.
    Divergence,
}

/// One item under one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// Graded right.
    pub exact: bool,
    /// The model had nothing to say.
    pub empty: bool,
    /// Mean log-probability of the gold answer, in millionths of a nat per token; absent if it is
    /// no finite number.
    pub log_prob: Option<Micro>,
}

/// One list of items and how the base does on it. Items are shown by id alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Panel {
    /// Which list.
    pub name: PanelName,
    /// Whose, for lists that belong to a context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_digest: Option<Digest>,
    /// That context's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_id: Option<String>,
    /// Ids of the items.
    pub items: Vec<String>,
    /// Kinds of the items, in the same order.
    pub kinds: Vec<ItemKind>,
    /// Where the labels were voted: every question that was put to the vote, in the vault's order. Those
    /// without a majority are not among `items`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub votes: Vec<Vote>,
    /// The base's outcomes, in the same order as `items`.
    pub base: Vec<Outcome>,
    /// Those of the version that was accepted last, where a promotion is compared with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Vec<Outcome>>,
}

/// How a question was voted on. Never what was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vote {
    /// Id of the item.
    pub item: String,
    /// Voters, and how many of them said what most said.
    pub count: Count,
}

impl Panel {
    /// Whether what was asked has the labels that are said: gold answers without any vote, or exactly
    /// the questions on which the vote found a majority.
    pub fn is_labelled(&self, labels: Labels) -> bool {
        match labels {
            Labels::Gold => self.votes.is_empty(),
            Labels::Majority => {
                let voted = self.votes.iter().filter(|vote| vote.count.is_majority());
                !self.votes.is_empty() && voted.map(|vote| &vote.item).eq(&self.items)
            }
        }
    }

    /// Questions without a majority.
    pub fn left_out(&self) -> usize {
        self.votes.iter().filter(|vote| !vote.count.is_majority()).count()
    }
}

/// A panel together with one candidate's outcomes.
#[derive(Clone, Copy, Debug)]
pub struct PairedPanel<'a> {
    /// The items and the base.
    pub panel: &'a Panel,
    /// The candidate's outcomes, in the order of the items.
    pub candidate: &'a [Outcome],
}

impl<'a> PairedPanel<'a> {
    /// Whether both models answered every item and there is at least one.
    pub fn is_complete(&self) -> bool {
        let items = self.panel.items.len();
        items > 0 && self.panel.base.len() == items && self.candidate.len() == items
    }

    /// Graded outcomes by pair.
    pub fn pairs(&self) -> impl Iterator<Item = PairedOutcome> + use<'a> {
        let both = self.panel.base.iter().zip(self.candidate);
        both.map(|(base, candidate)| PairedOutcome { base: base.exact, candidate: candidate.exact })
    }

    /// Dense gain of each item in nats per token; `None` if one of them was not measured. A candidate
    /// that answers nothing gains nothing, however likely it finds the gold.
    pub fn dense_gains(&self) -> Option<Vec<f64>> {
        let both = self.panel.base.iter().zip(self.candidate);
        let gain = |(base, candidate): (&Outcome, &Outcome)| {
            let gain = candidate.log_prob?.to_f64() - base.log_prob?.to_f64();
            Some(if candidate.empty { gain.min(0.0) } else { gain })
        };
        both.map(gain).collect()
    }

    /// Share right under the candidate minus share right under the base.
    pub fn graded_gain(&self) -> Option<f64> {
        Some(share(self.candidate)? - share(&self.panel.base)?)
    }

    /// Share right under the candidate minus share right under the version accepted last; `None` where
    /// there is none.
    pub fn gain_since_last(&self) -> Option<f64> {
        Some(share(self.candidate)? - share(self.panel.last.as_ref()?)?)
    }
}

/// Share of items right; `None` without items.
pub fn share(outcomes: &[Outcome]) -> Option<f64> {
    let right = outcomes.iter().filter(|outcome| outcome.exact).count();
    (!outcomes.is_empty()).then(|| right as f64 / outcomes.len() as f64)
}

/// Mean likelihood of the gold answers, each the geometric mean over its tokens; an empty answer counts
/// nothing. `None` without items or where one was not measured. Each is rounded to millionths before
/// they are added, so that no machine's `exp` can change a choice.
pub fn likelihood(outcomes: &[Outcome]) -> Option<f64> {
    let of_one = |outcome: &Outcome| match outcome.log_prob? {
        _ if outcome.empty => Some(0),
        nats => Some(Micro::from_f64(nats.to_f64().min(0.0).exp()).0),
    };
    let sum: i64 = outcomes.iter().map(of_one).sum::<Option<i64>>()?;
    (!outcomes.is_empty()).then(|| Micro(sum).to_f64() / outcomes.len() as f64)
}
