//! `[fine_tuning]` of a config.

use std::time::Duration;

use serde::Deserialize;

use crate::config::{Api, OpenAiConfig, seconds};

/// So that a run sees that the teacher still waits.
const LONGEST_INTERVAL: Duration = Duration::from_secs(600);

/// How an endpoint is asked to tune a model. Names are those of OpenAI's protocol.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FineTuningConfig {
    /// Passes over the accepted edits. It has no default, for it is a factor of the price.
    pub n_epochs: u32,
    /// Edits per step; absent: the endpoint's choice.
    #[serde(default)]
    pub batch_size: Option<u32>,
    /// Factor on the endpoint's own learning rate; absent: its choice.
    #[serde(default)]
    pub learning_rate_multiplier: Option<f64>,
    /// Stands in the name of the new model; absent: nothing does.
    #[serde(default)]
    pub suffix: Option<String>,
    /// Price of a million trained tokens, in the currency of `[backend.budget]`.
    #[serde(default)]
    pub training_price_per_million: f64,
    /// Time between two looks at a job.
    #[serde(default = "half_a_minute", deserialize_with = "seconds")]
    pub poll_interval_s: Duration,
    /// Longest wait for a job; it goes on there, and so does the wait when it is asked for again.
    #[serde(default = "a_day", deserialize_with = "seconds")]
    pub longest_wait_s: Duration,
}

impl FineTuningConfig {
    /// What serde cannot see.
    ///
    /// # Errors
    /// The first setting that no job can have, or that leaves the budget without effect, with its mend.
    pub fn check(&self, backend: &OpenAiConfig) -> Result<(), String> {
        let wrong = |reason: &str| Err(format!("[fine_tuning]: {reason}"));
        let price = self.training_price_per_million;
        let named = |suffix: &String| {
            (1..=64).contains(&suffix.len())
                && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        match self {
            _ if backend.api != Api::Chat => wrong(
                "its training file is made of conversations; set `api = \"chat\"` under [backend]",
            ),
            _ if self.n_epochs == 0 || self.batch_size == Some(0) => {
                wrong("`n_epochs` and `batch_size` are at least 1")
            }
            _ if self.learning_rate_multiplier.is_some_and(|m| !(m.is_finite() && m > 0.0)) => {
                wrong("`learning_rate_multiplier` lies above 0")
            }
            _ if !self.suffix.as_ref().is_none_or(named) => {
                wrong("`suffix` is 1 to 64 letters, digits, `-` and `_`")
            }
            _ if self.poll_interval_s > LONGEST_INTERVAL => {
                wrong("`poll_interval_s` is 600 at most: a run takes longer silence for an end")
            }
            _ if !(price.is_finite() && price >= 0.0) => {
                wrong("`training_price_per_million` is 0 or more")
            }
            _ if backend.budget.max_cost.is_some() && price == 0.0 => wrong(
                "`max_cost` under [backend.budget] bounds no job without \
                 `training_price_per_million`; add it",
            ),
            _ => Ok(()),
        }
    }
}

fn half_a_minute() -> Duration {
    Duration::from_secs(30)
}

fn a_day() -> Duration {
    Duration::from_secs(86_400)
}
