//! A group of candidates: judge each, then select at most one.

use seal_protocol::{AuditPurpose, Decision};
use serde::{Deserialize, Serialize};

use super::measurement::{likelihood, share};
use super::repeats::{Run, estimates, holds};
use super::{
    GateSettings, NOT_REPEATED, Outcome, PairedPanel, Panel, PanelName, Stage, StageRecord,
    measured_stages, unmeasured_stages,
};
use crate::selection::{Reward, Selection, Standing, paper, strict};
use crate::statistics::mean;

/// One candidate as the gate sees it.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    /// Stages before the measurement: bytes, provenance, text, recomputation.
    pub early: &'a [StageRecord],
    /// Outcomes per panel, in the order of the panels; absent if it could not be measured.
    pub outcomes: Option<&'a [Vec<Outcome>]>,
    /// Its further runs.
    pub runs: &'a [Run],
}

/// What came of one candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ruling {
    /// Every stage in order.
    pub stages: Vec<StageRecord>,
    /// The decision.
    pub decision: Decision,
    /// Rules that spoke against it; empty when accepted or only measured.
    pub reasons: Vec<String>,
}

/// Every stage of every candidate of a group, but for written policy. `alpha` is the level of the attempt.
pub fn group_stages(
    settings: &GateSettings,
    purpose: AuditPurpose,
    alpha: f64,
    panels: &[Panel],
    candidates: &[Judged<'_>],
) -> Vec<Vec<StageRecord>> {
    let alpha = settings.alpha_of_candidate(alpha, candidates.len());
    let each = candidates.iter();
    each.map(|candidate| stages(settings, purpose, alpha, panels, candidate)).collect()
}

/// Selects from a group whose stages are complete. At most one candidate is accepted.
pub fn rule_group(
    settings: &GateSettings,
    purpose: AuditPurpose,
    panels: &[Panel],
    candidates: &[Judged<'_>],
    stages: Vec<Vec<StageRecord>>,
) -> Vec<Ruling> {
    let winner = match (purpose, settings.selection) {
        (AuditPurpose::Evaluation, _) => None,
        (AuditPurpose::Edit, Selection::Paper) => paper_winner(panels, candidates, &stages),
        (AuditPurpose::Edit | AuditPurpose::Promotion, _) => {
            strict_winner(settings, panels, candidates, &stages)
        }
    };
    let gated = !(purpose == AuditPurpose::Edit && settings.selection == Selection::Paper);
    stages
        .into_iter()
        .enumerate()
        .map(|(index, stages)| ruling(purpose, gated, winner == Some(index), stages))
        .collect()
}

fn stages(
    settings: &GateSettings,
    purpose: AuditPurpose,
    alpha: f64,
    panels: &[Panel],
    candidate: &Judged<'_>,
) -> Vec<StageRecord> {
    let mut stages = candidate.early.to_vec();
    match candidate.outcomes {
        Some(outcomes) => {
            let paired = paired(panels, outcomes);
            let mut measured = measured_stages(settings, purpose, alpha, &paired);
            if !holds(settings.edit.min_gain, panels, candidate.runs) {
                let tau = measured.iter_mut().filter(|record| record.stage == Stage::Tau);
                tau.for_each(|record| record.fail(NOT_REPEATED));
            }
            stages.extend(measured);
        }
        None => stages.extend(unmeasured_stages(settings)),
    }
    stages
}

/// A panel without outcomes is paired with nothing, which no stage passes.
fn paired<'a>(panels: &'a [Panel], outcomes: &'a [Vec<Outcome>]) -> Vec<PairedPanel<'a>> {
    let candidate = |index: usize| outcomes.get(index).map_or(&[][..], Vec::as_slice);
    let pair = |(index, panel)| PairedPanel { panel, candidate: candidate(index) };
    panels.iter().enumerate().map(pair).collect()
}

fn ruling(purpose: AuditPurpose, gated: bool, won: bool, stages: Vec<StageRecord>) -> Ruling {
    let against: Vec<String> = stages.iter().flat_map(|stage| stage.reasons.clone()).collect();
    let sound = is_sound(&stages);
    let passed = stages.iter().all(StageRecord::permits);
    let decision = match purpose {
        _ if won => Decision::Accept,
        AuditPurpose::Evaluation if sound => Decision::Measured,
        AuditPurpose::Edit if sound && !gated => Decision::NotSelected,
        AuditPurpose::Edit | AuditPurpose::Promotion if passed => Decision::NotSelected,
        _ => Decision::Reject,
    };
    let reasons = if decision == Decision::Reject { against } else { Vec::new() };
    Ruling { stages, decision, reasons }
}

/// The bytes are what they claim to be and were measured, and neither judge nor written policy forbids them:
/// binding under every selection rule.
fn is_sound(stages: &[StageRecord]) -> bool {
    let binding = |stage: &StageRecord| {
        use Stage::{Bytes, Judge, Policy, Provenance, Recomputation};
        matches!(stage.stage, Bytes | Provenance | Judge | Recomputation | Policy)
    };
    let measured = !stages.iter().any(|stage| stage.outcome == super::StageOutcome::NotRun);
    measured && stages.iter().filter(|stage| binding(stage)).all(StageRecord::permits)
}

/// Whether a candidate can still win, before written policy is asked.
pub(super) fn contends(settings: &GateSettings, stages: &[StageRecord]) -> bool {
    match settings.selection {
        Selection::Paper => is_sound(stages),
        Selection::Strict => stages.iter().all(StageRecord::permits),
    }
}

fn paper_winner(
    panels: &[Panel],
    candidates: &[Judged<'_>],
    stages: &[Vec<StageRecord>],
) -> Option<usize> {
    let accuracies = |(candidate, stages): (&Judged<'_>, &Vec<StageRecord>)| {
        let sound = is_sound(stages);
        let graded = rewards(Reward::Graded, panels, candidate);
        graded.filter(|_| sound).unwrap_or_default()
    };
    let accuracies: Vec<Vec<f64>> = candidates.iter().zip(stages).map(accuracies).collect();
    paper(&accuracies)
}

fn strict_winner(
    settings: &GateSettings,
    panels: &[Panel],
    candidates: &[Judged<'_>],
    stages: &[Vec<StageRecord>],
) -> Option<usize> {
    let score = score_of(settings.reward);
    let of_runs = |one| rewards(settings.reward, panels, one);
    let each: Vec<Option<Vec<f64>>> = candidates
        .iter()
        .map(|one| of_runs(one).or_else(|| Some(vec![once(panels, one, score)?])))
        .collect();
    let standing =
        |((candidate, stages), reward): ((&Judged<'_>, &Vec<StageRecord>), _)| Standing {
            passed: stages.iter().all(StageRecord::permits),
            reward,
            dense: once(panels, candidate, dense),
        };
    let standings: Vec<Standing> =
        candidates.iter().zip(stages).zip(estimates(&each)).map(standing).collect();
    strict(&standings)
}

/// What a candidate is compared by, run by run.
pub(super) fn run_rewards(
    settings: &GateSettings,
    panels: &[Panel],
    candidate: &Judged<'_>,
) -> Option<Vec<f64>> {
    let by = match settings.selection {
        Selection::Paper => Reward::Graded,
        Selection::Strict => settings.reward,
    };
    rewards(by, panels, candidate)
}

/// The reward of each run, the student's first. A run whose training led nowhere is worth nothing.
fn rewards(by: Reward, panels: &[Panel], candidate: &Judged<'_>) -> Option<Vec<f64>> {
    let score = score_of(by);
    let first = score(&outcomes(PanelName::TauReward, panels, candidate))?;
    let of_run = |run: &Run| match &run.outcomes {
        Some(panels) => score(&panels.concat()),
        None => Some(0.0),
    };
    std::iter::once(Some(first)).chain(candidate.runs.iter().map(of_run)).collect()
}

type Score = fn(&[Outcome]) -> Option<f64>;

/// By the reward split, or, where a group has none (a promotion), by the confirmation split.
fn once(panels: &[Panel], candidate: &Judged<'_>, score: Score) -> Option<f64> {
    let of = |name| score(&outcomes(name, panels, candidate));
    of(PanelName::TauReward).or_else(|| of(PanelName::TauConfirmation))
}

fn score_of(by: Reward) -> Score {
    match by {
        Reward::Graded => share,
        Reward::Likelihood => likelihood,
    }
}

fn dense(outcomes: &[Outcome]) -> Option<f64> {
    let values: Option<Vec<f64>> =
        outcomes.iter().map(|outcome| outcome.log_prob.map(|micro| micro.to_f64())).collect();
    mean(&values?)
}

fn outcomes(name: PanelName, panels: &[Panel], candidate: &Judged<'_>) -> Vec<Outcome> {
    let all = candidate.outcomes.unwrap_or(&[]);
    let named = panels.iter().zip(all).filter(|(panel, _)| panel.name == name);
    named.flat_map(|(_, outcomes)| outcomes.iter().copied()).collect()
}
