//! Upload, job, wait: each step goes on from what is kept of an earlier try.

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::config::FineTuningConfig;
use super::error::NotTuned;
use super::kept::{Kept, Thing};
use super::wire::{Job, ListedFile, Made, Page, Standing};
use super::{Plan, Tuned};
use crate::Report;
use crate::call::Call;
use crate::egress::{EgressRefusal, Purpose, Spent};
use crate::fault::{Consequence, Fault};
use crate::pause::pause;
use crate::session::Session;
use crate::stop::Stop;

/// Pages of a list that are looked through, the newest things first.
const PAGES: usize = 100;
/// Things on one of them.
const PER_PAGE: &str = "100";
const JSON: &str = "application/json";

/// A call with what it is for.
struct Step<'a> {
    plan: &'a Plan<'a>,
    call: Call<'a>,
    most: Spent,
    /// What is asked for may not be there yet, which is no failure.
    may_miss: bool,
}

impl<'a> Step<'a> {
    fn free(plan: &'a Plan<'a>, call: Call<'a>) -> Self {
        Self { plan, call, most: Spent::default(), may_miss: false }
    }
}

/// The wait for a job and its model.
struct Wait<'a, 'r> {
    begun: Instant,
    settings: &'a FineTuningConfig,
    report: Report<'r>,
}

impl Wait<'_, '_> {
    /// Waits for the next look; the seconds that were waited where there is none.
    async fn pass(&mut self, asked_for: Duration) -> Result<(), u64> {
        let (waited, longest) = (self.begun.elapsed(), self.settings.longest_wait_s);
        let pause = self.settings.poll_interval_s.max(asked_for);
        if waited.saturating_add(pause) > longest {
            return Err(waited.as_secs());
        }
        (self.report)(waited.as_secs(), longest.as_secs());
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

impl Session {
    /// Goes on to the end, from wherever an earlier try came.
    pub(super) async fn fine_tune(
        &self,
        plan: &Plan<'_>,
        mut kept: Kept,
        report: Report<'_>,
    ) -> Result<Tuned, NotTuned> {
        self.restart();
        let tuned = self.tuned(plan, &mut kept, report).await;
        if tuned.as_ref().is_err_and(NotTuned::is_final) {
            kept.forget()?;
        }
        tuned
    }

    async fn tuned(
        &self,
        plan: &Plan<'_>,
        kept: &mut Kept,
        report: Report<'_>,
    ) -> Result<Tuned, NotTuned> {
        let job = match kept.id(Thing::Job) {
            Some(job) => job,
            None => self.ordered(plan, kept).await?,
        };
        let model = self.waited_for(plan, &job, report).await?;
        let (parent, training_file) = (plan.model.to_owned(), plan.sha256);
        Ok(Tuned { model, parent, job, training_file })
    }

    /// The job, made of the file.
    async fn ordered(&self, plan: &Plan<'_>, kept: &mut Kept) -> Result<String, NotTuned> {
        if !kept.was_asked(Thing::Job) {
            // What could not be paid for is not sent either.
            self.pass_budget(plan.most).await.ok_or_else(|| self.why(plan.most))?;
            self.settle(plan.most, Spent::default());
        }
        let name = plan.file_name();
        let (form_type, form) =
            super::file::form(&name, &plan.content, &format!("seal-{}", plan.sha256));
        let upload = Step::free(plan, Call::post(&["files"], &form_type, &form));
        let file = self.made_once(upload, Thing::File, &name, kept).await?;
        let body = plan.body(&file);
        let order = Call::post(&["fine_tuning", "jobs"], JSON, &body);
        let order = Step { most: plan.most, ..Step::free(plan, order) };
        self.made_once(order, Thing::Job, &file, kept).await
    }

    /// Makes a thing at the endpoint, or finds the one that an earlier request made.
    async fn made_once(
        &self,
        step: Step<'_>,
        thing: Thing,
        mark: &str,
        kept: &mut Kept,
    ) -> Result<String, NotTuned> {
        if let Some(id) = kept.id(thing) {
            return Ok(id);
        }
        let mut dice = ChaCha8Rng::from_seed(*step.plan.key.as_bytes());
        let mut attempt = 1;
        loop {
            let found = match kept.was_asked(thing) {
                true => self.found(step.plan, thing, mark).await?,
                false => None,
            };
            let made = match found {
                Some(id) => Ok(id),
                None => {
                    kept.asking(thing)?;
                    self.attempt_step::<Made>(&step, attempt).await?.map(|made| made.id.0)
                }
            };
            match made {
                Ok(id) => {
                    kept.made(thing, &id)?;
                    tracing::info!(fine_tuning.id = id, "{thing:?} of a fine-tuning job is there");
                    return Ok(id);
                }
                Err(fault) => self.rest(&fault, &mut attempt, &mut dice).await?,
            }
        }
    }

    /// The newest thing of ours in the endpoint's list: a file of this name, a job of this file.
    async fn found(
        &self,
        plan: &Plan<'_>,
        thing: Thing,
        mark: &str,
    ) -> Result<Option<String>, NotTuned> {
        let mut after: Option<String> = None;
        for _ in 0..PAGES {
            let mut call = match thing {
                Thing::File => Call::get(&["files"]),
                Thing::Job => Call::get(&["fine_tuning", "jobs"]),
            };
            if thing == Thing::File {
                call.query.extend([("purpose", "fine-tune"), ("order", "desc")]);
            }
            call.query.push(("limit", PER_PAGE));
            call.query.extend(after.as_deref().map(|after| ("after", after)));
            let page: Page = self.fetched(&Step::free(plan, call)).await?;
            let ours = page.data.iter().find_map(|one| match thing {
                Thing::File => read::<ListedFile>(one).filter(|f| f.filename == mark).map(|f| f.id),
                // One that came to nothing is not what an order is waiting for.
                Thing::Job => read::<Job>(one)
                    .filter(|job| job.training_file.as_deref() == Some(mark))
                    .filter(|job| !matches!(job.standing(), Standing::Over(_)))
                    .map(|job| job.id),
            });
            if let Some(id) = ours {
                return Ok(Some(id.0));
            }
            let last = page.data.last().and_then(|last| last["id"].as_str());
            match last.filter(|_| page.has_more) {
                Some(last) => after = Some(last.to_owned()),
                None => break,
            }
        }
        Ok(None)
    }

    /// The name of the model, once the job has ended and the model is there.
    async fn waited_for(
        &self,
        plan: &Plan<'_>,
        job: &str,
        report: Report<'_>,
    ) -> Result<String, NotTuned> {
        let mut wait = Wait { begun: Instant::now(), settings: plan.settings, report };
        let job_id = || job.to_owned();
        let look = Step::free(plan, Call::get(&["fine_tuning", "jobs", job]));
        let model = loop {
            let (model, asked_for) = ended(job, self.attempt_step(&look, 1).await?)?;
            if let Some(model) = model {
                break model;
            }
            let late = |waited_s| NotTuned::Unfinished { job: job_id(), waited_s };
            wait.pass(asked_for).await.map_err(late)?;
        };
        let look = Step::free(plan, Call::get(&["models", &model]));
        let look = Step { may_miss: true, ..look };
        loop {
            let asked_for = match self.attempt_step::<IgnoredAny>(&look, 1).await? {
                Ok(_) => return Ok(model),
                Err(fault) if is_missing(&fault) => Duration::ZERO,
                Err(fault) => waitable(&fault)?,
            };
            let (job, model) = (job_id(), model.clone());
            let late = |waited_s| NotTuned::ModelMissing { job, model, waited_s };
            wait.pass(asked_for).await.map_err(late)?;
        }
    }

    /// Fetches until there is an answer.
    async fn fetched<T: DeserializeOwned>(&self, step: &Step<'_>) -> Result<T, NotTuned> {
        let mut dice = ChaCha8Rng::from_seed(*step.plan.key.as_bytes());
        let mut attempt = 1;
        loop {
            match self.attempt_step(step, attempt).await? {
                Ok(answer) => return Ok(answer),
                Err(fault) => self.rest(&fault, &mut attempt, &mut dice).await?,
            }
        }
    }

    /// One call, once it may leave.
    async fn attempt_step<T: DeserializeOwned>(
        &self,
        step: &Step<'_>,
        attempt: u32,
    ) -> Result<Result<T, Fault>, NotTuned> {
        let offline = || NotTuned::Stopped(Stop::Offline(EgressRefusal::Offline));
        let endpoint = self.endpoint.as_ref().ok_or_else(offline)?;
        let most = step.most;
        self.pass_breaker().await.ok_or_else(|| self.why(most))?;
        let costs = most != Spent::default();
        if costs {
            self.pass_budget(most).await.ok_or_else(|| self.why(most))?;
        }
        self.keep_pace(Spent::default()).await;
        let purpose = Purpose { context_digest: step.plan.sha256, proposal: 0, attempt };
        let (outcome, spent) = endpoint.call(&step.call, purpose, most).await;
        if costs {
            self.settle(most, spent);
        }
        let fault = outcome.as_ref().err();
        self.judge(fault.filter(|fault| !(step.may_miss && is_missing(fault))), attempt);
        Ok(outcome)
    }

    /// Waits before another attempt, or says why there is none.
    async fn rest(
        &self,
        fault: &Fault,
        attempt: &mut u32,
        dice: &mut ChaCha8Rng,
    ) -> Result<(), NotTuned> {
        let asked_for = waitable(fault)?;
        let repeats = &self.config.repeats;
        let (first, longest) = (repeats.first_pause_s, repeats.longest_pause_s);
        let given_up = || NotTuned::Stopped(Stop::Failing { code: fault.code() });
        if *attempt >= repeats.attempts {
            return Err(given_up());
        }
        let wait = pause(*attempt, Some(asked_for), first, longest, dice).ok_or_else(given_up)?;
        tokio::time::sleep(wait).await;
        *attempt += 1;
        Ok(())
    }

    /// Why a call that costs this much does not leave.
    fn why(&self, most: Spent) -> NotTuned {
        match self.ended_by() {
            Some(Stop::Budget { .. }) => {
                NotTuned::TooDear { tokens: most.input_tokens, cost_micro: most.cost_micro }
            }
            Some(stop) => NotTuned::Stopped(stop),
            None => NotTuned::Stopped(Stop::Failing { code: "unanswered" }),
        }
    }
}

/// The model of a job that ended well, and how long the endpoint asks us to wait.
fn ended(job: &str, looked: Result<Job, Fault>) -> Result<(Option<String>, Duration), NotTuned> {
    let over = |how| Err(NotTuned::Ended { job: job.to_owned(), how });
    match looked {
        Ok(state) => match state.standing() {
            Standing::Over(how) => over(how),
            Standing::UnderWay => Ok((None, Duration::ZERO)),
            Standing::Succeeded => {
                let tokens = state.trained_tokens;
                tracing::info!(fine_tuning.id = job, tokens, "the fine-tuning job has ended");
                Ok((state.fine_tuned_model, Duration::ZERO))
            }
        },
        Err(fault) if is_missing(&fault) => over("is not there any more"),
        Err(fault) => Ok((None, waitable(&fault)?)),
    }
}

fn is_missing(fault: &Fault) -> bool {
    matches!(fault, Fault::Denied(404))
}

/// How long the endpoint asks us to wait after a fault that may pass.
fn waitable(fault: &Fault) -> Result<Duration, NotTuned> {
    match (NotTuned::by(fault), fault.consequence()) {
        (unsupported @ NotTuned::Unsupported(_), _) => Err(unsupported),
        (_, Consequence::Repeat(after)) => Ok(after.unwrap_or_default()),
        (other, Consequence::Skip | Consequence::Stop) => Err(other),
    }
}

fn read<T: DeserializeOwned>(one: &serde_json::Value) -> Option<T> {
    serde_json::from_value(one.clone()).ok()
}
