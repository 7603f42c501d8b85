//! `[backend]` of a config with `kind = "openai"`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::NamedSchema;
use crate::breaker::BreakerSettings;
use crate::budget::{Bounds, Prices};
use crate::egress::{KeySource, Waits};
use crate::wire::OWN_FIELDS;

/// Which call is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// `/chat/completions`.
    #[default]
    Chat,
    /// `/completions`: the prompt as plain text, for base models.
    Completions,
}

/// What the endpoint calls the limit on a reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxTokensField {
    /// Most servers.
    #[default]
    MaxTokens,
    /// OpenAI's newer models.
    MaxCompletionTokens,
}

/// How an endpoint is held to the schema of a structured prompt family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResponseFormat {
    /// It is sent as `response_format`, type `json_schema`, strict.
    #[default]
    JsonSchema,
    /// The endpoint is asked for JSON of any shape.
    JsonObject,
    /// By the words of the prompt alone.
    None,
}

/// What becomes of an order whose schema the endpoint refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnSchemaRefused {
    /// It is asked again without the schema, and the edit says so.
    #[default]
    AskWithout,
    /// It is missed.
    Miss,
}

/// An endpoint that speaks OpenAI's protocol.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenAiConfig {
    /// Up to and with `/v1`.
    pub base_url: String,
    /// As the endpoint names it.
    pub model: String,
    /// Which call.
    #[serde(default)]
    pub api: Api,
    /// Take the reply as it is written.
    #[serde(default = "yes")]
    pub stream: bool,
    /// File with the key, mode 0600.
    #[serde(default)]
    pub api_key_file: Option<PathBuf>,
    /// Environment variable with the key.
    #[serde(default)]
    pub api_key_env: Option<String>,
    /// Nucleus sampling; absent: the endpoint's own.
    #[serde(default)]
    pub top_p: Option<f64>,
    /// Texts that end a reply.
    #[serde(default)]
    pub stop: Vec<String>,
    /// Name of the limit on a reply.
    #[serde(default)]
    pub max_tokens_field: MaxTokensField,
    /// Send a seed with each request.
    #[serde(default = "yes")]
    pub send_seed: bool,
    /// How the schema of a structured prompt family is sent.
    #[serde(default)]
    pub response_format: ResponseFormat,
    /// What follows where the endpoint refuses it.
    #[serde(default)]
    pub on_schema_refused: OnSchemaRefused,
    /// Further fields of every request, as they are.
    #[serde(default)]
    pub extra: BTreeMap<String, Value>,
    /// Requests under way at the same time.
    #[serde(default = "eight")]
    pub concurrency: usize,
    /// `[backend.limits]`.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// `[backend.repeats]`.
    #[serde(default)]
    pub repeats: RepeatsConfig,
    /// `[backend.budget]`.
    #[serde(default)]
    pub budget: BudgetConfig,
}

/// Bounds on each request.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Longest wait for a connection.
    #[serde(deserialize_with = "seconds")]
    pub connect_timeout_s: Duration,
    /// Longest silence of an answer.
    #[serde(deserialize_with = "seconds")]
    pub silence_timeout_s: Duration,
    /// Longest time from request to end of reply.
    #[serde(deserialize_with = "seconds")]
    pub reply_timeout_s: Duration,
    /// Longest answer, in bytes, protocol included.
    pub reply_bytes: u64,
    /// Requests that leave in a minute; absent: no limit of ours.
    pub requests_per_minute: Option<u32>,
    /// Tokens that are asked for in a minute, prompts and longest replies; absent: as above.
    pub tokens_per_minute: Option<u64>,
}

/// When and how often a request is made again.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RepeatsConfig {
    /// Attempts per reply, the first included.
    pub attempts: u32,
    /// The first pause lasts up to this long, each further one up to twice as long.
    #[serde(deserialize_with = "seconds")]
    pub first_pause_s: Duration,
    /// No pause lasts longer; an endpoint that asks for more gets no further attempt.
    #[serde(deserialize_with = "seconds")]
    pub longest_pause_s: Duration,
    /// Failures in a row after which the endpoint is left alone for a while.
    pub breaker_after: u32,
    /// For this long.
    #[serde(deserialize_with = "seconds")]
    pub breaker_pause_s: Duration,
    /// So often; then the job ends, and goes on when it is asked for again.
    pub breaker_openings: u32,
}

/// What a run may cost. The state folder's record says what it has cost.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetConfig {
    /// Tokens, read and written; absent: no bound.
    pub max_tokens: Option<u64>,
    /// Money, in the currency of the prices; absent: no bound.
    pub max_cost: Option<f64>,
    /// Price of a million tokens that the model reads.
    pub input_price_per_million: f64,
    /// Price of a million tokens that it writes.
    pub output_price_per_million: f64,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            connect_timeout_s: Duration::from_secs(10),
            silence_timeout_s: Duration::from_secs(60),
            reply_timeout_s: Duration::from_secs(300),
            reply_bytes: 4 << 20,
            requests_per_minute: None,
            tokens_per_minute: None,
        }
    }
}

impl Default for RepeatsConfig {
    fn default() -> Self {
        Self {
            attempts: 5,
            first_pause_s: Duration::from_millis(500),
            longest_pause_s: Duration::from_secs(60),
            breaker_after: 10,
            breaker_pause_s: Duration::from_secs(30),
            breaker_openings: 3,
        }
    }
}

impl OpenAiConfig {
    /// What serde cannot see.
    ///
    /// # Errors
    /// The first setting that contradicts another one or itself, with its mend.
    pub(crate) fn check(&self) -> Result<(), String> {
        let wrong = |reason: &str| Err(format!("[backend]: {reason}"));
        let price = |price: f64| price.is_finite() && price >= 0.0;
        let budget = &self.budget;
        if let Some(field) = OWN_FIELDS.iter().find(|field| self.extra.contains_key(**field)) {
            return Err(format!("[backend]: `{field}` in `extra` is set by a key of its own"));
        }
        if self.api_key_file.is_some() && self.api_key_env.is_some() {
            return wrong("`api_key_file` and `api_key_env` name two keys; keep one");
        }
        if self.concurrency == 0 || self.repeats.attempts == 0 || self.repeats.breaker_after == 0 {
            return wrong("`concurrency`, `attempts` and `breaker_after` are at least 1");
        }
        if self.top_p.is_some_and(|p| !(p > 0.0 && p <= 1.0)) {
            return wrong("`top_p` lies above 0 and up to 1");
        }
        if !price(budget.input_price_per_million) || !price(budget.output_price_per_million) {
            return wrong("prices are 0 or more");
        }
        let priced = budget.input_price_per_million + budget.output_price_per_million > 0.0;
        match budget.max_cost {
            Some(cost) if !price(cost) => wrong("`max_cost` is 0 or more"),
            Some(_) if !priced => wrong("`max_cost` bounds nothing without prices; add them"),
            _ => Ok(()),
        }
    }

    /// Where requests go.
    pub(crate) fn url(&self, base: &str) -> String {
        let path = match self.api {
            Api::Chat => "/chat/completions",
            Api::Completions => "/completions",
        };
        format!("{base}{path}")
    }

    /// The field that holds the endpoint to a schema.
    pub(crate) fn format_of(&self, named: &NamedSchema) -> Option<Value> {
        match self.response_format {
            ResponseFormat::JsonSchema => Some(json!({
                "type": "json_schema",
                "json_schema": { "name": named.name, "strict": true, "schema": named.schema },
            })),
            ResponseFormat::JsonObject => Some(json!({ "type": "json_object" })),
            ResponseFormat::None => None,
        }
    }

    pub(crate) fn key_source(&self) -> Option<KeySource> {
        let file = self.api_key_file.clone().map(KeySource::File);
        file.or_else(|| self.api_key_env.clone().map(KeySource::Environment))
    }

    pub(crate) fn waits(&self) -> Waits {
        let limits = &self.limits;
        Waits { connect: limits.connect_timeout_s, read: limits.silence_timeout_s }
    }

    pub(crate) fn breaker(&self) -> BreakerSettings {
        let repeats = &self.repeats;
        BreakerSettings {
            after: repeats.breaker_after,
            pause: repeats.breaker_pause_s,
            openings: repeats.breaker_openings,
        }
    }

    pub(crate) fn prices(&self) -> Prices {
        Prices {
            input_per_million: self.budget.input_price_per_million,
            output_per_million: self.budget.output_price_per_million,
        }
    }

    pub(crate) fn bounds(&self) -> Bounds {
        let cost_micro = self.budget.max_cost.map(|cost| (cost * 1e6) as u64);
        Bounds { tokens: self.budget.max_tokens, cost_micro }
    }
}

pub(crate) fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    let duration = Duration::try_from_secs_f64(seconds).ok().filter(|d| !d.is_zero());
    duration.ok_or_else(|| serde::de::Error::custom("a time in seconds above 0 is meant"))
}

fn yes() -> bool {
    true
}

fn eight() -> usize {
    8
}
