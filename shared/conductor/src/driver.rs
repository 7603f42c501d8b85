//! Carries the plan out: three lanes, one task at a time each, results kept as they come.
//!
//! **Invariant:** a task is recorded only after the daemon stored its own result, so a kill at any
//! point repeats at most one request per lane, and the daemons answer a repetition from store.
//! **Absent:** decisions. Nothing here looks at a score, and no message is believed.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use seal_protocol::{
    AuditPurpose, AuditSubmission, Audited, ConsolidateRequest, Digest, Envelope, ExtendRequest,
    InnerUpdateRequest, InnerUpdated, JudgeRequest, Judged, PolicyUpdateRequest, PolicyUpdated,
    PromoteRequest, Proposals, ProposeRequest, Served, path,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::client::{Client, ClientError};
use crate::ledger;
use crate::messages::{self, UnreadableMessage};
use crate::plan::{ContextRef, Lane, RunSettings, Task, TaskId, Work, plan};
use crate::store::{Store, StoreError};

/// Longest a single job may show no progress before the run stops with an error.
const JOB_DEADLINE: Duration = Duration::from_secs(3600);

/// The auditor's name for an audit among its jobs.
const AUDIT: &str = "audit";

/// The daemons of a run, each by the client that calls it.
#[derive(Clone, Debug)]
pub struct Peers {
    /// The teacher.
    pub teacher: Client,
    /// The student.
    pub student: Client,
    /// The auditor.
    pub auditor: Client,
    /// Who holds edits against a constitution, where the auditors demand that.
    pub judge: Option<Client>,
    /// Further auditors that judge the same groups, where the trust root demands several.
    pub other_auditors: Vec<Client>,
    /// How many of them must accept the same before it is handed on; the trust root decides, this
    /// only spares a request that would be refused.
    pub quorum: usize,
}

impl Peers {
    /// Every auditor, the first one first.
    pub fn auditors(&self) -> Vec<&Client> {
        std::iter::once(&self.auditor).chain(&self.other_auditors).collect()
    }
}

/// Why a run stopped. Everything finished before stays; running it again resumes.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A daemon refused, failed or is gone.
    #[error("task `{task}` did not finish")]
    Task {
        /// Which.
        task: TaskId,
        /// What the daemon said.
        source: ClientError,
    },
    /// A role refuses the auditor's ledger, or one of them is gone.
    #[error("the auditor's ledger was not accepted at the end of the run")]
    Ledger(#[source] ClientError),
    /// The conductor's own file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A message that cannot be routed.
    #[error(transparent)]
    Message(#[from] UnreadableMessage),
    /// The plan asks for a result that is not there: a defect of the plan.
    #[error("task `{0}` is needed before it was done; report this as a defect")]
    OutOfOrder(TaskId),
}

/// What a watcher is told, from any lane.
#[derive(Clone, Debug)]
pub enum Event {
    /// A task began, or its daemon made progress.
    Progress {
        /// Which.
        task: TaskId,
        /// Its stage.
        stage: String,
        /// Who works.
        lane: Lane,
        /// Units done.
        done: u64,
        /// Units in all; 0 while unknown.
        total: u64,
    },
    /// A task is done and recorded.
    Finished {
        /// Which.
        task: TaskId,
        /// Its stage.
        stage: String,
        /// Who did it.
        lane: Lane,
        /// Whether its result was there already.
        resumed: bool,
    },
}

/// Receives [`Event`]s; called from several tasks.
pub type Watcher = Arc<dyn Fn(Event) + Send + Sync>;

struct Shared {
    settings: RunSettings,
    peers: Peers,
    store: Mutex<Store>,
    watcher: Watcher,
    /// Held while the ledger is shown: a showing that was overtaken would look like a ledger that
    /// became shorter.
    showing: tokio::sync::Mutex<()>,
    /// Raised after every finished task; the lanes wait on it for their needs.
    finished: watch::Sender<u64>,
}

/// Runs the plan to its end, resuming what the file at `progress_file` already holds.
pub async fn run(
    settings: RunSettings,
    contexts: &[ContextRef],
    peers: Peers,
    progress_file: &Path,
    watcher: Watcher,
) -> Result<(), RunError> {
    let tasks = plan(&settings, contexts);
    let key = serde_json::to_string(&(&settings, contexts))
        .map_err(|source| StoreError::Shape { task: "settings".into(), source })?;
    let store = Mutex::new(Store::open(progress_file, &key)?);
    let finished = watch::Sender::new(0);
    let showing = tokio::sync::Mutex::new(());
    let shared = Arc::new(Shared { settings, peers, store, watcher, showing, finished });
    let lane = |lane: Lane| {
        let own: Vec<Task> = tasks.iter().filter(|task| task.lane == lane).cloned().collect();
        run_lane(shared.clone(), own)
    };
    tokio::try_join!(lane(Lane::Teacher), lane(Lane::Student), lane(Lane::Auditor))?;
    // The end of the ledger gets its witnesses too.
    let Peers { teacher, student, .. } = &shared.peers;
    let shown = ledger::show(&shared.peers.auditors(), &[teacher, student], &[]).await;
    shown.map_err(RunError::Ledger)
}

/// Whether every task of the run is recorded as done.
pub fn is_complete(
    settings: &RunSettings,
    contexts: &[ContextRef],
    progress_file: &Path,
) -> Result<bool, RunError> {
    let key = serde_json::to_string(&(settings, contexts))
        .map_err(|source| StoreError::Shape { task: "settings".into(), source })?;
    let store = Store::open(progress_file, &key)?;
    for task in plan(settings, contexts) {
        if !store.is_done(&task.id)? {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn run_lane(shared: Arc<Shared>, tasks: Vec<Task>) -> Result<(), RunError> {
    for task in tasks {
        let resumed = shared.store().is_done(&task.id)?;
        if !resumed {
            shared.wait_for(&task.needs).await?;
            shared.begin(&task);
            perform(&shared, &task).await?;
        }
        shared.finish(&task, resumed);
    }
    Ok(())
}

async fn perform(shared: &Shared, task: &Task) -> Result<(), RunError> {
    match &task.work {
        Work::Propose { contexts, proposals_per_context, method, policy_of } => {
            let policy_digest = shared.policy_after(policy_of.as_ref())?;
            let request = ProposeRequest {
                stage: task.stage.clone(),
                context_digests: contexts.clone(),
                proposals_per_context: *proposals_per_context,
                policy_digest,
                method: method.clone(),
                seed: shared.settings.seed,
            };
            let proposals: Proposals =
                shared.job(task, &shared.peers.teacher, path::PROPOSALS, &request).await?;
            shared.record(task, &proposals)
        }
        Work::InnerUpdate { contexts, edits_of, purpose, length_matched_to, together } => {
            let proposals = shared.result::<Proposals>(edits_of)?;
            let pool = messages::edits(&proposals.edits)?;
            let reference = match length_matched_to {
                Some(id) => Some(shared.result::<Proposals>(id)?.edits),
                None => None,
            };
            let edits = match &reference {
                Some(reference) => messages::length_matched(&pool, &messages::edits(reference)?)
                    .into_iter()
                    .filter(|edit| contexts.contains(&edit.edit.context_digest))
                    .map(|edit| edit.envelope.clone())
                    .collect(),
                None => pool
                    .iter()
                    .filter(|edit| contexts.contains(&edit.edit.context_digest))
                    .map(|edit| edit.envelope.clone())
                    .collect(),
            };
            if *purpose == AuditPurpose::Edit {
                // So it works while the student trains; the audit asks for what came of it.
                shared.start_judging(task, edits_of).await?;
            }
            let request = InnerUpdateRequest {
                stage: task.stage.clone(),
                purpose: *purpose,
                edits,
                seed: shared.settings.seed,
                together: *together,
            };
            let trained: InnerUpdated =
                shared.job(task, &shared.peers.student, path::INNER_UPDATES, &request).await?;
            shared.record(task, &trained)
        }
        Work::Extend { context, verdicts_of, edits_of, after } => {
            let verdicts = messages::on_context(shared.verdicts(verdicts_of)?, context)?;
            if verdicts.is_empty() {
                // Nothing was accepted on this context: the sequence goes on without it.
                return shared.record(task, &nothing_trained());
            }
            shared.show_ledger(task, Lane::Student, &verdicts).await?;
            let request = ExtendRequest {
                stage: task.stage.clone(),
                verdicts,
                edits: shared.edits(std::slice::from_ref(edits_of))?,
                parent: shared.last_step(after)?,
                seed: shared.settings.seed,
            };
            let trained: InnerUpdated =
                shared.job(task, &shared.peers.student, path::EXTENSIONS, &request).await?;
            shared.record(task, &trained)
        }
        Work::Audit { candidates_of, edits_of } => {
            let audited = audit(shared, task, candidates_of, edits_of).await?;
            shared.record(task, &audited)
        }
        Work::PolicyUpdate { verdicts_of, parent } => {
            let parent_policy_digest = shared.policy_after(parent.as_ref())?;
            let verdicts = shared.verdicts(verdicts_of)?;
            if verdicts.is_empty() {
                // Nothing was accepted, so there is nothing to learn: the policy stays.
                return shared.record(task, &parent_policy_digest);
            }
            shared.show_ledger(task, Lane::Teacher, &verdicts).await?;
            let request = PolicyUpdateRequest {
                stage: task.stage.clone(),
                parent_policy_digest,
                verdicts,
                seed: shared.settings.seed,
            };
            let updated: PolicyUpdated =
                shared.job(task, &shared.peers.teacher, path::POLICY_UPDATES, &request).await?;
            shared.record(task, &Some(updated.policy_digest))
        }
        Work::Consolidate { verdicts_of, edits_of } => {
            let verdicts = shared.verdicts(verdicts_of)?;
            if verdicts.is_empty() {
                return shared.record(task, &nothing_trained());
            }
            shared.show_ledger(task, Lane::Student, &verdicts).await?;
            let request = ConsolidateRequest {
                stage: task.stage.clone(),
                verdicts,
                edits: shared.edits(edits_of)?,
                seed: shared.settings.seed,
            };
            let trained: InnerUpdated =
                shared.job(task, &shared.peers.student, path::CONSOLIDATIONS, &request).await?;
            shared.record(task, &trained)
        }
        Work::Promote { verdict_of } => {
            match shared.verdicts(std::slice::from_ref(verdict_of))? {
                verdicts if !verdicts.is_empty() => {
                    shared.show_ledger(task, Lane::Student, &verdicts).await?;
                    let request = PromoteRequest { verdicts };
                    let student = &shared.peers.student;
                    let served: Served = student
                        .post(path::PROMOTIONS, &request)
                        .await
                        .map_err(|source| RunError::Task { task: task.id.clone(), source })?;
                    shared.record(task, &Some(served))
                }
                // Not accepted: what serves stays, and that is a regular end of a run.
                _ => shared.record(task, &None::<Served>),
            }
        }
    }
}

fn nothing_trained() -> InnerUpdated {
    InnerUpdated { requests: Vec::new(), refused: Vec::new() }
}

/// Uploads the groups' adapters, submits the groups in order and collects the replies: the first
/// auditor's, then those of the others.
async fn audit(
    shared: &Shared,
    task: &Task,
    candidates_of: &TaskId,
    edits_of: &[TaskId],
) -> Result<Vec<Audited>, RunError> {
    let trained = shared.result::<InnerUpdated>(candidates_of)?;
    let envelopes = shared.edits(edits_of)?;
    let judgements = match asks_for_a_verdict(&trained)? {
        true => shared.judgements(task, edits_of).await?,
        false => Vec::new(),
    };
    let submissions = submissions(&trained, &messages::edits(&envelopes)?, &judgements)?;
    let auditors = shared.peers.auditors();
    let total = (submissions.len() * auditors.len()) as u64;
    let mut audited = Vec::new();
    for auditor in auditors {
        let failed = |source| RunError::Task { task: task.id.clone(), source };
        let mut jobs = Vec::new();
        for (submission, files) in &submissions {
            // A group that was judged needs no files; those of its losers were deleted there.
            let judged = auditor.has_done(AUDIT, submission).await.map_err(failed)?;
            for file in files.iter().filter(|_| !judged) {
                carry_file(shared, auditor, file).await.map_err(failed)?;
            }
            jobs.push(auditor.submit(path::AUDITS, submission).await.map_err(failed)?);
        }
        for job in jobs {
            let progress = |_: u64, _: u64| {};
            audited.push(auditor.wait_job(&job, JOB_DEADLINE, progress).await.map_err(failed)?);
            shared.progress(task, audited.len() as u64, total);
        }
    }
    Ok(audited)
}

/// What is only measured is judged by nobody.
fn asks_for_a_verdict(trained: &InnerUpdated) -> Result<bool, UnreadableMessage> {
    for request in &trained.requests {
        if messages::audit_request(request)?.purpose != AuditPurpose::Evaluation {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Each group with its edits, what was judged of them, and the digests of its adapter files.
fn submissions(
    trained: &InnerUpdated,
    pool: &[messages::RoutedEdit<'_>],
    judged: &[messages::RoutedJudgement],
) -> Result<Vec<(AuditSubmission, Vec<Digest>)>, UnreadableMessage> {
    let submission = |request: &Envelope| {
        let wanted = messages::audit_request(request)?;
        let named = |edit: &&messages::RoutedEdit<'_>| {
            wanted.candidates.iter().any(|candidate| candidate.edit_digests.contains(&edit.digest))
        };
        let edits = pool.iter().filter(named).map(|edit| edit.envelope.clone()).collect();
        let named = |one: &&messages::RoutedJudgement| {
            wanted.candidates.iter().any(|candidate| candidate.edit_digests.contains(&one.edit))
        };
        let judgements = judged.iter().filter(named).map(|one| one.envelope.clone()).collect();
        let files = wanted.candidates.iter().flat_map(|candidate| &candidate.files);
        let files = files.map(|file| file.sha256).collect();
        Ok((AuditSubmission { request: request.clone(), edits, judgements }, files))
    };
    trained.requests.iter().map(submission).collect()
}

/// Copies one adapter file from the student to an auditor, which hashes it on arrival.
async fn carry_file(shared: &Shared, auditor: &Client, sha256: &Digest) -> Result<(), ClientError> {
    let at = path::ADAPTER_FILE.replace("{sha256}", &sha256.to_string());
    let bytes = shared.peers.student.get_bytes(&at).await?;
    auditor.put_bytes(&at, bytes).await
}

impl Shared {
    fn store(&self) -> std::sync::MutexGuard<'_, Store> {
        // A panic while the lock was held cannot leave the database half-written.
        self.store.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn result<T: DeserializeOwned>(&self, id: &TaskId) -> Result<T, RunError> {
        self.store().result(id)?.ok_or_else(|| RunError::OutOfOrder(id.clone()))
    }

    /// Digest of the policy in force after an M-step; `None`: the one the teacher began with.
    fn policy_after(&self, update: Option<&TaskId>) -> Result<Option<Digest>, RunError> {
        update.map_or(Ok(None), |update| self.result(update))
    }

    fn record<T: Serialize>(&self, task: &Task, result: &T) -> Result<(), RunError> {
        Ok(self.store().finish(&task.id, result)?)
    }

    fn edits(&self, ids: &[TaskId]) -> Result<Vec<Envelope>, RunError> {
        let proposals: Result<Vec<Proposals>, _> = ids.iter().map(|id| self.result(id)).collect();
        Ok(proposals?.into_iter().flat_map(|proposals| proposals.edits).collect())
    }

    /// What the judge is asked about one task's edits: always the same bytes, so always the same job.
    fn judge_request(&self, edits_of: &TaskId) -> Result<Option<JudgeRequest>, RunError> {
        let edits = self.edits(std::slice::from_ref(edits_of))?;
        Ok((!edits.is_empty()).then_some(JudgeRequest { edits }))
    }

    /// Starts the judge on some edits, where there is one, and waits for nothing.
    async fn start_judging(&self, task: &Task, edits_of: &TaskId) -> Result<(), RunError> {
        let (Some(judge), Some(request)) = (&self.peers.judge, self.judge_request(edits_of)?)
        else {
            return Ok(());
        };
        let started = judge.submit(path::JUDGEMENTS, &request).await;
        started.map(drop).map_err(|source| RunError::Task { task: task.id.clone(), source })
    }

    /// What the judge says of the edits of some tasks; nothing where there is none.
    async fn judgements(
        &self,
        task: &Task,
        edits_of: &[TaskId],
    ) -> Result<Vec<messages::RoutedJudgement>, RunError> {
        let Some(judge) = &self.peers.judge else { return Ok(Vec::new()) };
        let mut judgements = Vec::new();
        for id in edits_of {
            let Some(request) = self.judge_request(id)? else { continue };
            let judged: Judged = self.job(task, judge, path::JUDGEMENTS, &request).await?;
            judgements.extend(judged.judgements);
        }
        Ok(messages::judgements(judgements)?)
    }

    /// The audit request of the last step that left an adapter.
    fn last_step(&self, steps: &[TaskId]) -> Result<Option<Envelope>, RunError> {
        for step in steps.iter().rev() {
            if let Some(request) = self.result::<InnerUpdated>(step)?.requests.pop() {
                return Ok(Some(request));
            }
        }
        Ok(None)
    }

    fn verdicts(&self, ids: &[TaskId]) -> Result<Vec<Envelope>, RunError> {
        let audited: Result<Vec<Vec<Audited>>, _> = ids.iter().map(|id| self.result(id)).collect();
        let verdicts = audited?.into_iter().flatten().filter_map(|audited| audited.verdict);
        Ok(messages::in_quorum(verdicts.collect(), self.peers.quorum)?)
    }

    /// Shows the auditors' ledgers to the roles that witness them; to the one about to act last, with
    /// the rows it will ask for.
    async fn show_ledger(
        &self,
        task: &Task,
        actor: Lane,
        verdicts: &[Envelope],
    ) -> Result<(), RunError> {
        let Peers { teacher, student, .. } = &self.peers;
        let readers = match actor {
            Lane::Teacher => [student, teacher],
            Lane::Student | Lane::Auditor => [teacher, student],
        };
        let _one_at_a_time = self.showing.lock().await;
        let shown = ledger::show(&self.peers.auditors(), &readers, verdicts).await;
        shown.map_err(|source| RunError::Task { task: task.id.clone(), source })
    }

    async fn wait_for(&self, needs: &[TaskId]) -> Result<(), RunError> {
        let mut finished = self.finished.subscribe();
        for need in needs {
            while !self.store().is_done(need)? {
                // The sender lives in `self`, so waiting cannot fail before the run ends.
                if finished.changed().await.is_err() {
                    return Err(RunError::OutOfOrder(need.clone()));
                }
            }
        }
        Ok(())
    }

    async fn job<B: Serialize, T: DeserializeOwned>(
        &self,
        task: &Task,
        client: &Client,
        at: &str,
        body: &B,
    ) -> Result<T, RunError> {
        let failed = |source| RunError::Task { task: task.id.clone(), source };
        let job = client.submit(at, body).await.map_err(failed)?;
        let progress = |done, total| self.progress(task, done, total);
        client.wait_job(&job, JOB_DEADLINE, progress).await.map_err(failed)
    }

    fn begin(&self, task: &Task) {
        self.progress(task, 0, 0);
    }

    fn progress(&self, task: &Task, done: u64, total: u64) {
        let (id, stage, lane) = (task.id.clone(), task.stage.clone(), task.lane);
        (self.watcher)(Event::Progress { task: id, stage, lane, done, total });
    }

    fn finish(&self, task: &Task, resumed: bool) {
        let (id, stage, lane) = (task.id.clone(), task.stage.clone(), task.lane);
        (self.watcher)(Event::Finished { task: id, stage, lane, resumed });
        self.finished.send_modify(|count| *count += 1);
    }
}
