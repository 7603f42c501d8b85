//! What a run does, in which order: a pure function from the run's settings to a list of tasks.
//!
//! **Invariant:** each lane (teacher, student, auditor) does its tasks in plan order, one at a time.
//! So the order of the auditor's ledger follows from the plan alone and not from who was faster.
//! **Absent:** I/O, time, results.

mod modes;

use std::fmt;

use seal_protocol::{AuditPurpose, Digest, Micro, ProposalMethod};
use serde::{Deserialize, Serialize};

pub use modes::{joint_stages, sequence_stage};

/// `run.toml`: the settings of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSettings {
    /// Format of this file; 1.
    pub version: u32,
    /// Seed of everything random in the run.
    pub seed: u64,
    /// What the passages of a round are learned for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mode: Mode,
    /// ReST^EM rounds; in the other modes so many adapters, or sequences, each over the passages of its
    /// own round.
    pub rounds: u32,
    /// K, self-edits per context in a round.
    pub proposals_per_context: u32,
    /// Sampling temperature of the policy.
    pub temperature: f64,
    /// Contexts per inner-update job; small enough that student and auditor overlap.
    pub contexts_per_job: usize,
    /// Measure the policies on the held-out contexts after each round.
    pub evaluate: bool,
    /// Words forced at the head of each reply in the control arm "best fixed plan"; empty: no such arm.
    #[serde(default)]
    pub fixed_plan: Vec<String>,
    /// Untrained edits per held-out context to choose a length-matched one from; 0: no such arm.
    #[serde(default)]
    pub length_control_proposals: u32,
    /// Train one adapter on everything accepted, audit it as a whole and serve it if it passes.
    pub consolidate: bool,
}

/// How the passages of a round are learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Each by adapters of its own, which compete; the policy learns from the accepted edits.
    #[default]
    SinglePassage,
    /// All by one adapter on everything that was written about them, unselected: measured and no more.
    ContinuedPretraining,
    /// One after another, each accepted edit on top of those before; after each step all earlier
    /// passages are measured again.
    Continual,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Settings that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("[run] `{key}`: {problem}")]
pub struct SettingsError {
    key: &'static str,
    problem: &'static str,
}

impl RunSettings {
    /// Refuses what no plan follows from.
    ///
    /// # Errors
    /// The setting that contradicts the mode, with its mend.
    pub fn check(&self) -> Result<(), SettingsError> {
        let wrong = |key, problem| Err(SettingsError { key, problem });
        let controls = !self.fixed_plan.is_empty() || self.length_control_proposals > 0;
        match self.mode {
            Mode::SinglePassage => Ok(()),
            _ if controls => {
                wrong("mode", "control arms belong to `single_passage`; leave them out")
            }
            Mode::ContinuedPretraining if self.consolidate => wrong(
                "consolidate",
                "continued pre-training judges no edit, so there is nothing to consolidate; set it to false",
            ),
            Mode::ContinuedPretraining | Mode::Continual => Ok(()),
        }
    }
}

/// Rounds of which some have nothing to learn from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "[run] `rounds` is {rounds}, but no context belongs to round {empty}; set it to the number of rounds \
     that the contexts were shared out to, or share them out again (`seal import … --rounds {rounds} \
     --replace`)"
)]
pub struct EmptyRound {
    rounds: u32,
    empty: u32,
}

impl RunSettings {
    /// Refuses rounds without a context: each would be measured as if something had been learned in it.
    ///
    /// # Errors
    /// The first round without one, with its mend.
    pub fn check_contexts(&self, contexts: &[ContextRef]) -> Result<(), EmptyRound> {
        let has_one = |round| contexts.iter().any(|one| one.usage == ContextUse::Round(round));
        match (1..=self.rounds).find(|&round| !has_one(round)) {
            Some(empty) => Err(EmptyRound { rounds: self.rounds, empty }),
            None => Ok(()),
        }
    }

    /// How many contexts belong to rounds after the last, and are left alone.
    pub fn left_over(&self, contexts: &[ContextRef]) -> usize {
        let later =
            |one: &&ContextRef| matches!(one.usage, ContextUse::Round(r) if r > self.rounds);
        contexts.iter().filter(later).count()
    }
}

/// A context as the conductor knows it: no text, only its digest and its use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContextRef {
    /// Name for people.
    pub id: String,
    /// SHA-256 of its text.
    pub digest: Digest,
    /// What it is for.
    pub usage: ContextUse,
}

/// What a context is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "round")]
pub enum ContextUse {
    /// Proposals of this round, from 1.
    Round(u32),
    /// Held out: measured, never learned from.
    Evaluation,
    /// Handed in after the rounds, as any new document would be.
    Intake,
}

/// One of the three daemons' queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// Proposals and policy updates.
    Teacher,
    /// Inner updates, consolidation, promotion.
    Student,
    /// Audits.
    Auditor,
}

/// Names a task within a run; stable over restarts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(pub String);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One job for one daemon.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Its name.
    pub id: TaskId,
    /// The stage it belongs to, e.g. `round-1`.
    pub stage: String,
    /// Who does it.
    pub lane: Lane,
    /// Tasks whose results it needs.
    pub needs: Vec<TaskId>,
    /// What is to be done.
    pub work: Work,
}

/// The kinds of work.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// K self-edits for each context.
    Propose {
        /// For these.
        contexts: Vec<Digest>,
        /// K.
        proposals_per_context: u32,
        /// How.
        method: ProposalMethod,
        /// The M-step whose policy writes; `None`: the policy the run began with.
        policy_of: Option<TaskId>,
    },
    /// Train the edits of some contexts.
    InnerUpdate {
        /// Whose edits.
        contexts: Vec<Digest>,
        /// The proposals.
        edits_of: TaskId,
        /// What the audit is for.
        purpose: AuditPurpose,
        /// Train per context only the edit whose length comes closest to the one of this proposal.
        length_matched_to: Option<TaskId>,
        /// One adapter on all of them.
        together: bool,
    },
    /// Learn the accepted edit on one context on top of a sequence.
    Extend {
        /// The context.
        context: Digest,
        /// The audits, of which one may have accepted an edit on it.
        verdicts_of: Vec<TaskId>,
        /// Where the edits are.
        edits_of: TaskId,
        /// The steps before, first to last; one without an accepted edit left no adapter.
        after: Vec<TaskId>,
    },
    /// Have trained groups judged.
    Audit {
        /// The inner update or consolidation.
        candidates_of: TaskId,
        /// Where their edits come from; empty for a consolidation, whose edits its own needs name.
        edits_of: Vec<TaskId>,
    },
    /// M-step on the verdicts of these audits.
    PolicyUpdate {
        /// The audits.
        verdicts_of: Vec<TaskId>,
        /// The M-step before, whose policy learning goes on from.
        parent: Option<TaskId>,
    },
    /// One adapter from every accepted edit.
    Consolidate {
        /// The audits.
        verdicts_of: Vec<TaskId>,
        /// Where the edits are.
        edits_of: Vec<TaskId>,
    },
    /// Serve the consolidated adapter if its audit accepted it.
    Promote {
        /// The audit.
        verdict_of: TaskId,
    },
}

/// All tasks of a run in plan order; within a lane this is the order of execution.
pub fn plan(settings: &RunSettings, contexts: &[ContextRef]) -> Vec<Task> {
    let mut plan = Plan { settings, tasks: Vec::new() };
    match settings.mode {
        Mode::SinglePassage => plan.rounds(contexts),
        Mode::ContinuedPretraining => plan.continued_pretraining(contexts),
        Mode::Continual => plan.sequences(contexts),
    }
    plan.tasks
}

fn used_as(contexts: &[ContextRef], usage: ContextUse) -> Vec<Digest> {
    contexts.iter().filter(|context| context.usage == usage).map(|context| context.digest).collect()
}

/// Task ids of one sampled stage that later tasks refer to.
struct StageTasks {
    proposal: TaskId,
    audits: Vec<TaskId>,
}

/// How a stage's edits are drawn.
struct Sampling {
    count: u32,
    method: ProposalMethod,
    policy_of: Option<TaskId>,
}

struct Plan<'a> {
    settings: &'a RunSettings,
    tasks: Vec<Task>,
}

fn sampled(settings: &RunSettings, forced_prefix: &[String]) -> ProposalMethod {
    ProposalMethod::Policy {
        temperature_micro: Micro::from_f64(settings.temperature),
        forced_prefix: forced_prefix.to_vec(),
    }
}

impl Plan<'_> {
    /// Rounds of selection and policy updates, with what is measured beside them.
    fn rounds(&mut self, contexts: &[ContextRef]) {
        let held_out = used_as(contexts, ContextUse::Evaluation);
        let settings = self.settings;
        let sampled = |forced_prefix: &[String]| sampled(settings, forced_prefix);
        let mut policy: Option<TaskId> = None;
        let mut last_measured: Option<TaskId> = None;
        let mut learned: Vec<StageTasks> = Vec::new();
        let evaluate = settings.evaluate && !held_out.is_empty();

        for round in 1..=settings.rounds {
            let members = used_as(contexts, ContextUse::Round(round));
            let stage = format!("round-{round}");
            let tasks =
                self.sample(&stage, &members, sampled(&[]), policy.clone(), AuditPurpose::Edit);
            if evaluate && round == 1 {
                self.measure("eval-context-only", &held_out, ProposalMethod::ContextOnly, None);
                self.measure("eval-untrained", &held_out, sampled(&[]), None);
                if !settings.fixed_plan.is_empty() {
                    self.measure("eval-fixed-plan", &held_out, sampled(&settings.fixed_plan), None);
                }
            }
            policy = Some(self.policy_update(&stage, &tasks.audits, policy.take()));
            learned.push(tasks);
            if evaluate {
                let stage = format!("eval-round-{round}");
                last_measured =
                    Some(self.measure(&stage, &held_out, sampled(&[]), policy.clone()).proposal);
            }
        }
        if let Some(reference) = last_measured.filter(|_| settings.length_control_proposals > 0) {
            self.measure_length_matched(&held_out, sampled(&[]), reference);
        }
        let intake = used_as(contexts, ContextUse::Intake);
        if !intake.is_empty() {
            self.sample("intake", &intake, sampled(&[]), policy, AuditPurpose::Edit);
        }
        if settings.consolidate && !learned.is_empty() {
            self.consolidate(&learned);
        }
    }

    /// Held-out contexts: one edit each, measured and never signed.
    fn measure(
        &mut self,
        stage: &str,
        contexts: &[Digest],
        method: ProposalMethod,
        policy: Option<TaskId>,
    ) -> StageTasks {
        let purpose = AuditPurpose::Evaluation;
        self.stage(stage, contexts, Sampling { count: 1, method, policy_of: policy }, purpose, None)
    }

    /// The control for length: of many untrained edits, the one as long as the trained policy's.
    fn measure_length_matched(
        &mut self,
        contexts: &[Digest],
        method: ProposalMethod,
        reference: TaskId,
    ) {
        let count = self.settings.length_control_proposals;
        let sampling = Sampling { count, method, policy_of: None };
        let purpose = AuditPurpose::Evaluation;
        self.stage("eval-length-matched", contexts, sampling, purpose, Some(reference));
    }

    /// K edits per context, to be selected from.
    fn sample(
        &mut self,
        stage: &str,
        contexts: &[Digest],
        method: ProposalMethod,
        policy: Option<TaskId>,
        purpose: AuditPurpose,
    ) -> StageTasks {
        let count = self.settings.proposals_per_context;
        self.stage(stage, contexts, Sampling { count, method, policy_of: policy }, purpose, None)
    }

    fn stage(
        &mut self,
        stage: &str,
        contexts: &[Digest],
        sampling: Sampling,
        purpose: AuditPurpose,
        length_matched_to: Option<TaskId>,
    ) -> StageTasks {
        let Sampling { count, method, policy_of } = sampling;
        let needs: Vec<TaskId> = policy_of.iter().cloned().collect();
        let contexts_owned = contexts.to_vec();
        let work = Work::Propose {
            contexts: contexts_owned,
            proposals_per_context: count,
            method,
            policy_of,
        };
        let proposal = self.push(stage, "propose", Lane::Teacher, needs, work);
        let mut audits = Vec::new();
        for (part, members) in contexts.chunks(self.settings.contexts_per_job.max(1)).enumerate() {
            let work = Work::InnerUpdate {
                contexts: members.to_vec(),
                edits_of: proposal.clone(),
                purpose,
                length_matched_to: length_matched_to.clone(),
                together: false,
            };
            let needs = std::iter::once(&proposal).chain(&length_matched_to).cloned().collect();
            let name = format!("update-{part:03}");
            let trained = self.push(stage, &name, Lane::Student, needs, work);

            let edits_of = vec![proposal.clone()];
            let work = Work::Audit { candidates_of: trained.clone(), edits_of };
            let needs = vec![proposal.clone(), trained];
            audits.push(self.push(stage, &format!("audit-{part:03}"), Lane::Auditor, needs, work));
        }
        StageTasks { proposal, audits }
    }

    fn policy_update(&mut self, stage: &str, audits: &[TaskId], parent: Option<TaskId>) -> TaskId {
        let needs = audits.iter().chain(&parent).cloned().collect();
        let work = Work::PolicyUpdate { verdicts_of: audits.to_vec(), parent };
        self.push(stage, "policy-update", Lane::Teacher, needs, work)
    }

    fn consolidate(&mut self, learned: &[StageTasks]) {
        let stage = "consolidation";
        let verdicts_of: Vec<TaskId> =
            learned.iter().flat_map(|stage| stage.audits.clone()).collect();
        let edits_of: Vec<TaskId> = learned.iter().map(|stage| stage.proposal.clone()).collect();
        let needs = [verdicts_of.clone(), edits_of.clone()].concat();
        let work = Work::Consolidate { verdicts_of, edits_of: edits_of.clone() };
        let trained = self.push(stage, "update", Lane::Student, needs, work);
        let needs = [vec![trained.clone()], edits_of.clone()].concat();
        let work = Work::Audit { candidates_of: trained, edits_of };
        let audit = self.push(stage, "audit", Lane::Auditor, needs, work);
        let work = Work::Promote { verdict_of: audit.clone() };
        self.push(stage, "promote", Lane::Student, vec![audit], work);
    }

    fn push(
        &mut self,
        stage: &str,
        name: &str,
        lane: Lane,
        needs: Vec<TaskId>,
        work: Work,
    ) -> TaskId {
        let id = TaskId(format!("{stage}/{name}"));
        self.tasks.push(Task { id: id.clone(), stage: stage.to_owned(), lane, needs, work });
        id
    }
}

#[cfg(test)]
mod tests;
