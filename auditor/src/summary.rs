//! What was measured, pooled by panel name, with intervals: for people and for written policy.

use seal_protocol::Labels;
use serde::{Deserialize, Serialize};

use crate::gate::{Outcome, PairedPanel, Panel, PanelName};
use crate::statistics::{Interval, PairedOutcome, bootstrap_mean, wilson};

/// All panels of one name, pooled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PanelSummary {
    /// Which.
    pub name: PanelName,
    /// Items.
    pub n: u64,
    /// What answers were held against.
    #[serde(default, skip_serializing_if = "Labels::is_gold")]
    pub labels: Labels,
    /// Share right under the base, Wilson interval.
    pub base: Option<Interval>,
    /// Share right under the candidate, Wilson interval.
    pub candidate: Option<Interval>,
    /// Answers that were empty under the candidate.
    pub empty: u64,
    /// Paired graded gain, bootstrap interval over items.
    pub gain: Option<Interval>,
    /// Paired dense gain in nats per token, bootstrap interval over items; for τ alone.
    pub dense_gain: Option<Interval>,
}

const NAMES: [PanelName; 7] = [
    PanelName::TauReward,
    PanelName::TauConfirmation,
    PanelName::ProtectedOwn,
    PanelName::Retention,
    PanelName::ProtectedOthers,
    PanelName::Benign,
    PanelName::Divergence,
];

/// One summary per panel name that was measured, in a fixed order.
pub fn summaries(panels: &[Panel], outcomes: &[Vec<Outcome>]) -> Vec<PanelSummary> {
    let paired: Vec<PairedPanel<'_>> = panels
        .iter()
        .zip(outcomes)
        .map(|(panel, candidate)| PairedPanel { panel, candidate })
        .collect();
    NAMES.into_iter().filter_map(|name| summary(name, &paired)).collect()
}

fn summary(name: PanelName, panels: &[PairedPanel<'_>]) -> Option<PanelSummary> {
    let named: Vec<_> = panels.iter().filter(|panel| panel.panel.name == name).copied().collect();
    let base: Vec<Outcome> = named.iter().flat_map(|panel| panel.panel.base.clone()).collect();
    let candidate: Vec<Outcome> = named.iter().flat_map(|panel| panel.candidate.to_vec()).collect();
    if candidate.is_empty() || candidate.len() != base.len() {
        return None;
    }
    let graded: Vec<f64> = named.iter().flat_map(PairedPanel::pairs).map(gain).collect();
    let is_tau = matches!(name, PanelName::TauReward | PanelName::TauConfirmation);
    let dense: Option<Vec<Vec<f64>>> = named.iter().map(PairedPanel::dense_gains).collect();
    let voted = named.iter().any(|panel| !panel.panel.votes.is_empty());
    Some(PanelSummary {
        name,
        n: candidate.len() as u64,
        labels: if voted { Labels::Majority } else { Labels::Gold },
        base: interval(&base),
        candidate: interval(&candidate),
        empty: candidate.iter().filter(|outcome| outcome.empty).count() as u64,
        gain: bootstrap_mean(&graded, 0),
        dense_gain: dense.filter(|_| is_tau).and_then(|gains| bootstrap_mean(&gains.concat(), 0)),
    })
}

fn gain(pair: PairedOutcome) -> f64 {
    f64::from(u8::from(pair.candidate)) - f64::from(u8::from(pair.base))
}

fn interval(outcomes: &[Outcome]) -> Option<Interval> {
    let right = outcomes.iter().filter(|outcome| outcome.exact).count();
    wilson(right as u64, outcomes.len() as u64)
}
