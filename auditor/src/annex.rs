//! The metrics annex: everything measured about one group, enough to derive its decisions again.
//!
//! It stays with the auditor; verdict and ledger rows carry its digest. Items appear by id, never by
//! text.

use seal_protocol::{AuditPurpose, Digest};
use serde::{Deserialize, Serialize};

use crate::gate::{
    GateSettings, Judged, Outcome, PairedPanel, Panel, PanelName, Ruling, StageRecord, rule_group,
};
use crate::statistics::{Interval, bootstrap_mean, detectable_drop, wilson};

/// `version` of this form.
pub const ANNEX_VERSION: u32 = 1;
/// Stages that need no model come first in every ruling.
pub const EARLY_STAGES: usize = 3;
/// Power behind the statement of what a suite can show.
const POWER: f64 = 0.8;

/// One group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Annex {
    /// [`ANNEX_VERSION`].
    pub version: u32,
    /// SHA-256 of the request's signed payload.
    pub request_digest: Digest,
    /// What was asked.
    pub purpose: AuditPurpose,
    /// Stage of the run.
    pub stage: String,
    /// The base that was loaded.
    pub base_model_digest: Digest,
    /// Settings in force.
    pub settings: GateSettings,
    /// Level of this attempt, after what earlier attempts on the context spent.
    pub alpha: f64,
    /// Smallest loss of retention that the suite would show four times in five, in shares; absent
    /// where it has too few items to show any.
    pub detectable_retention_loss: Option<f64>,
    /// The items and the base's outcomes.
    pub panels: Vec<Panel>,
    /// Every candidate in the request's order.
    pub candidates: Vec<CandidateAnnex>,
}

/// One candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CandidateAnnex {
    /// Contexts claimed.
    pub context_digests: Vec<Digest>,
    /// Edits behind it.
    pub edit_digests: Vec<Digest>,
    /// The tensors, if bytes came at all.
    pub adapter_digest: Option<Digest>,
    /// Outcomes per panel, in the order of the panels; absent if it could not be measured.
    pub outcomes: Option<Vec<Vec<Outcome>>>,
    /// The same, for people.
    pub summary: Vec<PanelSummary>,
    /// Stages, decision and reasons.
    pub ruling: Ruling,
}

/// All panels of one name, pooled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PanelSummary {
    /// Which.
    pub name: PanelName,
    /// Items.
    pub n: u64,
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

/// A candidate before the group is ruled.
pub struct Measured {
    /// Contexts claimed.
    pub context_digests: Vec<Digest>,
    /// Edits behind it.
    pub edit_digests: Vec<Digest>,
    /// The tensors.
    pub adapter_digest: Option<Digest>,
    /// The early stages.
    pub early: Vec<StageRecord>,
    /// Outcomes per panel.
    pub outcomes: Option<Vec<Vec<Outcome>>>,
}

/// What a group is judged under.
pub struct Terms {
    /// SHA-256 of the request's signed payload.
    pub request_digest: Digest,
    /// What was asked.
    pub purpose: AuditPurpose,
    /// Stage of the run.
    pub stage: String,
    /// The base that was loaded.
    pub base_model_digest: Digest,
    /// Settings in force.
    pub settings: GateSettings,
    /// Level of this attempt.
    pub alpha: f64,
}

impl Annex {
    /// Rules a measured group and writes it all down.
    pub fn rule(terms: Terms, panels: Vec<Panel>, candidates: Vec<Measured>) -> Self {
        let judged: Vec<Judged<'_>> = candidates.iter().map(Measured::judged).collect();
        let Terms { settings, purpose, alpha, .. } = &terms;
        let rulings = rule_group(settings, *purpose, *alpha, &panels, &judged);
        let candidates = candidates.into_iter().zip(rulings);
        let candidates =
            candidates.map(|(candidate, ruling)| candidate.ruled(&panels, ruling)).collect();
        Self {
            version: ANNEX_VERSION,
            request_digest: terms.request_digest,
            purpose: terms.purpose,
            stage: terms.stage,
            base_model_digest: terms.base_model_digest,
            detectable_retention_loss: detectable(&panels, terms.alpha),
            settings: terms.settings,
            alpha: terms.alpha,
            panels,
            candidates,
        }
    }

    /// Judges the recorded measurements again; equal to the recorded rulings in an honest annex.
    pub fn ruled_again(&self) -> Vec<Ruling> {
        let judged = |candidate: &'_ CandidateAnnex| {
            let early = candidate.ruling.stages.len().min(EARLY_STAGES);
            (candidate.ruling.stages[..early].to_vec(), candidate.outcomes.clone())
        };
        let parts: Vec<_> = self.candidates.iter().map(judged).collect();
        let judged: Vec<Judged<'_>> = parts
            .iter()
            .map(|(early, outcomes)| Judged { early, outcomes: outcomes.as_deref() })
            .collect();
        rule_group(&self.settings, self.purpose, self.alpha, &self.panels, &judged)
    }
}

impl Measured {
    fn judged(&self) -> Judged<'_> {
        Judged { early: &self.early, outcomes: self.outcomes.as_deref() }
    }

    fn ruled(self, panels: &[Panel], ruling: Ruling) -> CandidateAnnex {
        let summary = self.outcomes.as_deref().map(|outcomes| summaries(panels, outcomes));
        CandidateAnnex {
            context_digests: self.context_digests,
            edit_digests: self.edit_digests,
            adapter_digest: self.adapter_digest,
            outcomes: self.outcomes,
            summary: summary.unwrap_or_default(),
            ruling,
        }
    }
}

fn detectable(panels: &[Panel], alpha: f64) -> Option<f64> {
    let retention = panels.iter().find(|panel| panel.name == PanelName::Retention)?;
    detectable_drop(retention.items.len() as u64, alpha, POWER)
}

const NAMES: [PanelName; 5] = [
    PanelName::TauReward,
    PanelName::TauConfirmation,
    PanelName::ProtectedOwn,
    PanelName::Retention,
    PanelName::ProtectedOthers,
];

fn summaries(panels: &[Panel], outcomes: &[Vec<Outcome>]) -> Vec<PanelSummary> {
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
    Some(PanelSummary {
        name,
        n: candidate.len() as u64,
        base: interval(&base),
        candidate: interval(&candidate),
        empty: candidate.iter().filter(|outcome| outcome.empty).count() as u64,
        gain: bootstrap_mean(&graded, 0),
        dense_gain: dense.filter(|_| is_tau).and_then(|gains| bootstrap_mean(&gains.concat(), 0)),
    })
}

fn gain(pair: crate::statistics::PairedOutcome) -> f64 {
    f64::from(u8::from(pair.candidate)) - f64::from(u8::from(pair.base))
}

fn interval(outcomes: &[Outcome]) -> Option<Interval> {
    let right = outcomes.iter().filter(|outcome| outcome.exact).count();
    wilson(right as u64, outcomes.len() as u64)
}
