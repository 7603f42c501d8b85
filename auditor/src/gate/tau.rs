//! Gain on τ: the reward split for an edit, the confirmation split for a promotion.

use seal_protocol::{AuditPurpose, Labels};

use super::{Evidence, GateSettings, PairedPanel, PanelName, Stage, StageRecord};
use crate::statistics::{Discordant, PairedT, mean};

pub(super) fn stage(
    settings: &GateSettings,
    purpose: AuditPurpose,
    alpha: f64,
    panels: &[PairedPanel<'_>],
) -> StageRecord {
    let of = |name: PanelName| -> Vec<_> {
        let named = panels.iter().filter(|panel| panel.panel.name == name);
        named.copied().collect()
    };
    let reasons = match purpose {
        AuditPurpose::Promotion => promotion(settings, alpha, &of(PanelName::TauConfirmation)),
        AuditPurpose::Edit | AuditPurpose::Evaluation => {
            reward(settings, alpha, &of(PanelName::TauReward))
        }
    };
    StageRecord::of(Stage::Tau, reasons.into_iter().map(str::to_owned).collect())
}

fn reward(settings: &GateSettings, alpha: f64, contexts: &[PairedPanel<'_>]) -> Vec<&'static str> {
    if !contexts.iter().all(|context| context.panel.is_labelled(settings.labels)) {
        return vec!["tau.labels"];
    }
    let voted: Vec<_> =
        contexts.iter().filter(|context| !context.panel.items.is_empty()).copied().collect();
    match (settings.labels, contexts.is_empty(), voted.is_empty()) {
        (Labels::Majority, false, true) => vec!["tau.no-majority"],
        (Labels::Majority, ..) => pooled(settings.evidence, settings.edit.min_gain, alpha, &voted),
        (Labels::Gold, ..) => pooled(settings.evidence, settings.edit.min_gain, alpha, contexts),
    }
}

fn promotion(
    settings: &GateSettings,
    alpha: f64,
    contexts: &[PairedPanel<'_>],
) -> Vec<&'static str> {
    let gate = &settings.promotion;
    let mut reasons = pooled(settings.evidence, gate.min_gain, alpha, contexts);
    let gaining = contexts.iter().filter(|context| gains(context)).count();
    if (gaining as f64) < gate.min_context_share * contexts.len() as f64 {
        reasons.push("tau.context-without-gain");
    }
    reasons
}

/// Whether a single context gained, graded or dense; too few items to prove it here.
fn gains(context: &PairedPanel<'_>) -> bool {
    let dense = context.dense_gains().and_then(|gains| mean(&gains));
    context.graded_gain().is_some_and(|gain| gain > 0.0) || dense.is_some_and(|gain| gain > 0.0)
}

/// Reasons over all items together.
fn pooled(
    evidence: Evidence,
    min_gain: f64,
    alpha: f64,
    panels: &[PairedPanel<'_>],
) -> Vec<&'static str> {
    let gains: Option<Vec<Vec<f64>>> = panels.iter().map(PairedPanel::dense_gains).collect();
    let complete = !panels.is_empty() && panels.iter().all(PairedPanel::is_complete);
    let Some(gains) = gains.filter(|_| complete) else {
        return vec!["tau.not-measured"];
    };
    let pairs = panels.iter().flat_map(PairedPanel::pairs);
    let changed = Discordant::count(pairs);
    let items: usize = panels.iter().map(|panel| panel.candidate.len()).sum();
    let gain = (changed.wins as f64 - changed.losses as f64) / items as f64;
    let mut reasons = Vec::new();
    if gain <= min_gain {
        reasons.push("tau.no-gain");
    }
    if !proven(evidence, alpha, changed, &differences(&gains)) {
        reasons.push("tau.not-proven");
    }
    reasons
}

/// One difference per independent unit: items of one context depend on each other, so with several
/// contexts their means are the units.
fn differences(gains: &[Vec<f64>]) -> Vec<f64> {
    match gains {
        [one] => one.clone(),
        many => many.iter().filter_map(|gains| mean(gains)).collect(),
    }
}

fn proven(evidence: Evidence, alpha: f64, changed: Discordant, differences: &[f64]) -> bool {
    let dense = |alpha| PairedT::of(differences).is_some_and(|test| test.gain_proven(alpha));
    match evidence {
        Evidence::Dense => dense(alpha),
        Evidence::Graded => changed.gain_proven(alpha),
        Evidence::Either => dense(alpha / 2.0) || changed.gain_proven(alpha / 2.0),
    }
}
