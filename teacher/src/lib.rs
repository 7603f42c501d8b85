//! The teacher: writes self-edits with a policy, and lets the policy learn from accepted ones.
//!
//! **Invariant:** the policy learns from verified verdicts alone.
//! **Invariant:** the same request leads to the same digests, after a crash too.
//! **Invariant:** nothing leaves but to the endpoint of an API backend, and all that does is recorded.
//! **Absent:** τ, adapters and weights of the student.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod asking;
mod backends;
mod batches;
mod config;
mod contexts;
mod daemon;
mod edits;
mod error;
mod exemplars;
mod family;
mod family_choice;
mod fine_tuned;
mod first_policy;
mod memory;
mod policies;
mod policy_name;
mod policy_update;
mod prompt;
mod propose;
mod python_text;
mod reply;
mod rows;
mod sampling;
mod seeds;
mod sequences;
mod state;
mod teacher;
mod weights;
mod worker;

pub use backends::{BackendConfig, LocalConfig, RecordedConfig, RecordedError};
pub use config::{PolicyUpdateSettings, TeacherConfig};
pub use contexts::{Context, Contexts, ContextsError};
pub use daemon::run;
pub use error::TeacherError;
pub use exemplars::ExemplarSettings;
pub use family::{
    ContextUse, Directive, EditBody, Layout, Markup, ReplySettings, ReplyUnread, Speaker,
    StructuredError, TextFamily, TextPrompt, Turn, schema as structured_edit_schema,
};
pub use family_choice::FamilyChoice;
pub use first_policy::PolicySource;
pub use memory::works;
pub use policy_name::policy_digest;
pub use prompt::{PromptError, Prompter, WrittenPrompt};
pub use python_text::strip as stripped;
pub use reply::{ParsedReply, PromptFamily, Unparsed};
pub use sampling::SamplingSettings;
pub use seal_recipe::{ReplayError, ReplayQuota};
pub use seeds::{proposal_seed, update_seed};
pub use sequences::{SequenceBuilder, SequenceRule, context_sequence, titled};
pub use state::StateError;
pub use teacher::{Identity, Report, Teacher};
