//! Replies from an endpoint that speaks OpenAI's protocol: OpenAI itself, vLLM, llama.cpp, Ollama, LM
//! Studio, Anthropic's compatible endpoint and others.
//!
//! **Invariant:** a stored reply is paid for once. **Invariant:** every request is in the egress record
//! before it leaves.
//!
//! What can go wrong and what follows is in [`fault`]; docs/TEACHERS.md has it as a table.

mod breaker;
mod budget;
mod config;
mod exchange;
mod fault;
mod gate;
mod pace;
mod paid;
mod pause;
mod session;
mod stop;
mod wire;

use std::path::Path;
use std::sync::Arc;

use seal_protocol::Digest;
use seal_service::clock::Clock;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use self::budget::Budget;
use self::exchange::Endpoint;
use self::paid::Paid;
use self::session::Session;
use super::{Backend, Order, Outcome, Sampling};
use crate::egress::{
    ApiKey, EgressConfig, EgressRecord, EgressRefusal, Pinned, Redactor, base_of, client, pin,
    resolve_with_system,
};
use crate::error::TeacherError;
use crate::teacher::Report;

pub use config::{
    Api, BudgetConfig, LimitsConfig, MaxTokensField, OnSchemaRefused, OpenAiConfig, RepeatsConfig,
    ResponseFormat,
};
pub use paid::PaidError;
pub use stop::Stop;

/// What is resolved, read and built before the process is confined.
pub(crate) struct Access {
    pinned: Pinned,
    client: reqwest::Client,
    key: Option<ApiKey>,
}

impl Access {
    /// Pins the endpoint, reads the key, builds the client. `None` with `offline = true`: then the
    /// process gets no way out at all, and stored replies are all there is.
    pub(crate) fn prepare(
        config: &OpenAiConfig,
        egress: &EgressConfig,
    ) -> Result<Option<Self>, TeacherError> {
        config.check().map_err(TeacherError::Config)?;
        let pinned = match pin(&config.base_url, egress, resolve_with_system) {
            Err(EgressRefusal::Offline) => return Ok(None),
            pinned => pinned?,
        };
        let client = client(&pinned, egress.ca_file.as_deref(), config.waits())?;
        let key = config.key_source().as_ref().map(ApiKey::read).transpose()?;
        Ok(Some(Self { pinned, client, key }))
    }

    /// The only TCP port to open.
    pub(crate) fn port(&self) -> u16 {
        self.pinned.port
    }
}

/// What every reply has to be.
#[derive(Clone, Debug)]
pub(crate) struct WantedReply {
    /// Longest, in tokens.
    pub(crate) max_tokens: usize,
    /// Its JSON Schema, where the prompt family has one.
    pub(crate) schema: Option<Value>,
}

/// The backend.
pub(crate) struct OpenAi {
    runtime: Runtime,
    session: Session,
    writer: Digest,
}

impl OpenAi {
    /// Opens record and store in the state folder. `wanted` is what every reply has to be.
    pub(crate) fn open(
        config: &OpenAiConfig,
        egress: &EgressConfig,
        wanted: WantedReply,
        access: Option<Access>,
        state: &Path,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, TeacherError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| TeacherError::Config(error.to_string()))?;
        let (record, rows) = EgressRecord::open(state, clock)?;
        let paid = Paid::open(state)?;
        let redactor = Redactor::new(&egress.redact)?;
        let budget = Budget::after(config.bounds(), &rows);
        let url = config.url(&base_of(&config.base_url)?);
        let endpoint = access.map(|access| Endpoint {
            client: access.client,
            key: access.key,
            base: access.pinned.base,
            record,
            api: config.api,
            stream: config.stream,
            reply_bytes: config.limits.reply_bytes,
            reply_timeout: config.limits.reply_timeout_s,
            prices: config.prices(),
        });
        let session = Session::new(endpoint, url, redactor, config.clone(), wanted, paid, budget);
        Ok(Self { runtime, session, writer: writer(config)? })
    }
}

/// Names the writer: weights are elsewhere, so where and what is all there is to name.
fn writer(config: &OpenAiConfig) -> Result<Digest, TeacherError> {
    let name = json!({ "kind": "openai", "base_url": config.base_url, "model": config.model });
    Ok(seal_trust::digest_of(&name)?)
}

impl Backend for OpenAi {
    fn first_policy(&self) -> Digest {
        self.writer
    }

    fn write(
        &mut self,
        orders: &[Order],
        sampling: &Sampling,
        report: Report<'_>,
    ) -> Result<Vec<Outcome>, TeacherError> {
        let temperature = sampling.temperature.to_f64();
        let carried_out = self.session.carry_out(orders, temperature, report);
        let (outcomes, stop) = self.runtime.block_on(carried_out);
        let total = outcomes.len();
        let done: Vec<Outcome> = outcomes.into_iter().flatten().collect();
        match stop {
            None if done.len() == total => Ok(done),
            stop => Err(TeacherError::Stopped { done: done.len(), left: total - done.len(), stop }),
        }
    }
}

#[cfg(test)]
mod tests;
