//! The gate: measurements and settings in, stages with reasons out. Pure.
//!
//! **Invariant:** an absent measurement, a NaN or a missing item is never a pass.
//! **Invariant:** decisions are made on the quantised numbers that the annex records, so anyone with
//! the annex can derive them again.
//! **Absent:** models, files, clocks, signatures.

mod group;
mod measurement;
mod protected;
mod retention;
mod settings;
mod stage;
mod tau;

pub use group::{Judged, Ruling, group_stages, rule_group};
pub use measurement::{Outcome, PairedPanel, Panel, PanelName, share};
pub use settings::{EditGate, Evidence, GateSettings, PromotionGate, ProtectedGate};
pub use stage::{Stage, StageOutcome, StageRecord};

use seal_protocol::AuditPurpose;

/// Every measured stage of one candidate, in order.
pub fn measured_stages(
    settings: &GateSettings,
    purpose: AuditPurpose,
    alpha: f64,
    panels: &[PairedPanel<'_>],
) -> Vec<StageRecord> {
    vec![
        tau::stage(settings, purpose, alpha, panels),
        retention::stage(settings.max_retention_loss(purpose), panels),
        protected::stage(&settings.protected, panels),
    ]
}

#[cfg(test)]
mod tests;
