//! The policy as the last stage of the gate.

use super::{Facts, Policy, PolicyInput, Said};
use crate::gate::{Stage, StageRecord};
use crate::summary::PanelSummary;

/// One candidate, asked about. Facts and summary are absent where nothing could be measured.
pub struct Asked<'a> {
    /// Its earlier stages.
    pub stages: &'a [StageRecord],
    /// What does not follow from the measurements.
    pub facts: Option<&'a Facts>,
    /// Its measurements; absent if there are none.
    pub summary: Option<&'a [PanelSummary]>,
}

/// Asks the policy. What could not be measured is not asked about, and not passed.
pub fn stage(policy: &Policy, asked: &Asked<'_>) -> StageRecord {
    let Some(summary) = asked.summary else { return StageRecord::not_run(Stage::Policy) };
    let Some(facts) = asked.facts else {
        return StageRecord::of(Stage::Policy, vec!["policy.incomplete.facts".to_owned()]);
    };
    let reasons = match PolicyInput::new(facts.clone(), asked.stages, summary) {
        Ok(input) => {
            let said = policy.decide(&input);
            if let Said::Failed(error) = &said {
                tracing::warn!(error, "the policy failed on a candidate, which is refused");
            }
            said.reasons()
        }
        Err(missing) => vec![format!("policy.incomplete.{}", missing.0)],
    };
    StageRecord::of(Stage::Policy, reasons)
}
