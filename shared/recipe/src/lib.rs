//! From signed edits and a seed to what a trainer is given: recipe, limits, replay, sequences.
//!
//! The student trains by it, and an auditor that trains an adapter again must come to the same
//! sequences and the same recipe; so both ask one [`Planner`]. The teacher's M-step reads its replay files
//! as they do.
//!
//! **Invariant:** pure, but for reading replay files at the start: base, tables, edits and seed fix
//! what is planned.
//! **Invariant:** no input of a peer can panic this crate.
//! **Absent:** training itself, signatures, where an edit came from.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod consolidation;
mod directives;
mod planner;
mod replay;
mod sequences;
mod tables;
mod update;

pub use consolidation::{ConsolidationConfig, Size};
pub use directives::{BeyondLimit, DirectiveError, DirectiveLimits};
pub use planner::{PlanError, Planned, Planner};
pub use replay::{
    ReplayError, ReplayQuota, ReplaySource, ResolvedQuota, draw, read_all, replay_seed, resolved,
};
pub use sequences::{LINES, SequenceError, Sequencer};
pub use tables::{UpdateTables, training_works};
pub use update::UpdateRecipe;
