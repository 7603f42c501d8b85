//! Knowledge kept: share right before minus share right after, against the original base, so that many
//! small losses add up, and against the version accepted last, so that one large loss is not paid from
//! what an earlier version won.

use seal_protocol::AuditPurpose;

use super::{GateSettings, PairedPanel, PanelName, Stage, StageRecord};

/// Half a millionth of an item is no item: shares are compared with this slack.
pub(super) const SLACK: f64 = 1e-9;

pub(super) fn stage(
    settings: &GateSettings,
    purpose: AuditPurpose,
    panels: &[PairedPanel<'_>],
) -> StageRecord {
    let max_loss = settings.max_retention_loss(purpose);
    let since_last = settings.promotion.max_loss_since_last;
    let mut suites =
        panels.iter().filter(|panel| panel.panel.name == PanelName::Retention).peekable();
    let reason = if suites.peek().is_none() {
        Some("retention.not-measured")
    } else {
        suites.find_map(|panel| reason(max_loss, panel).or_else(|| dropped(since_last, panel)))
    };
    StageRecord::of(Stage::Retention, reason.map(str::to_owned).into_iter().collect())
}

/// The version accepted last is measured for promotions alone.
fn dropped(max_loss: f64, panel: &PairedPanel<'_>) -> Option<&'static str> {
    let last = panel.panel.last.as_ref()?;
    let complete = last.len() == panel.candidate.len();
    match panel.gain_since_last().filter(|_| complete) {
        None => Some("retention.not-measured"),
        Some(gain) if -gain <= max_loss + SLACK => None,
        Some(_) => Some("retention.drop-since-last"),
    }
}

fn reason(max_loss: f64, panel: &PairedPanel<'_>) -> Option<&'static str> {
    match panel.graded_gain().filter(|_| panel.is_complete()) {
        None => Some("retention.not-measured"),
        Some(gain) if -gain <= max_loss + SLACK => None,
        Some(_) => Some("retention.drop"),
    }
}
