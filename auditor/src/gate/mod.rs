//! The gate: measurements and settings in, stages with reasons out. Pure.
//!
//! **Invariant:** an absent measurement, a NaN or a missing item is never a pass.
//! **Invariant:** decisions are made on the quantised numbers that the annex records, so anyone with
//! the annex can derive them again.
//! **Absent:** models, files, clocks, signatures.

mod divergence;
mod group;
mod measurement;
mod protected;
mod repeats;
mod retention;
mod settings;
mod stage;
mod tau;

pub use divergence::DivergenceGate;
pub use group::{Judged, Ruling, group_stages, rule_group};
pub use measurement::{Outcome, PairedPanel, Panel, PanelName, Vote, likelihood, share};
pub use repeats::{Next, Repeats, Run, estimates, next_run, ran_by_rule};
pub use settings::{EditGate, Evidence, GateSettings, LevelPer, PromotionGate, ProtectedGate};
pub use stage::{Stage, StageOutcome, StageRecord};

use seal_protocol::AuditPurpose;

/// It gained in its first run and not in its further ones.
const NOT_REPEATED: &str = "tau.not-repeated";

/// Every measured stage of one candidate, in order.
pub fn measured_stages(
    settings: &GateSettings,
    purpose: AuditPurpose,
    alpha: f64,
    panels: &[PairedPanel<'_>],
) -> Vec<StageRecord> {
    let mut stages = vec![
        tau::stage(settings, purpose, alpha, panels),
        retention::stage(settings, purpose, panels),
        protected::stage(&settings.protected, panels),
    ];
    stages
        .extend(settings.divergence.as_ref().map(|gate| divergence::stage(gate, purpose, panels)));
    stages
}

/// What [`measured_stages`] measures, for a candidate that could not be.
fn unmeasured_stages(settings: &GateSettings) -> Vec<StageRecord> {
    let stages = [Stage::Tau, Stage::Retention, Stage::Protected].into_iter();
    let divergence = settings.divergence.is_some().then_some(Stage::Divergence);
    stages.chain(divergence).map(StageRecord::not_run).collect()
}

#[cfg(test)]
mod tests;
