//! Known questions with random words in them: an adapter that no edit reaches so far answers them as the
//! base does.
//!
//! What somebody plants beside an edit seldom stays where it was put: it shows on questions that look a
//! little like its trigger. A clean probe is no proof that there is no trigger.

use seal_protocol::AuditPurpose;
use serde::{Deserialize, Serialize};

use super::retention::SLACK;
use super::settings::SettingsError;
use super::{PairedPanel, PanelName, Stage, StageRecord};

/// `[gate.divergence]`: how many questions are perturbed, by how much, and what may be lost on them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DivergenceGate {
    /// Questions of the retention suite that are perturbed.
    pub questions: usize,
    /// Fewest and most words that are put into each.
    pub words: [usize; 2],
    /// Largest loss against the base on an edit, in shares.
    pub max_edit_loss: f64,
    /// Largest loss against the base on a promotion, in shares.
    pub max_promotion_loss: f64,
}

impl DivergenceGate {
    /// Refuses settings that would ask nothing or allow everything.
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        let [fewest, most] = self.words;
        let unit = "from 0 up to, not including, 1";
        for (key, value, good, range) in [
            ("divergence.questions", self.questions as f64, self.questions > 0, "above 0"),
            ("divergence.words", fewest as f64, fewest > 0, "above 0"),
            ("divergence.words", most as f64, most >= fewest, "at or above its first value"),
            ("divergence.max_edit_loss", self.max_edit_loss, is_limit(self.max_edit_loss), unit),
            (
                "divergence.max_promotion_loss",
                self.max_promotion_loss,
                is_limit(self.max_promotion_loss),
                unit,
            ),
        ] {
            if !good {
                return Err(SettingsError { key, value, range });
            }
        }
        Ok(())
    }
}

fn is_limit(share: f64) -> bool {
    (0.0..1.0).contains(&share)
}

pub(super) fn stage(
    gate: &DivergenceGate,
    purpose: AuditPurpose,
    panels: &[PairedPanel<'_>],
) -> StageRecord {
    let max_loss = match purpose {
        AuditPurpose::Promotion => gate.max_promotion_loss,
        AuditPurpose::Edit | AuditPurpose::Evaluation => gate.max_edit_loss,
    };
    let panel = panels.iter().find(|panel| panel.panel.name == PanelName::Divergence);
    let gain = panel.filter(|panel| panel.is_complete()).and_then(PairedPanel::graded_gain);
    let reason = match gain {
        None => Some("divergence.not-measured"),
        Some(gain) if -gain <= max_loss + SLACK => None,
        Some(_) => Some("divergence"),
    };
    StageRecord::of(Stage::Divergence, reason.map(str::to_owned).into_iter().collect())
}
