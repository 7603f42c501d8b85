//! The teacher: writes self-edits with a policy, and lets the policy learn from accepted ones.
//!
//! **Invariant:** the policy learns from verified verdicts alone.
//! **Invariant:** the same request leads to the same digests, after a crash too.
//! **Absent:** τ, adapters and weights of the student, and any outgoing connection.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod batches;
mod config;
mod contexts;
mod daemon;
mod edits;
mod error;
mod family;
mod memory;
mod policies;
mod policy_update;
mod prompt;
mod propose;
mod python_text;
mod replay;
mod reply;
mod rows;
mod seeds;
mod sequences;
mod state;
mod teacher;
mod worker;

pub use config::{
    ConfinementConfig, PolicyUpdateSettings, ReplayQuota, SamplingSettings, TeacherConfig,
};
pub use contexts::{Context, Contexts, ContextsError};
pub use daemon::run;
pub use error::TeacherError;
pub use family::{
    ContextUse, EditBody, Layout, Markup, ReplySettings, ReplyUnread, Speaker, StructuredError,
    TextFamily, TextPrompt, Turn, schema as structured_edit_schema,
};
pub use memory::works;
pub use prompt::{PromptError, Prompter, WrittenPrompt};
pub use python_text::strip as stripped;
pub use replay::ReplayError;
pub use reply::{ParsedReply, PromptFamily, Unparsed};
pub use seeds::{proposal_seed, update_seed};
pub use sequences::{SequenceBuilder, SequenceRule, context_sequence, titled};
pub use state::StateError;
pub use teacher::{Identity, Report, Teacher};
