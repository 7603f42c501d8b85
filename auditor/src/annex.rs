//! The metrics annex: everything measured about one group, enough to derive its decisions again.
//!
//! It stays with the auditor; verdict and ledger rows carry its digest. Items appear by id, never by
//! text.

use seal_protocol::{AuditPurpose, Decision, Digest, Labels};
use serde::{Deserialize, Serialize};

use crate::gate::{
    GateSettings, Judged, Outcome, Panel, PanelName, Ruling, Run, Stage, StageRecord, group_stages,
    ran_by_rule, rule_group,
};
use crate::policy::{Asked, Facts, Incomplete, Policy, PolicyInput, TIMEOUT, stage};
use crate::recompute::{Recomputed, Share};
use crate::statistics::detectable_drop;
pub use crate::summary::PanelSummary;
use crate::summary::summaries;

/// `version` of this form.
pub const ANNEX_VERSION: u32 = 1;
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
    /// Which adapters were to be trained again; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recompute: Option<Share>,
    /// The written policy that was asked; absent where none is configured or nothing was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_bundle_digest: Option<Digest>,
    /// The constitution that edits were held against; absent where no judge is demanded or nothing was
    /// asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constitution_digest: Option<Digest>,
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
    /// The judgements on its edits that came and verified, by the digest of their signed payload, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub judgement_digests: Vec<Digest>,
    /// What came of training it again; absent if that was not asked for or it never came so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recomputation: Option<Recomputed>,
    /// Outcomes per panel, in the order of the panels; absent if it could not be measured.
    pub outcomes: Option<Vec<Vec<Outcome>>>,
    /// Its further runs, by the auditor itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<Run>,
    /// The same, for people.
    pub summary: Vec<PanelSummary>,
    /// What written policy was told besides, or would have been told; absent for an evaluation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<Facts>,
    /// Stages, decision and reasons.
    pub ruling: Ruling,
}

/// A candidate before the group is ruled.
pub struct Measured {
    /// Contexts claimed.
    pub context_digests: Vec<Digest>,
    /// Edits behind it.
    pub edit_digests: Vec<Digest>,
    /// The tensors.
    pub adapter_digest: Option<Digest>,
    /// The judgements on its edits, sorted.
    pub judgement_digests: Vec<Digest>,
    /// The early stages.
    pub early: Vec<StageRecord>,
    /// What came of training it again.
    pub recomputation: Option<Recomputed>,
    /// Outcomes per panel.
    pub outcomes: Option<Vec<Vec<Outcome>>>,
    /// Its further runs.
    pub runs: Vec<Run>,
    /// What written policy is told besides.
    pub facts: Option<Facts>,
}

/// What a group is judged under.
pub struct Terms<'a> {
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
    /// Which adapters are trained again; `None`: none.
    pub recompute: Option<Share>,
    /// The constitution that edits are held against, where a judge is demanded.
    pub constitution: Option<Digest>,
    /// Written policy, where there is one.
    pub policy: Option<&'a Policy>,
}

/// Another policy than the one the annex names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the written policy {0:?} is needed to judge this again")]
pub struct PolicyNeeded(pub Option<Digest>);

impl Annex {
    /// Rules a measured group and writes it all down.
    pub fn rule(terms: Terms<'_>, panels: Vec<Panel>, candidates: Vec<Measured>) -> Self {
        // An evaluation is never accepted, so there is nothing to ask a policy.
        let policy = terms.policy.filter(|_| terms.purpose != AuditPurpose::Evaluation);
        let mut annex = Self {
            version: ANNEX_VERSION,
            request_digest: terms.request_digest,
            purpose: terms.purpose,
            stage: terms.stage,
            base_model_digest: terms.base_model_digest,
            detectable_retention_loss: detectable(&panels, terms.alpha),
            settings: terms.settings,
            alpha: terms.alpha,
            recompute: terms.recompute,
            policy_bundle_digest: policy.map(Policy::digest),
            constitution_digest: terms.constitution,
            candidates: candidates.into_iter().map(|measured| measured.noted(&panels)).collect(),
            panels,
        };
        let rulings = annex.ruled(|candidate, stages| {
            let summary = candidate.outcomes.is_some().then_some(candidate.summary.as_slice());
            policy.map(|policy| candidate.asked(policy, stages, summary))
        });
        for (candidate, ruling) in annex.candidates.iter_mut().zip(rulings) {
            candidate.ruling = ruling;
        }
        annex
    }

    /// What the answers to the split that decides were held against: the mark of its verdict and rows.
    pub fn labels(&self) -> Labels {
        self.settings.labels_of(self.purpose)
    }

    /// Whether exactly those edits ran again that the settings name.
    pub fn ran_by_rule(&self) -> bool {
        let judged: Vec<Judged<'_>> = self.candidates.iter().map(CandidateAnnex::judged).collect();
        ran_by_rule(&self.settings, self.purpose, self.alpha, &self.panels, &judged)
    }

    /// Judges the recorded measurements again; equal to the recorded rulings in an honest annex.
    ///
    /// # Errors
    /// Without the written policy that the annex names, or with another one.
    pub fn ruled_again(&self, policy: Option<&Policy>) -> Result<Vec<Ruling>, PolicyNeeded> {
        if policy.map(Policy::digest) != self.policy_bundle_digest {
            return Err(PolicyNeeded(self.policy_bundle_digest));
        }
        Ok(self.ruled_as_recorded(policy))
    }

    /// Judges the recorded measurements under another written policy, or under none. What nobody
    /// asked for stays as it was measured.
    pub fn ruled_under(&self, policy: Option<&Policy>) -> Vec<Ruling> {
        let policy = policy.filter(|_| self.purpose != AuditPurpose::Evaluation);
        self.ruled(|candidate, stages| {
            policy.map(|policy| {
                candidate.asked(policy, stages, self.summarised(candidate).as_deref())
            })
        })
    }

    fn ruled_as_recorded(&self, policy: Option<&Policy>) -> Vec<Ruling> {
        self.ruled(|candidate, stages| {
            // A lack of time is the machine's and cannot be derived again; it only ever refuses.
            let recorded = candidate.ruling.stages.last().filter(|record| timed_out(record));
            policy.map(|policy| match recorded {
                Some(record) => record.clone(),
                None => candidate.asked(policy, stages, self.summarised(candidate).as_deref()),
            })
        })
    }

    /// A candidate's summary, from its outcomes.
    fn summarised(&self, candidate: &CandidateAnnex) -> Option<Vec<PanelSummary>> {
        candidate.outcomes.as_deref().map(|outcomes| summaries(&self.panels, outcomes))
    }

    /// The input of one candidate, as its policy was asked: for stock `opa`, and for other policies.
    ///
    /// # Errors
    /// What was not measured. `None` for an evaluation.
    pub fn policy_input(
        &self,
        candidate: &CandidateAnnex,
    ) -> Option<Result<PolicyInput, Incomplete>> {
        let (facts, summary) = (candidate.facts.clone()?, self.summarised(candidate));
        Some(PolicyInput::new(facts, &candidate.ruling.stages, &summary.unwrap_or_default()))
    }

    /// Rulings from early stages, outcomes and what written policy says.
    fn ruled(
        &self,
        written: impl Fn(&CandidateAnnex, &[StageRecord]) -> Option<StageRecord>,
    ) -> Vec<Ruling> {
        let judged: Vec<Judged<'_>> = self.candidates.iter().map(CandidateAnnex::judged).collect();
        let Self { settings, purpose, alpha, panels, .. } = self;
        let mut stages = group_stages(settings, *purpose, *alpha, panels, &judged);
        for (candidate, stages) in self.candidates.iter().zip(&mut stages) {
            let said = written(candidate, stages);
            stages.extend(said);
        }
        rule_group(settings, *purpose, panels, &judged, stages)
    }
}

fn timed_out(record: &StageRecord) -> bool {
    record.stage == Stage::Policy && record.reasons.iter().any(|reason| reason == TIMEOUT)
}

impl CandidateAnnex {
    fn judged(&self) -> Judged<'_> {
        let stages = self.ruling.stages.as_slice();
        let late = stages.iter().position(|record| !record.stage.is_early());
        Judged {
            early: &stages[..late.unwrap_or(stages.len())],
            outcomes: self.outcomes.as_deref(),
            runs: &self.runs,
        }
    }

    fn asked(
        &self,
        policy: &Policy,
        stages: &[StageRecord],
        summary: Option<&[PanelSummary]>,
    ) -> StageRecord {
        stage(policy, &Asked { stages, facts: self.facts.as_ref(), summary })
    }
}

impl Measured {
    /// As the gate sees it.
    pub fn judged(&self) -> Judged<'_> {
        Judged { early: &self.early, outcomes: self.outcomes.as_deref(), runs: &self.runs }
    }

    /// Written down, before anything but the early stages is ruled.
    fn noted(self, panels: &[Panel]) -> CandidateAnnex {
        let summary = self.outcomes.as_deref().map(|outcomes| summaries(panels, outcomes));
        CandidateAnnex {
            context_digests: self.context_digests,
            edit_digests: self.edit_digests,
            adapter_digest: self.adapter_digest,
            judgement_digests: self.judgement_digests,
            recomputation: self.recomputation,
            outcomes: self.outcomes,
            runs: self.runs,
            summary: summary.unwrap_or_default(),
            facts: self.facts,
            ruling: Ruling { stages: self.early, decision: Decision::Reject, reasons: Vec::new() },
        }
    }
}

fn detectable(panels: &[Panel], alpha: f64) -> Option<f64> {
    let retention = panels.iter().find(|panel| panel.name == PanelName::Retention)?;
    detectable_drop(retention.items.len() as u64, alpha, POWER)
}
