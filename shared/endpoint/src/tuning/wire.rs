//! The calls of a fine-tuning job as this program writes and reads them. As in `crate::wire`: writing is
//! exact, reading asks only for what is used.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::config::FineTuningConfig;

/// Longest name of a file, a job or a model.
const LONGEST_NAME: usize = 256;

/// What the endpoint calls something: visible ASCII, so that it can be shown and sent back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name(pub(super) String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        match is_name(&name) {
            true => Ok(Self(name)),
            false => Err(serde::de::Error::custom("no name")),
        }
    }
}

fn is_name(name: &str) -> bool {
    let visible = name.bytes().all(|byte| byte.is_ascii_graphic());
    visible && (1..=LONGEST_NAME).contains(&name.len()) && !matches!(name, "." | "..")
}

/// The order of a job.
#[derive(Serialize)]
pub(super) struct NewJob<'a> {
    pub(super) model: &'a str,
    pub(super) training_file: &'a str,
    pub(super) method: Method,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) suffix: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seed: Option<u64>,
}

/// How is trained.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Method {
    Supervised { supervised: Supervised },
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Supervised {
    hyperparameters: Hyperparameters,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Hyperparameters {
    n_epochs: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_size: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    learning_rate_multiplier: Option<f64>,
}

impl Method {
    pub(super) fn of(settings: &FineTuningConfig) -> Self {
        let FineTuningConfig { n_epochs, batch_size, learning_rate_multiplier, .. } = *settings;
        let hyperparameters = Hyperparameters { n_epochs, batch_size, learning_rate_multiplier };
        Self::Supervised { supervised: Supervised { hyperparameters } }
    }
}

/// A file or a job that was made.
#[derive(Debug, Deserialize)]
pub(super) struct Made {
    pub(super) id: Name,
}

/// A page of a list. What does not read is none of ours.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    pub(super) data: Vec<Value>,
    #[serde(default)]
    pub(super) has_more: bool,
}

/// A file in a list.
#[derive(Debug, Deserialize)]
pub(super) struct ListedFile {
    pub(super) id: Name,
    pub(super) filename: String,
}

/// A job, in a list or alone.
#[derive(Debug, Deserialize)]
pub(super) struct Job {
    pub(super) id: Name,
    pub(super) status: String,
    #[serde(default)]
    pub(super) training_file: Option<String>,
    #[serde(default)]
    pub(super) fine_tuned_model: Option<String>,
    #[serde(default)]
    pub(super) trained_tokens: Option<u64>,
}

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    UnderWay,
    Succeeded,
    /// Without a model, and why.
    Over(&'static str),
}

impl Job {
    /// Also of a status that we do not know: it is asked again.
    pub(super) fn standing(&self) -> Standing {
        match self.status.as_str() {
            "succeeded" => match self.fine_tuned_model.as_deref().is_some_and(is_name) {
                true => Standing::Succeeded,
                false => Standing::Over("succeeded and names no model that could be asked"),
            },
            "failed" => Standing::Over("failed"),
            "cancelled" => Standing::Over("was cancelled"),
            _ => Standing::UnderWay,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_order_has_the_shape_of_the_protocol_and_nothing_that_was_not_said() {
        let order = |settings: &str| {
            let settings: FineTuningConfig = toml::from_str(settings).unwrap();
            let suffix = settings.suffix.as_deref();
            let method = Method::of(&settings);
            let job = NewJob { model: "m", training_file: "file-1", method, suffix, seed: Some(7) };
            serde_json::to_value(job).unwrap()
        };
        let method = |hyperparameters: Value| json!({ "type": "supervised", "supervised": { "hyperparameters": hyperparameters } });
        let plain = json!({ "model": "m", "training_file": "file-1", "seed": 7,
            "method": method(json!({ "n_epochs": 3 })) });
        assert_eq!(order("n_epochs = 3"), plain);
        let said = order(
            "n_epochs = 1\nbatch_size = 4\nlearning_rate_multiplier = 0.5\nsuffix = \"seal\"",
        );
        let all = json!({ "n_epochs": 1, "batch_size": 4, "learning_rate_multiplier": 0.5 });
        assert_eq!((&said["method"], &said["suffix"]), (&method(all), &json!("seal")));
    }

    #[test]
    fn a_name_that_could_lead_or_show_elsewhere_is_none() {
        for (name, good) in [
            ("ft:gpt-4.1:org::a1", true),
            ("org/model-7", true),
            ("/models/x", true),
            ("", false),
            ("..", false),
            ("a b", false),
            ("a\u{1b}[2J", false),
            ("é", false),
            (&"a".repeat(257), false),
        ] {
            assert_eq!(serde_json::from_value::<Name>(json!(name)).is_ok(), good, "{name}");
        }
    }

    #[test]
    fn a_job_without_a_model_is_over_and_an_unknown_word_is_waited_for() {
        let standing = |status: &str, model: Value| {
            let job = json!({ "id": "j", "status": status, "fine_tuned_model": model });
            serde_json::from_value::<Job>(job).unwrap().standing()
        };
        assert_eq!(standing("succeeded", json!("ft:m")), Standing::Succeeded);
        assert!(matches!(standing("succeeded", Value::Null), Standing::Over(_)));
        assert!(matches!(standing("succeeded", json!("a\u{1b}[2J")), Standing::Over(_)));
        assert!(matches!(standing("failed", Value::Null), Standing::Over("failed")));
        for word in ["validating_files", "queued", "running", "paused", "resting"] {
            assert_eq!(standing(word, Value::Null), Standing::UnderWay);
        }
    }
}
