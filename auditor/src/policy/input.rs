//! What a written policy sees, in full: strict Rust types first, Rego after.
//!
//! **Invariant:** a field that is missing, unknown or of another type never reaches a policy: such an
//! input does not come into being, and a candidate without an input is refused.
//! **Absent:** texts. Edits and questions appear by digest and by number alone.

use seal_protocol::{AuditPurpose, Digest, Enforcement, Labels, Micro, UnixSeconds};
use serde::{Deserialize, Serialize};

use crate::gate::{PanelName, Stage, StageOutcome, StageRecord};
use crate::statistics::Interval;
use crate::summary::PanelSummary;

/// `version` of this form. Rego files ask for the one they were written for.
pub const INPUT_VERSION: u32 = 1;
/// Longest input that is read from a file, in bytes.
pub(super) const MAX_INPUT_BYTES: usize = 4 << 20;

/// `input` of a policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyInput {
    /// [`INPUT_VERSION`].
    pub version: u32,
    /// What was asked, and when.
    pub request: RequestFacts,
    /// What is judged, and where it comes from.
    pub candidate: CandidateFacts,
    /// How often this was tried.
    pub attempts: AttemptFacts,
    /// Who judges.
    pub auditor: AuditorFacts,
    /// What came of each earlier stage.
    pub gates: Gates,
    /// What was measured.
    pub measurements: Measurements,
}

/// The part of the input that does not follow from the measurements.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// What was asked, and when.
    pub request: RequestFacts,
    /// What is judged, and where it comes from.
    pub candidate: CandidateFacts,
    /// How often this was tried.
    pub attempts: AttemptFacts,
    /// Who judges.
    pub auditor: AuditorFacts,
}

/// The audit request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestFacts {
    /// `edit` or `promotion`: the kind of verdict that is asked for.
    pub purpose: AuditPurpose,
    /// Stage of the run, e.g. `round-1/train`.
    pub stage: String,
    /// SHA-256 of the request's signed payload.
    pub digest: Digest,
    /// Time of the audit, seconds since 1970. A policy has no other clock.
    pub at: UnixSeconds,
}

/// The candidate and its provenance, as far as the auditor verified it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CandidateFacts {
    /// The tensors that were hashed and measured.
    pub adapter_digest: Digest,
    /// The base that was loaded.
    pub base_model_digest: Digest,
    /// Its tokenizer.
    pub tokenizer_digest: Digest,
    /// The adapter training started from; absent: fresh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_adapter_digest: Option<Digest>,
    /// The recipe that the student names.
    pub recipe_digest: Digest,
    /// The seed that the student names.
    pub seed: u64,
    /// The instruction set that the student names.
    pub instruction_set: String,
    /// Contexts claimed, sorted.
    pub context_digests: Vec<Digest>,
    /// The edits whose signatures verified.
    pub edits: Vec<EditFacts>,
}

/// One signed self-edit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditFacts {
    /// Digest of the edit.
    pub digest: Digest,
    /// Its context.
    pub context_digest: Digest,
    /// The teacher key that signed it.
    pub keyid: String,
    /// Which writer the teacher names, e.g. `local:miniature`.
    pub writer: String,
    /// The policy model that wrote it.
    pub policy_digest: Digest,
    /// Prompt family.
    pub prompt_family: String,
    /// Sampling temperature in millionths.
    pub temperature_micro: Micro,
    /// Training examples.
    pub examples: u64,
    /// Length of all its texts, in bytes.
    pub bytes: u64,
    /// Directive labels.
    pub labels: Vec<String>,
}

/// How often the claimed contexts were tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttemptFacts {
    /// Groups judged before, on the claimed context that has seen the most.
    pub earlier: u32,
    /// Most groups that the trust root allows.
    pub budget: u64,
    /// Candidates of this group.
    pub group: u32,
    /// One-sided level of this attempt's proof of gain.
    pub alpha: f64,
}

/// The judging process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditorFacts {
    /// Version of the program.
    pub version: String,
    /// SHA-256 of its executable.
    pub binary_digest: Digest,
    /// Confinement that was proven at start.
    pub enforcement: Enforcement,
    /// Version of the trust root in force.
    pub trust_root_version: u64,
}

/// Every stage before the policy, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gates {
    /// Digests, sizes and form of the adapter's files.
    pub bytes: Gate,
    /// Signatures, base, contexts, edits.
    pub provenance: Gate,
    /// Text rules.
    pub text: Gate,
    /// What a judge says of the edits; absent where the auditor demands none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<Gate>,
    /// The adapter, trained again; absent where the auditor is not told to. `passed`: it comes of what
    /// it claims. `not_drawn`: nobody looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recomputation: Option<Gate>,
    /// Gain on τ.
    pub tau: Gate,
    /// Knowledge kept.
    pub retention: Gate,
    /// What must be refused is refused.
    pub protected: Gate,
    /// Known questions with random words in them; absent where the auditor asks none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub divergence: Option<Gate>,
}

/// One stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// `passed`, `failed`, `not_run`, or `not_drawn` for a recomputation.
    pub outcome: StageOutcome,
    /// Rules that spoke against the candidate.
    pub reasons: Vec<String>,
}

/// Every panel, by name. What a purpose does not need may be absent; an edit has `tau_reward`, a
/// promotion `tau_confirmation`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurements {
    /// `gold`, or `majority` where answers to the reward split were held against what most models of the
    /// group say. Always there, so that a policy can demand the one it wants.
    pub labels: Labels,
    /// Reward split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tau_reward: Option<Measurement>,
    /// Confirmation split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tau_confirmation: Option<Measurement>,
    /// Protected behaviour on the claimed contexts' own entities.
    pub protected_own: Measurement,
    /// Knowledge that must survive.
    pub retention: Measurement,
    /// Protected behaviour on other entities.
    pub protected_others: Measurement,
    /// Harmless questions, right where they are refused: a gain is over-refusal. Absent where the vault
    /// has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub benign: Option<Measurement>,
    /// Knowledge that must survive, asked with random words in it; absent where the auditor asks none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub divergence: Option<Measurement>,
}

/// Shares right, in the unit interval, each with its 95 % interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// Items.
    pub n: u64,
    /// Answers that were empty under the candidate.
    pub empty: u64,
    /// Under the base.
    pub base: Estimate,
    /// Under the candidate.
    pub candidate: Estimate,
    /// Paired gain; a loss is negative.
    pub gain: Estimate,
    /// Paired dense gain in nats per token; for τ alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dense_gain: Option<Estimate>,
}

/// A finite estimate with its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// The estimate.
    pub mean: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// No input could be made: a measurement or stage is absent or no number. Names it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` was not measured")]
pub struct Incomplete(pub &'static str);

/// A file that is no policy input.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// Longer than any input.
    #[error("{0} bytes are more than the {MAX_INPUT_BYTES} of any policy input")]
    TooLong(usize),
    /// Unknown, missing or wrongly typed field.
    #[error("not a policy input: {0}")]
    Shape(#[from] serde_json::Error),
    /// Written for another form.
    #[error("`version` is {0}; this program makes and reads version {INPUT_VERSION}")]
    Version(u32),
    /// What the purpose needs is absent.
    #[error(transparent)]
    Incomplete(#[from] Incomplete),
}

impl PolicyInput {
    /// Puts facts and measurements together.
    ///
    /// # Errors
    /// The first stage or measurement that is absent or not finite.
    pub fn new(
        facts: Facts,
        stages: &[StageRecord],
        summaries: &[PanelSummary],
    ) -> Result<Self, Incomplete> {
        let Facts { request, candidate, attempts, auditor } = facts;
        let measurements = Measurements::of(summaries)?;
        let gates = Gates::of(stages)?;
        let input = Self {
            version: INPUT_VERSION,
            request,
            candidate,
            attempts,
            auditor,
            gates,
            measurements,
        };
        input.check_purpose()?;
        Ok(input)
    }

    /// Reads an input from a file, as strictly as the auditor makes one.
    ///
    /// # Errors
    /// Anything that the auditor would not have made.
    pub fn from_json(bytes: &[u8]) -> Result<Self, InputError> {
        if bytes.len() > MAX_INPUT_BYTES {
            return Err(InputError::TooLong(bytes.len()));
        }
        let input: Self = serde_json::from_slice(bytes)?;
        if input.version != INPUT_VERSION {
            return Err(InputError::Version(input.version));
        }
        input.check_purpose()?;
        Ok(input)
    }

    /// The measurement that proves a gain must be there, its dense part too.
    fn check_purpose(&self) -> Result<(), Incomplete> {
        let (name, tau) = match self.request.purpose {
            AuditPurpose::Promotion => ("tau-confirmation", &self.measurements.tau_confirmation),
            AuditPurpose::Edit => ("tau-reward", &self.measurements.tau_reward),
            AuditPurpose::Evaluation => return Err(Incomplete("purpose")),
        };
        match tau {
            Some(measured) if measured.dense_gain.is_some() => Ok(()),
            _ => Err(Incomplete(name)),
        }
    }
}

impl Gates {
    fn of(stages: &[StageRecord]) -> Result<Self, Incomplete> {
        let gate = |name, stage| {
            let mut found = stages.iter().filter(|record| record.stage == stage);
            match (found.next(), found.next()) {
                (Some(record), None) => {
                    Ok(Gate { outcome: record.outcome, reasons: record.reasons.clone() })
                }
                _ => Err(Incomplete(name)),
            }
        };
        let if_there = |name, stage| {
            let there = stages.iter().any(|record| record.stage == stage);
            there.then(|| gate(name, stage)).transpose()
        };
        Ok(Self {
            judge: if_there("judge", Stage::Judge)?,
            recomputation: if_there("recomputation", Stage::Recomputation)?,
            divergence: if_there("divergence", Stage::Divergence)?,
            bytes: gate("bytes", Stage::Bytes)?,
            provenance: gate("provenance", Stage::Provenance)?,
            text: gate("text", Stage::Text)?,
            tau: gate("tau", Stage::Tau)?,
            retention: gate("retention", Stage::Retention)?,
            protected: gate("protected", Stage::Protected)?,
        })
    }
}

impl Measurements {
    fn of(summaries: &[PanelSummary]) -> Result<Self, Incomplete> {
        let find = |name: PanelName| summaries.iter().find(|summary| summary.name == name);
        let needed = |label, name| {
            find(name).ok_or(Incomplete(label)).and_then(|summary| Measurement::of(label, summary))
        };
        let if_there =
            |label, name| find(name).map(|summary| Measurement::of(label, summary)).transpose();
        Ok(Self {
            labels: find(PanelName::TauReward).map_or(Labels::Gold, |summary| summary.labels),
            tau_reward: if_there("tau-reward", PanelName::TauReward)?,
            tau_confirmation: if_there("tau-confirmation", PanelName::TauConfirmation)?,
            protected_own: needed("protected-own", PanelName::ProtectedOwn)?,
            retention: needed("retention", PanelName::Retention)?,
            protected_others: needed("protected-others", PanelName::ProtectedOthers)?,
            benign: if_there("benign", PanelName::Benign)?,
            divergence: if_there("divergence", PanelName::Divergence)?,
        })
    }
}

impl Measurement {
    fn of(label: &'static str, summary: &PanelSummary) -> Result<Self, Incomplete> {
        let estimate =
            |interval: Option<Interval>| interval.and_then(Estimate::of).ok_or(Incomplete(label));
        Ok(Self {
            n: summary.n,
            empty: summary.empty,
            base: estimate(summary.base)?,
            candidate: estimate(summary.candidate)?,
            gain: estimate(summary.gain)?,
            dense_gain: summary.dense_gain.map(|gain| estimate(Some(gain))).transpose()?,
        })
    }
}

impl Estimate {
    fn of(interval: Interval) -> Option<Self> {
        let Interval { mean, low, high } = interval;
        let finite = [mean, low, high].into_iter().all(f64::is_finite);
        finite.then_some(Self { mean, low, high })
    }
}
