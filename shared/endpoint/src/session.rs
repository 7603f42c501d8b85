//! Many asks at once: so many under way, so many a minute, so much money, and an endpoint that may
//! fail.
//!
//! Everything runs on one thread, so state is shared without locks; nothing holds it across a wait.

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use seal_protocol::ReplySchema;
use serde_json::Value;
use tokio::sync::Notify;

use crate::ask::{Answer, Ask, Written};
use crate::breaker::{Breaker, Permit};
use crate::budget::{Budget, Grant};
use crate::config::{OnSchemaRefused, OpenAiConfig, ResponseFormat};
use crate::egress::{EgressRefusal, Purpose, Redactor, Spent};
use crate::exchange::{Endpoint, Heard};
use crate::fault::{Consequence, Fault};
use crate::pace::Pace;
use crate::paid::{Ending, Paid, PaidReply, key};
use crate::pause::pause;
use crate::stop::Stop;
use crate::wire::{Reply, Request};
use crate::{Report, WantedReply};

/// The state of all asks.
pub(crate) struct Session {
    /// Absent: offline.
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) url: String,
    pub(crate) redactor: Redactor,
    pub(crate) config: OpenAiConfig,
    pub(crate) wanted: WantedReply,
    /// What holds the endpoint to the schema, where there is one.
    format: Option<Value>,
    shared: RefCell<Shared>,
    /// A request ended, so a reservation may have become room.
    ended: Notify,
}

struct Shared {
    paid: Paid,
    budget: Budget,
    pace: Pace,
    breaker: Breaker,
    stop: Option<Stop>,
    /// The endpoint answered without the schema what it had refused with it.
    schema_refused: bool,
}

/// An ask as it will leave.
struct Asked<'a> {
    ask: &'a Ask,
    request: Request<'a>,
    body: Vec<u8>,
}

/// Whether a request carries the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// It does.
    Held,
    /// It does not: there is none, or the endpoint refuses it.
    Free,
}

impl Session {
    pub(crate) fn new(
        endpoint: Option<Endpoint>,
        url: String,
        redactor: Redactor,
        config: OpenAiConfig,
        wanted: WantedReply,
        paid: Paid,
        budget: Budget,
    ) -> Self {
        let limits = &config.limits;
        let pace = Pace::new(limits.requests_per_minute, limits.tokens_per_minute);
        let breaker = Breaker::new(config.breaker());
        let format = wanted.schema.as_ref().and_then(|schema| config.format_of(schema));
        let (stop, schema_refused) = (None, false);
        let shared = RefCell::new(Shared { paid, budget, pace, breaker, stop, schema_refused });
        let ended = Notify::new();
        Self { endpoint, url, redactor, config, wanted, format, shared, ended }
    }

    /// Carries out asks; `None` for those that a stop kept from being answered.
    pub(crate) async fn carry_out(
        &self,
        asks: &[Ask],
        model: &str,
        temperature: f64,
        report: Report<'_>,
    ) -> (Vec<Option<Answer>>, Option<Stop>) {
        self.restart();
        let total = asks.len() as u64;
        let places = NonZeroUsize::new(self.config.concurrency).map_or(1, NonZeroUsize::get);
        let numbered = stream::iter(asks.iter().enumerate());
        let mut under_way = std::pin::pin!(
            numbered
                .map(|(at, ask)| async move {
                    (at, self.carry_out_one(ask, model, temperature).await)
                })
                .buffer_unordered(places)
        );
        let mut answers = vec![None; asks.len()];
        let mut done = 0;
        while let Some((at, answer)) = under_way.next().await {
            done += u64::from(answer.is_some());
            report(done, total);
            answers[at] = answer;
        }
        (answers, self.ended_by())
    }

    /// A stop ends one job; the next one tries again.
    pub(crate) fn restart(&self) {
        let mut shared = self.shared.borrow_mut();
        shared.stop = None;
        shared.breaker = Breaker::new(self.config.breaker());
    }

    async fn carry_out_one(&self, ask: &Ask, model: &str, temperature: f64) -> Option<Answer> {
        let prompt = ask.prompt.redacted(&self.redactor);
        let longest = self.wanted.max_tokens;
        let request =
            Request::new(&self.config, model, prompt.clone(), temperature, longest, ask.seed);
        let request = match request {
            Ok(request) => request.held_to(self.format.as_ref()),
            Err(reason) => return Some(Answer::Missed(reason.to_owned())),
        };
        // The library writes the same value in the same way; the record has what it wrote. What is
        // paid for is named as it was wanted, even where the schema then stayed away.
        let body = serde_json::to_vec(&request).ok()?;
        let key = key(&self.url, &body, ask.seed, ask.proposal);
        let stored = self.shared.borrow().paid.get(&key).map(|stored| stored.cloned());
        let stored = match stored {
            Ok(stored) => stored,
            Err(error) => return self.stop(Stop::refused(&error.into())),
        };
        let reply = match stored {
            Some(reply) => reply,
            None => match self.ask(&Asked { ask, request, body }).await? {
                Ok(reply) => self.keep(PaidReply { key, ..reply }).await?,
                Err(missed) => return Some(Answer::Missed(missed)),
            },
        };
        Some(match reply.ending {
            Ending::Written => {
                let prompt_digest = prompt.digest();
                let schema = self.schema_of(&reply);
                Answer::Written(Written { text: reply.text, prompt_digest, schema })
            }
            Ending::Declined => Answer::Missed(told(&Fault::Declined)),
            Ending::Empty => Answer::Missed(told(&Fault::Empty)),
        })
    }

    /// Asks until there is an answer to keep, the ask is given up (`Err`), or all stops (`None`).
    async fn ask(&self, asked: &Asked<'_>) -> Option<Result<PaidReply, String>> {
        let mut dice = ChaCha8Rng::seed_from_u64(asked.ask.seed);
        let mut attempt = 1;
        let mut form = self.first_form();
        loop {
            let (heard, spent) = self.attempt(asked, attempt, form).await?;
            let answered = |ending, reply| Some(Ok(self.answered(ending, reply, spent, form)));
            let fault = match heard {
                Ok(reply) => return answered(Ending::Written, reply),
                Err((Fault::Declined, Some(reply))) => return answered(Ending::Declined, reply),
                Err((Fault::Empty, Some(reply))) => return answered(Ending::Empty, reply),
                Err((fault, _)) => fault,
            };
            let may_go_without = self.config.on_schema_refused == OnSchemaRefused::AskWithout;
            if matches!(fault, Fault::SchemaRefused(_)) && may_go_without {
                (form, attempt) = (Form::Free, attempt + 1);
                continue;
            }
            let repeats = &self.config.repeats;
            let wait = match fault.consequence() {
                Consequence::Stop => return self.stop(Stop::refused(&fault)),
                Consequence::Skip => return Some(Err(told(&fault))),
                Consequence::Repeat(_) if attempt >= repeats.attempts => {
                    return Some(Err(format!("{} after {attempt} attempts", told(&fault))));
                }
                Consequence::Repeat(after) => {
                    let (first, longest) = (repeats.first_pause_s, repeats.longest_pause_s);
                    pause(attempt, after, first, longest, &mut dice)
                }
            };
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => {
                    let why = "and asks for a longer pause than `longest_pause_s`";
                    return Some(Err(format!("{} {why}", told(&fault))));
                }
            }
            attempt += 1;
        }
    }

    /// One request, once it may leave.
    async fn attempt(&self, asked: &Asked<'_>, attempt: u32, form: Form) -> Option<(Heard, Spent)> {
        let Some(endpoint) = &self.endpoint else {
            return self.stop(Stop::Offline(EgressRefusal::Offline));
        };
        let most = self.config.prices().most(asked.body.len(), self.wanted.max_tokens);
        self.pass_breaker().await?;
        self.pass_budget(most).await?;
        self.keep_pace(most).await;
        if self.stopped() {
            self.settle(most, Spent::default());
            return None;
        }
        let ask = asked.ask;
        let purpose =
            Purpose { context_digest: ask.context_digest, proposal: ask.proposal, attempt };
        let (heard, spent) = match form {
            Form::Held => {
                let (heard, spent) = endpoint.ask(&asked.request, purpose, most).await;
                (heard.map_err(of_schema), spent)
            }
            Form::Free => {
                let free = asked.request.clone().held_to(None);
                endpoint.ask(&free, purpose, most).await
            }
        };
        self.settle(most, spent);
        self.judge(heard.as_ref().err().map(|(fault, _)| fault), attempt);
        Some((heard, spent))
    }

    /// With the schema, unless there is none or the endpoint is known to refuse it.
    fn first_form(&self) -> Form {
        match self.format.is_some() && !self.shared.borrow().schema_refused {
            true => Form::Held,
            false => Form::Free,
        }
    }

    /// An answer to keep. One without the schema, where there is one, shows that the endpoint had
    /// refused the schema and not the rest of the request.
    fn answered(&self, ending: Ending, reply: Reply, spent: Spent, form: Form) -> PaidReply {
        let schema_refused = form == Form::Free && self.format.is_some();
        let mut shared = self.shared.borrow_mut();
        if schema_refused && !shared.schema_refused {
            tracing::warn!(
                egress.fault = "schema_refused",
                "the endpoint refuses `response_format`; replies are asked for without it"
            );
            shared.schema_refused = true;
        }
        PaidReply { schema_refused, ..paid_reply(ending, reply, spent) }
    }

    /// What held a reply to the family's schema.
    fn schema_of(&self, reply: &PaidReply) -> Option<ReplySchema> {
        self.wanted.schema.as_ref()?;
        Some(match self.config.response_format {
            ResponseFormat::JsonSchema if reply.schema_refused => ReplySchema::Refused,
            ResponseFormat::JsonSchema => ReplySchema::Endpoint,
            ResponseFormat::JsonObject | ResponseFormat::None => ReplySchema::Unsent,
        })
    }

    pub(crate) fn settle(&self, most: Spent, spent: Spent) {
        self.shared.borrow_mut().budget.settle(most, spent);
        self.ended.notify_waiters();
    }

    /// What a request's end says about the endpoint.
    pub(crate) fn judge(&self, fault: Option<&Fault>, attempt: u32) {
        let mut shared = self.shared.borrow_mut();
        match fault {
            None => shared.breaker.succeeded(),
            Some(fault) if fault.is_failure() => shared.breaker.failed(Instant::now()),
            Some(_) => shared.breaker.undecided(),
        }
        if let Some(fault) = fault {
            let code = fault.code();
            tracing::warn!(egress.fault = code, egress.attempt = attempt, "{fault}");
            if shared.breaker.is_over() {
                shared.stop.get_or_insert(Stop::Failing { code });
            }
        }
    }

    /// Why it ended, if it did.
    pub(crate) fn ended_by(&self) -> Option<Stop> {
        self.shared.borrow().stop.clone()
    }

    fn stopped(&self) -> bool {
        self.shared.borrow().stop.is_some()
    }

    pub(crate) async fn pass_breaker(&self) -> Option<()> {
        loop {
            if self.stopped() {
                return None;
            }
            let permit = self.shared.borrow_mut().breaker.permit(Instant::now());
            match permit {
                Permit::Go => return Some(()),
                Permit::Over => return None,
                Permit::Wait(time) => tokio::time::sleep(time).await,
            }
        }
    }

    pub(crate) async fn pass_budget(&self, most: Spent) -> Option<()> {
        loop {
            let ended = self.ended.notified();
            let mut ended = std::pin::pin!(ended);
            // Registered before the look, so that no end is missed in between.
            ended.as_mut().enable();
            if self.stopped() {
                return None;
            }
            let grant = self.shared.borrow_mut().budget.reserve(most);
            match grant {
                Grant::Granted => return Some(()),
                Grant::Wait => ended.await,
                Grant::Over => {
                    let paid = self.shared.borrow().budget.paid();
                    return self.stop(Stop::Budget {
                        paid: (paid.input_tokens, paid.output_tokens),
                        cost_micro: paid.cost_micro,
                    });
                }
            }
        }
    }

    pub(crate) async fn keep_pace(&self, most: Spent) {
        let tokens = most.input_tokens.saturating_add(most.output_tokens);
        let wait = self.shared.borrow_mut().pace.place(tokens, Instant::now());
        if wait > Duration::ZERO {
            tokio::time::sleep(wait).await;
        }
    }

    async fn keep(&self, reply: PaidReply) -> Option<PaidReply> {
        let durable = self.shared.borrow_mut().paid.keep(reply.clone());
        match durable.await {
            Ok(()) => Some(reply),
            Err(error) => self.stop(Stop::refused(&error.into())),
        }
    }

    fn stop<T>(&self, stop: Stop) -> Option<T> {
        self.shared.borrow_mut().stop.get_or_insert(stop);
        self.ended.notify_waiters();
        None
    }
}

fn paid_reply(ending: Ending, reply: Reply, spent: Spent) -> PaidReply {
    let text = if ending == Ending::Declined { reply.refusal } else { reply.text };
    // The name is put in by whoever knows the order.
    let (key, finish) = (seal_trust::sha256(b""), reply.finish);
    PaidReply { key, ending, text, finish, spent, schema_refused: false }
}

/// A refusal of a request with a schema may be about the schema.
fn of_schema((fault, reply): (Fault, Option<Reply>)) -> (Fault, Option<Reply>) {
    match fault {
        Fault::BadRequest(status) => (Fault::SchemaRefused(status), reply),
        fault => (fault, reply),
    }
}

/// `code: words`, as an outcome says it.
fn told(fault: &Fault) -> String {
    format!("{}: {fault}", fault.code())
}
