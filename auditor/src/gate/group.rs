//! A group of candidates: judge each, then select at most one.

use seal_protocol::{AuditPurpose, Decision};
use serde::{Deserialize, Serialize};

use super::measurement::{likelihood, share};
use super::{
    GateSettings, Outcome, PairedPanel, Panel, PanelName, Stage, StageRecord, measured_stages,
    unmeasured_stages,
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
            strict_winner(settings.reward, panels, candidates, &stages)
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
            stages.extend(measured_stages(settings, purpose, alpha, &paired));
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

fn paper_winner(
    panels: &[Panel],
    candidates: &[Judged<'_>],
    stages: &[Vec<StageRecord>],
) -> Option<usize> {
    let accuracy = |(candidate, stages): (&Judged<'_>, &Vec<StageRecord>)| {
        let graded = graded(PanelName::TauReward, panels, candidate);
        graded.filter(|_| is_sound(stages)).into_iter().collect()
    };
    let accuracies: Vec<Vec<f64>> = candidates.iter().zip(stages).map(accuracy).collect();
    paper(&accuracies)
}

fn strict_winner(
    by: Reward,
    panels: &[Panel],
    candidates: &[Judged<'_>],
    stages: &[Vec<StageRecord>],
) -> Option<usize> {
    let standing = |(candidate, stages): (&Judged<'_>, &Vec<StageRecord>)| Standing {
        passed: stages.iter().all(StageRecord::permits),
        reward: match by {
            Reward::Graded => reward(panels, candidate, graded),
            Reward::Likelihood => reward(panels, candidate, likely),
        },
        dense: reward(panels, candidate, dense),
    };
    let standings: Vec<Standing> = candidates.iter().zip(stages).map(standing).collect();
    strict(&standings)
}

type Score = fn(PanelName, &[Panel], &Judged<'_>) -> Option<f64>;

/// By the reward split, or, where a group has none (a promotion), by the confirmation split.
fn reward(panels: &[Panel], candidate: &Judged<'_>, score: Score) -> Option<f64> {
    score(PanelName::TauReward, panels, candidate)
        .or_else(|| score(PanelName::TauConfirmation, panels, candidate))
}

fn graded(name: PanelName, panels: &[Panel], candidate: &Judged<'_>) -> Option<f64> {
    share(&outcomes(name, panels, candidate))
}

fn likely(name: PanelName, panels: &[Panel], candidate: &Judged<'_>) -> Option<f64> {
    likelihood(&outcomes(name, panels, candidate))
}

fn dense(name: PanelName, panels: &[Panel], candidate: &Judged<'_>) -> Option<f64> {
    let outcomes = outcomes(name, panels, candidate);
    let values: Option<Vec<f64>> =
        outcomes.iter().map(|outcome| outcome.log_prob.map(|micro| micro.to_f64())).collect();
    mean(&values?)
}

fn outcomes(name: PanelName, panels: &[Panel], candidate: &Judged<'_>) -> Vec<Outcome> {
    let all = candidate.outcomes.unwrap_or(&[]);
    let named = panels.iter().zip(all).filter(|(panel, _)| panel.name == name);
    named.flat_map(|(_, outcomes)| outcomes.iter().copied()).collect()
}
