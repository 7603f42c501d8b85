//! One request and its answer.

use std::time::Duration;

use async_openai::Client;
use async_openai::config::Config;
use async_openai::error::OpenAIError;
use futures_util::StreamExt;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use secrecy::SecretString;

use crate::budget::Prices;
use crate::config::Api;
use crate::egress::{ApiKey, EgressRecord, Ended, Purpose, Spent};
use crate::fault::Fault;
use crate::gate::{Gate, Seen, Sight, fault_of};
use crate::wire::{Piece, Reply, Request};

/// Bytes of an answer that was not counted by the endpoint, taken for one token.
const BYTES_PER_TOKEN: u64 = 3;

/// The endpoint, ready to be asked.
pub(crate) struct Endpoint {
    pub(crate) client: reqwest::Client,
    pub(crate) key: Option<ApiKey>,
    pub(crate) base: String,
    pub(crate) record: EgressRecord,
    pub(crate) api: Api,
    pub(crate) stream: bool,
    pub(crate) reply_bytes: u64,
    pub(crate) reply_timeout: Duration,
    pub(crate) prices: Prices,
}

/// What was heard: a reply, or a fault with what there is of a reply.
pub(crate) type Heard = Result<Reply, (Fault, Option<Reply>)>;

/// How the library reaches the endpoint.
#[derive(Clone, Debug)]
struct Access {
    base: String,
    key: SecretString,
    headers: HeaderMap,
}

impl Config for Access {
    fn headers(&self) -> HeaderMap {
        self.headers.clone()
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn query(&self) -> Vec<(&str, &str)> {
        Vec::new()
    }

    fn api_base(&self) -> &str {
        &self.base
    }

    fn api_key(&self) -> &SecretString {
        &self.key
    }
}

impl Endpoint {
    /// Asks once and records request and end. Returns the reply, or what is wrong with it, and what
    /// it cost. A reply that was declined or is empty comes with its fault.
    pub(crate) async fn ask(
        &self,
        request: &Request<'_>,
        purpose: Purpose,
        most: Spent,
    ) -> (Heard, Spent) {
        let seen = Seen::default();
        let library = self.library(purpose, most, seen.clone());
        let asked = self.converse(&library, request);
        let outcome = match tokio::time::timeout(self.reply_timeout, asked).await {
            Ok(Ok(reply)) => match reply.check(self.stream) {
                Ok(()) => Ok(reply),
                Err(fault) => Err((fault, Some(reply))),
            },
            Ok(Err(error)) => Err((fault_behind(error, &seen.now()), None)),
            Err(_) => Err((Fault::TimeOut, None)),
        };
        self.settled(outcome, &seen.now(), most).await
    }

    /// What lets one request through, which costs `most` at most, and an answer of this type in.
    pub(crate) fn gate(
        &self,
        content_type: &'static str,
        purpose: Purpose,
        most: Spent,
        seen: Seen,
    ) -> Gate {
        Gate {
            client: self.client.clone(),
            key: self.key.clone(),
            base: self.base.clone(),
            record: self.record.clone(),
            purpose,
            most,
            content_type,
            reply_bytes: self.reply_bytes,
            seen,
        }
    }

    fn library(&self, purpose: Purpose, most: Spent, seen: Seen) -> Client<Access> {
        let content_type = if self.stream { "text/event-stream" } else { "application/json" };
        let gate = self.gate(content_type, purpose, most, seen);
        let authorization = self.key.as_ref().and_then(ApiKey::header);
        let access = Access {
            base: self.base.clone(),
            key: SecretString::default(),
            headers: authorization.map(|value| (AUTHORIZATION, value)).into_iter().collect(),
        };
        Client::build(self.client.clone(), access).with_http_service(gate)
    }

    async fn converse(
        &self,
        library: &Client<Access>,
        request: &Request<'_>,
    ) -> Result<Reply, OpenAIError> {
        let mut reply = Reply::default();
        let (chat, completions) = (library.chat(), library.completions());
        if !self.stream {
            let whole: Piece = match self.api {
                Api::Chat => chat.create_byot(request).await?,
                Api::Completions => completions.create_byot(request).await?,
            };
            reply.push(whole)?;
            return Ok(reply);
        }
        let mut events = match self.api {
            Api::Chat => chat.create_stream_byot::<_, Piece>(request).await?,
            Api::Completions => completions.create_stream_byot::<_, Piece>(request).await?,
        };
        while let Some(event) = events.next().await {
            reply.push(event?)?;
        }
        Ok(reply)
    }

    /// Records the end with what it cost: as the endpoint counted, else as we estimate.
    async fn settled(&self, outcome: Heard, seen: &Sight, most: Spent) -> (Heard, Spent) {
        let Some(number) = seen.number else { return (outcome, Spent::default()) };
        let usage = match &outcome {
            Ok(reply) | Err((_, Some(reply))) => reply.usage,
            Err((_, None)) => None,
        };
        let spent = match (usage, &outcome) {
            (Some(usage), _) => self.prices.cost(usage.prompt_tokens, usage.completion_tokens),
            (None, Err((fault, _))) if !fault.may_cost() => Spent::default(),
            (None, _) => {
                let written = seen.received.div_ceil(BYTES_PER_TOKEN).min(most.output_tokens);
                self.prices.cost(most.input_tokens, written)
            }
        };
        let ended = Ended {
            outcome: outcome.as_ref().err().map_or("ok", |(fault, _)| fault.code()),
            detail: seen.detail.clone(),
            spent,
            measured: usage.is_some(),
        };
        match self.record.answered(number, ended).await {
            Ok(()) => (outcome, spent),
            Err(error) => (Err((error.into(), None)), spent),
        }
    }
}

/// What is behind an error of the library. The gate saw more than it tells.
fn fault_behind(error: OpenAIError, seen: &Sight) -> Fault {
    if let Some(fault) = &seen.cut {
        return fault.clone();
    }
    match error {
        OpenAIError::Boxed(error) => {
            error.downcast::<Fault>().map_or(Fault::Malformed, |fault| *fault)
        }
        OpenAIError::Reqwest(error) => fault_of(&error),
        OpenAIError::StreamError(_) => Fault::CutOff,
        _ => Fault::Malformed,
    }
}
