//! The stages of the gate and what came of each.

use serde::{Deserialize, Serialize};

/// In the order in which they run, cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Digests, sizes and form of the adapter's files.
    Bytes,
    /// Signatures, base, tokenizer, contexts, edits.
    Provenance,
    /// Text rules on the edits.
    Text,
    /// What a judge says of the edits, where this auditor demands one.
    Judge,
    /// The adapter comes of what it claims, where this auditor trains adapters again.
    Recomputation,
    /// All of it was measured before the audit's time was over; only there where it was not.
    Measurement,
    /// Gain on τ.
    Tau,
    /// Knowledge kept.
    Retention,
    /// What must be refused is refused.
    Protected,
    /// Known questions are answered with random words in them, too, where this auditor asks that.
    Divergence,
    /// The organisation's written policy, where there is one.
    Policy,
}

/// What came of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageOutcome {
    /// Nothing spoke against the candidate.
    Passed,
    /// Some rule did.
    Failed,
    /// An earlier stage left nothing to run on. Not a pass.
    NotRun,
    /// The auditor's draw did not fall on the candidate. Not a pass, and not in its way.
    NotDrawn,
    /// The auditor's time was over. Not a pass, and says nothing of the candidate but that.
    OutOfTime,
}

impl Stage {
    /// Whether it comes before anything is measured.
    pub fn is_early(self) -> bool {
        self <= Self::Measurement
    }
}

/// One stage of one candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageRecord {
    /// Which.
    pub stage: Stage,
    /// What came of it.
    pub outcome: StageOutcome,
    /// Rules that spoke against the candidate, by their stable names.
    pub reasons: Vec<String>,
}

impl StageRecord {
    /// Passed exactly when there are no reasons.
    pub fn of(stage: Stage, reasons: Vec<String>) -> Self {
        let outcome = if reasons.is_empty() { StageOutcome::Passed } else { StageOutcome::Failed };
        Self { stage, outcome, reasons }
    }

    /// One more rule speaks against the candidate.
    pub(super) fn fail(&mut self, rule: &str) {
        self.outcome = StageOutcome::Failed;
        self.reasons.push(rule.to_owned());
    }

    /// A stage with nothing to run on.
    pub fn not_run(stage: Stage) -> Self {
        Self { stage, outcome: StageOutcome::NotRun, reasons: Vec::new() }
    }

    /// A stage at which the audit's time was over, with the rule that names it.
    pub fn out_of_time(stage: Stage, rule: &str) -> Self {
        Self { stage, outcome: StageOutcome::OutOfTime, reasons: vec![rule.to_owned()] }
    }

    /// A recomputation that was not drawn.
    pub fn not_drawn() -> Self {
        let (stage, outcome) = (Stage::Recomputation, StageOutcome::NotDrawn);
        Self { stage, outcome, reasons: Vec::new() }
    }

    /// Whether nothing of it stands in a candidate's way: it passed, or was left out by the draw that
    /// the operator asked for. No other stage can be left out.
    pub fn permits(&self) -> bool {
        self.passed() || *self == Self::not_drawn()
    }

    /// Whether it passed.
    pub fn passed(&self) -> bool {
        self.outcome == StageOutcome::Passed && self.reasons.is_empty()
    }
}
