//! Asks an endpoint that speaks OpenAI's protocol: OpenAI itself, vLLM, llama.cpp, Ollama, LM Studio,
//! Anthropic's compatible endpoint and others. Teacher and judge do it in the same way, and nobody else
//! does.
//!
//! **Invariant:** a stored reply is paid for once. **Invariant:** every request is in the egress record
//! before it leaves.
//! **Absent:** what a prompt says and what is read from a reply.
//!
//! What can go wrong and what follows is in [`fault`]; docs/TEACHERS.md has it as a table.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod ask;
mod breaker;
mod budget;
mod call;
mod config;
mod egress;
mod error;
mod exchange;
mod fault;
mod gate;
mod pace;
mod paid;
mod pause;
mod session;
mod stop;
mod tuning;
mod way_out;
mod wire;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use seal_protocol::Digest;
use seal_service::clock::Clock;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use self::budget::Budget;
use self::egress::{EgressRecord, Redactor, base_of};
use self::exchange::Endpoint;
use self::paid::Paid;
use self::session::Session;

pub use ask::{Answer, Ask, Prompt, Turn, Written};
pub use config::{
    Api, BudgetConfig, LimitsConfig, MaxTokensField, OnSchemaRefused, OpenAiConfig, RepeatsConfig,
    ResponseFormat,
};
pub use egress::{
    AddressKind, ClientError, EgressConfig, EgressRefusal, EgressRow, JournalError, KeyReadError,
    KeySource, Purpose, RecordError, RedactionError, RedactionRule, Spent, read_record,
};
pub use error::{EndpointError, Unanswered};
pub use paid::PaidError;
pub use stop::Stop;
pub use tuning::{Example, FineTuningConfig, NotTuned, Tuned, TuningOrder, training_file};
pub use way_out::WayOut;

/// Reports units done and units in all.
pub type Report<'a> = &'a mut (dyn FnMut(u64, u64) + Send);

/// What every reply has to be.
#[derive(Clone, Debug)]
pub struct WantedReply {
    /// Longest, in tokens.
    pub max_tokens: usize,
    /// Its JSON Schema, where it is to have a form.
    pub schema: Option<NamedSchema>,
}

/// A JSON Schema as an endpoint is told it.
#[derive(Clone, Debug)]
pub struct NamedSchema {
    /// Letters, digits and underscores.
    pub name: &'static str,
    /// The schema.
    pub schema: Value,
}

/// An endpoint with its record and its store of replies.
pub struct OpenAi {
    runtime: Runtime,
    session: Session,
    identity: Digest,
    /// Where fine-tuning jobs are remembered.
    tunings: PathBuf,
}

impl OpenAi {
    /// Opens record and store in the state folder. `wanted` is what every reply has to be; without a way
    /// out stored replies are all there is.
    ///
    /// # Errors
    /// A record or store that cannot be opened or was changed; a redaction rule that does not read.
    pub fn open(
        config: &OpenAiConfig,
        egress: &EgressConfig,
        wanted: WantedReply,
        way_out: Option<WayOut>,
        state: &Path,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, EndpointError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| EndpointError::Config(error.to_string()))?;
        let (record, rows) = EgressRecord::open(state, clock)?;
        let paid = Paid::open(state)?;
        let redactor = Redactor::new(&egress.redact)?;
        let budget = Budget::after(config.bounds(), &rows);
        let url = config.url(&base_of(&config.base_url)?);
        let endpoint = way_out.map(|way_out| Endpoint {
            client: way_out.client,
            key: way_out.key,
            base: way_out.pinned.base,
            record,
            api: config.api,
            stream: config.stream,
            reply_bytes: config.limits.reply_bytes,
            reply_timeout: config.limits.reply_timeout_s,
            prices: config.prices(),
        });
        let session = Session::new(endpoint, url, redactor, config.clone(), wanted, paid, budget);
        let tunings = state.join(tuning::FOLDER);
        Ok(Self { runtime, session, identity: identity(config)?, tunings })
    }

    /// Names who answers: the weights are elsewhere, so where and what is all there is to name.
    pub fn identity(&self) -> Digest {
        self.identity
    }

    /// One answer for each ask, in their order, by the model that the config names.
    ///
    /// # Errors
    /// What keeps the endpoint from answering any further; what was answered until then is stored.
    pub fn ask(
        &mut self,
        asks: &[Ask],
        temperature: f64,
        report: Report<'_>,
    ) -> Result<Vec<Answer>, Unanswered> {
        let model = self.session.config.model.clone();
        self.ask_model(&model, asks, temperature, report)
    }

    /// The same by another model of this endpoint.
    ///
    /// # Errors
    /// As above.
    pub fn ask_model(
        &mut self,
        model: &str,
        asks: &[Ask],
        temperature: f64,
        report: Report<'_>,
    ) -> Result<Vec<Answer>, Unanswered> {
        let carried_out = self.session.carry_out(asks, model, temperature, report);
        let (answers, stop) = self.runtime.block_on(carried_out);
        let total = answers.len();
        let done: Vec<Answer> = answers.into_iter().flatten().collect();
        match stop {
            None if done.len() == total => Ok(done),
            stop => Err(Unanswered { done: done.len(), left: total - done.len(), stop }),
        }
    }
}

fn identity(config: &OpenAiConfig) -> Result<Digest, EndpointError> {
    let name = json!({ "kind": "openai", "base_url": config.base_url, "model": config.model });
    seal_trust::digest_of(&name).map_err(|error| EndpointError::Config(error.to_string()))
}

#[cfg(test)]
mod tests;
