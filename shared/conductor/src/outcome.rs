//! What a run came to, as far as its conductor knows: from the messages it carried, unverified.
//!
//! The measurements behind it are the auditor's and lie on its host.

use std::path::Path;

use seal_protocol::{Audited, Envelope, Served};

use crate::driver::RunError;
use crate::plan::{ContextRef, RunSettings, Work, plan};
use crate::store::{Store, StoreError};

/// Counts of a run under way or done.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Tasks that are done.
    pub done: usize,
    /// Tasks in all.
    pub tasks: usize,
    /// Groups that an auditor has judged.
    pub judged: usize,
    /// Groups of which it accepted a candidate.
    pub accepted: usize,
    /// Verdicts on adapters that were to serve, in the plan's order.
    pub promotion_verdicts: Vec<Vec<Envelope>>,
    /// What serves, as the student said at the last promotion.
    pub served: Option<Served>,
}

/// Reads the file at `progress_file`.
///
/// # Errors
/// A file that cannot be read, or is of a run with other settings.
pub fn outcome(
    settings: &RunSettings,
    contexts: &[ContextRef],
    progress_file: &Path,
) -> Result<Outcome, RunError> {
    let key = serde_json::to_string(&(settings, contexts))
        .map_err(|source| StoreError::Shape { task: "settings".into(), source })?;
    let store = Store::open(progress_file, &key)?;
    let tasks = plan(settings, contexts);
    let mut outcome = Outcome { tasks: tasks.len(), ..Outcome::default() };
    for task in &tasks {
        outcome.done += usize::from(store.is_done(&task.id)?);
        match &task.work {
            Work::Audit { .. } => {
                let judged: Vec<Audited> = store.result(&task.id)?.unwrap_or_default();
                outcome.judged += judged.len();
                outcome.accepted += judged.iter().filter(|group| group.verdict.is_some()).count();
            }
            Work::Promote { verdict_of } => {
                let judged: Vec<Audited> = store.result(verdict_of)?.unwrap_or_default();
                let verdicts: Vec<Envelope> =
                    judged.into_iter().filter_map(|group| group.verdict).collect();
                outcome.promotion_verdicts.extend((!verdicts.is_empty()).then_some(verdicts));
                outcome.served = store.result::<Option<Served>>(&task.id)?.flatten();
            }
            _ => {}
        }
    }
    Ok(outcome)
}
