//! Knowledge kept: share right before minus share right after, against the original base.

use super::{PairedPanel, PanelName, Stage, StageRecord};

/// Half a millionth of an item is no item: shares are compared with this slack.
pub(super) const SLACK: f64 = 1e-9;

pub(super) fn stage(max_loss: f64, panels: &[PairedPanel<'_>]) -> StageRecord {
    let mut suites =
        panels.iter().filter(|panel| panel.panel.name == PanelName::Retention).peekable();
    let reason = if suites.peek().is_none() {
        Some("retention.not-measured")
    } else {
        suites.find_map(|panel| reason(max_loss, panel))
    };
    StageRecord::of(Stage::Retention, reason.map(str::to_owned).into_iter().collect())
}

fn reason(max_loss: f64, panel: &PairedPanel<'_>) -> Option<&'static str> {
    match panel.graded_gain().filter(|_| panel.is_complete()) {
        None => Some("retention.not-measured"),
        Some(gain) if -gain <= max_loss + SLACK => None,
        Some(_) => Some("retention.drop"),
    }
}
