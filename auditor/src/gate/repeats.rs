//! Further runs of an edit: trained again by the auditor under seeds that nobody else knows, so that what
//! is chosen is the edit and not the luck of one seed. Pure.
//!
//! **Invariant:** further runs only ever refuse, or choose among what would pass without them, so they
//! spend nothing of the level.
//!
//! Source: successive halving, Jamieson and Talwalkar 2016, with one more run in the place of a longer
//! one.

use seal_protocol::AuditPurpose;
use serde::{Deserialize, Serialize};

use super::group::{Judged, contends, group_stages, run_rewards};
use super::measurement::share;
use super::{GateSettings, Outcome, Panel, PanelName};
use crate::statistics::{Components, Seeds, mean};

/// Most runs that can be asked for.
const MOST_RUNS: u32 = 16;

/// `[gate.repeats]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repeats {
    /// Most runs of one edit, the student's included.
    pub runs: u32,
    /// Who runs again.
    #[serde(default)]
    pub next: Next,
}

/// Who of a group runs again, of those that ran every time so far and could still win.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    /// The better half, and at least one.
    #[default]
    Half,
    /// All of them, as in the original system.
    All,
}

/// One further run of an edit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Seed of initialisation and order.
    pub seed: u64,
    /// Outcomes per panel of the reward split, in the order of the panels; absent where training led
    /// nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcomes: Option<Vec<Vec<Outcome>>>,
}

impl Next {
    /// Who of those with such rewards goes on, in ascending order.
    pub(super) fn of(self, mut left: Vec<(usize, f64)>) -> Vec<usize> {
        if self == Self::Half {
            // A stable sort: the first of equals goes on.
            left.sort_by(|(_, a), (_, b)| b.total_cmp(a));
            left.truncate((left.len() / 2).max(1));
        }
        let mut next: Vec<usize> = left.into_iter().map(|(index, _)| index).collect();
        next.sort_unstable();
        next
    }
}

impl Repeats {
    pub(super) fn is_in_range(&self) -> bool {
        (2..=MOST_RUNS).contains(&self.runs)
    }
}

/// Numbers of the candidates that run once more, in ascending order; none where all is done.
/// `alpha` is the level of the attempt.
pub fn next_run(
    settings: &GateSettings,
    purpose: AuditPurpose,
    alpha: f64,
    panels: &[Panel],
    candidates: &[Judged<'_>],
) -> Vec<usize> {
    let Some(repeats) = settings.repeats.filter(|_| purpose == AuditPurpose::Edit) else {
        return Vec::new();
    };
    let most = candidates.iter().map(|candidate| candidate.runs.len()).max().unwrap_or(0);
    if most + 1 >= repeats.runs as usize {
        return Vec::new();
    }
    let stages = group_stages(settings, purpose, alpha, panels, candidates);
    let left: Vec<(usize, f64)> = candidates
        .iter()
        .zip(&stages)
        .enumerate()
        .filter(|(_, (candidate, stages))| {
            candidate.runs.len() == most && contends(settings, stages)
        })
        .filter_map(|(index, (candidate, _))| {
            Some((index, mean(&run_rewards(settings, panels, candidate)?)?))
        })
        .collect();
    repeats.next.of(left)
}

/// Whether exactly those ran again that the rule names, from run to run.
pub fn ran_by_rule(
    settings: &GateSettings,
    purpose: AuditPurpose,
    alpha: f64,
    panels: &[Panel],
    candidates: &[Judged<'_>],
) -> bool {
    let most = candidates.iter().map(|candidate| candidate.runs.len()).max().unwrap_or(0);
    (0..=most).all(|run| {
        let so_far = |runs: &[Run]| run.min(runs.len());
        let then: Vec<Judged<'_>> = candidates
            .iter()
            .map(|one| Judged { runs: &one.runs[..so_far(one.runs)], ..*one })
            .collect();
        let ran = candidates.iter().enumerate().filter(|(_, candidate)| candidate.runs.len() > run);
        let ran: Vec<usize> = ran.map(|(index, _)| index).collect();
        ran == next_run(settings, purpose, alpha, panels, &then)
    })
}

/// Whether the further runs gain more than `min_gain` on the reward split in their mean; so they do where
/// there is none. The first does not count here: its seed is the student's, and it is only asked of edits
/// that it let pass.
pub(super) fn holds(min_gain: f64, panels: &[Panel], runs: &[Run]) -> bool {
    if runs.is_empty() {
        return true;
    }
    let split = panels.iter().filter(|panel| panel.name == PanelName::TauReward);
    let base: Vec<Outcome> = split.flat_map(|panel| panel.base.iter().copied()).collect();
    let reward = |run: &Run| match &run.outcomes {
        Some(panels) => share(&panels.concat()),
        None => Some(0.0),
    };
    let rewards: Option<Vec<f64>> = runs.iter().map(reward).collect();
    let gain = rewards.and_then(|rewards| Some(mean(&rewards)? - share(&base)?));
    gain.is_some_and(|gain| gain > min_gain)
}

/// Best guess at what each edit is worth, from the rewards of its runs: where some ran more often than
/// others, means are drawn towards that of the group the more, the less their runs can be relied on.
/// Nothing for what was not measured.
pub fn estimates(rewards: &[Option<Vec<f64>>]) -> Vec<Option<f64>> {
    let measured: Vec<Vec<f64>> = rewards.iter().flatten().cloned().collect();
    let as_often = measured.windows(2).all(|pair| pair[0].len() == pair[1].len());
    let shrunken = match as_often {
        true => None,
        false => Components::of(&[&measured], Seeds::Own)
            // Estimates that are all drawn to the mean alike would leave the choice to their order.
            .filter(|components| components.between > 0.0)
            .and_then(|components| components.shrunken(&measured)),
    };
    let means = || measured.iter().map(|runs| mean(runs).unwrap_or(f64::NAN)).collect();
    let mut found = shrunken.unwrap_or_else(means).into_iter();
    rewards.iter().map(|rewards| rewards.as_ref().and_then(|_| found.next())).collect()
}
