//! The structured reply: one JSON object of `configs/prompts/self-edit.schema.json`.
//!
//! The schema constrains where a decoder or an endpoint can; the limits are checked here in any case,
//! because a schema that was only asked for is a wish.

use seal_protocol::{Directives, LossPart, Nano, TrainingExample};
use serde::Deserialize;
use serde_json::Value;

use super::reply::{EditBody, text};
use crate::python_text::strip;
use crate::sequences::titled;

/// The JSON Schema of a structured reply.
const SCHEMA: &str = include_str!("../../../configs/prompts/self-edit.schema.json");

/// The limits of the schema; a test holds the two together.
const MOST_SEQUENCES: usize = 64;
const MOST_PAIRS: usize = 64;
const LONGEST_SEQUENCE_CHARS: usize = 4000;
const LONGEST_PAIR_CHARS: usize = 2000;
const LONGEST_RATIONALE_CHARS: usize = 2000;
const MOST_EPOCHS: u32 = 100;
const LARGEST_RANK: u32 = 256;

/// The schema as JSON.
///
/// # Panics
/// Never: a test reads it.
pub fn schema() -> Value {
    serde_json::from_str(SCHEMA).expect("the schema is a constant")
}

/// Why a reply is no structured edit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StructuredError {
    /// No JSON, or JSON of another shape.
    #[error("{0}")]
    Shape(String),
    /// A value beyond its limit.
    #[error("`{field}` must {rule}")]
    Limit {
        /// Which field.
        field: String,
        /// What holds for it.
        rule: String,
    },
}

/// A reply, as JSON has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Structured {
    rationale: String,
    directives: Wishes,
    sequences: Vec<String>,
    pairs: Vec<Pair>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wishes {
    #[serde(deserialize_with = "present")]
    learning_rate: Option<f64>,
    #[serde(deserialize_with = "present")]
    epochs: Option<u32>,
    #[serde(deserialize_with = "present")]
    lora_rank: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    question: String,
    answer: String,
}

/// A field that may be null and must be there: the schema says so.
fn present<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

impl Structured {
    /// Reads a reply: the object alone, white space around it aside.
    pub(super) fn parse(reply: &str) -> Result<Self, StructuredError> {
        let shape = |error: serde_json::Error| StructuredError::Shape(error.to_string());
        let read: Self = serde_json::from_str(strip(reply)).map_err(shape)?;
        read.checked()
    }

    fn checked(self) -> Result<Self, StructuredError> {
        at_most("sequences", self.sequences.len(), MOST_SEQUENCES)?;
        at_most("pairs", self.pairs.len(), MOST_PAIRS)?;
        let length = self.rationale.chars().count();
        demand(length <= LONGEST_RATIONALE_CHARS, "rationale", || {
            format!("have at most {LONGEST_RATIONALE_CHARS} characters")
        })?;
        for (index, sequence) in self.sequences.iter().enumerate() {
            filled(&format!("sequences[{index}]"), sequence, LONGEST_SEQUENCE_CHARS)?;
        }
        for (index, pair) in self.pairs.iter().enumerate() {
            filled(&format!("pairs[{index}].question"), &pair.question, LONGEST_PAIR_CHARS)?;
            filled(&format!("pairs[{index}].answer"), &pair.answer, LONGEST_PAIR_CHARS)?;
        }
        let Wishes { learning_rate, epochs, lora_rank } = &self.directives;
        demand(learning_rate.is_none_or(is_rate), "directives.learning_rate", || {
            "lie above 0 and at most at 1".to_owned()
        })?;
        within("directives.epochs", *epochs, MOST_EPOCHS)?;
        within("directives.lora_rank", *lora_rank, LARGEST_RANK)?;
        Ok(self)
    }

    /// Sequences get the title as those of a text do; a pair is asked under it and learns the answer.
    pub(super) fn into_body(self, title: &str) -> EditBody {
        let sequences = self
            .sequences
            .into_iter()
            .map(|sequence| text(titled(title, strip(&sequence)), LossPart::Edit));
        let pairs = self.pairs.into_iter().map(|pair| TrainingExample::PromptCompletion {
            prompt: titled(title, &format!("Question: {}\nAnswer: ", strip(&pair.question))),
            completion: strip(&pair.answer).to_owned(),
        });
        let Wishes { learning_rate, epochs, lora_rank } = self.directives;
        EditBody {
            examples: sequences.chain(pairs).collect(),
            directives: Directives {
                learning_rate_nano: learning_rate.map(Nano::from_f64),
                epochs,
                lora_rank,
                labels: Vec::new(),
            },
            rationale: strip(&self.rationale).to_owned(),
        }
    }
}

fn is_rate(rate: f64) -> bool {
    // What rounds to no billionth at all would be signed as no rate.
    (1e-9..=1.0).contains(&rate)
}

fn demand(holds: bool, field: &str, rule: impl FnOnce() -> String) -> Result<(), StructuredError> {
    if holds {
        return Ok(());
    }
    Err(StructuredError::Limit { field: field.to_owned(), rule: rule() })
}

fn at_most(field: &str, items: usize, most: usize) -> Result<(), StructuredError> {
    demand(items <= most, field, || format!("have at most {most} items"))
}

fn filled(field: &str, text: &str, longest: usize) -> Result<(), StructuredError> {
    let fits = !strip(text).is_empty() && text.chars().count() <= longest;
    demand(fits, field, || format!("have text, and at most {longest} characters"))
}

fn within(field: &str, value: Option<u32>, most: u32) -> Result<(), StructuredError> {
    let inside = value.is_none_or(|value| (1..=most).contains(&value));
    demand(inside, field, || format!("lie between 1 and {most}"))
}
