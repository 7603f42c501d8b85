//! The structured reply: one JSON object of `configs/prompts/self-edit.schema.json`.
//!
//! The schema constrains where a decoder or an endpoint can; the limits are checked here in any case,
//! because a schema that was only asked for is a wish.
//!
//! **Invariant:** pure, and total over peer input: every text is an edit within the limits or a typed
//! error. **Invariant:** a directive that the family does not allow never reaches an edit. How far an
//! allowed one may go is not decided here but by the student's `[directives]`, and once more by the
//! auditor's copy of them.

use seal_protocol::{Directives, LossPart, Nano, TrainingExample};
use serde::{Deserialize, Deserializer};
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
/// Longest reason that quotes what the parser met.
const LONGEST_REASON_CHARS: usize = 300;
const MOST_EPOCHS: u32 = 100;
const LARGEST_RANK: u32 = 256;

/// Keywords that are left out of what constrains: the strict modes of endpoints refuse them or know
/// nothing of them, and a grammar with every length in it is larger than any reply.
const UNENFORCED: [&str; 5] = ["$schema", "title", "description", "minLength", "maxLength"];

/// A directive by its name in the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Directive {
    /// Peak learning rate.
    LearningRate,
    /// Passes over the examples.
    Epochs,
    /// LoRA rank.
    LoraRank,
}

impl Directive {
    /// All of them, in the schema's order.
    pub const ALL: [Self; 3] = [Self::LearningRate, Self::Epochs, Self::LoraRank];

    /// As the schema has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        ["learning_rate", "epochs", "lora_rank"][self as usize]
    }
}

/// The schema as JSON.
///
/// # Panics
/// Never: a test reads it.
pub fn schema() -> Value {
    serde_json::from_str(SCHEMA).expect("the schema is a constant")
}

/// The schema of a family that allows these directives alone, as an endpoint or a decoder is held to
/// it: without the lengths, which are checked when the reply is read.
pub(super) fn constraint(allowed: &[Directive]) -> Value {
    let mut schema = schema();
    if allowed.is_empty() {
        forbid(&mut schema, "directives");
    } else if let Some(directives) = schema.pointer_mut("/properties/directives") {
        let others = Directive::ALL.into_iter().filter(|one| !allowed.contains(one));
        others.for_each(|one| forbid(directives, one.name()));
    }
    strip_keywords(&mut schema);
    schema
}

/// Takes a property out of an object's schema.
fn forbid(schema: &mut Value, name: &str) {
    if let Some(properties) = schema["properties"].as_object_mut() {
        properties.remove(name);
    }
    if let Some(required) = schema["required"].as_array_mut() {
        required.retain(|one| one != name);
    }
}

fn strip_keywords(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            members.retain(|keyword, _| !UNENFORCED.contains(&keyword.as_str()));
            members.values_mut().for_each(strip_keywords);
        }
        Value::Array(elements) => elements.iter_mut().for_each(strip_keywords),
        _ => {}
    }
}

/// Why a reply is no structured edit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StructuredError {
    /// JSON that ends before the object does: the reply reached its limit of tokens, or stopped.
    #[error("it ends in the middle of the object; a larger `max_new_tokens` may help")]
    CutOff,
    /// No JSON, or JSON of another shape.
    #[error("{0}")]
    Shape(String),
    /// A directive that the family does not leave to the policy.
    #[error("the directive `{0}` is not among those that the prompt family allows")]
    Directive(&'static str),
    /// A character that steers a terminal or a parser and stands in no text.
    #[error("`{field}` holds the control character U+{code:04X}")]
    Control {
        /// Which field.
        field: String,
        /// Its number.
        code: u32,
    },
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
    #[serde(default)]
    directives: Option<Wishes>,
    sequences: Vec<String>,
    pairs: Vec<Pair>,
}

/// Outer absence: not named. Inner absence: null, which leaves it to the trainer.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wishes {
    #[serde(default, deserialize_with = "named")]
    learning_rate: Option<Option<f64>>,
    #[serde(default, deserialize_with = "named")]
    epochs: Option<Option<u32>>,
    #[serde(default, deserialize_with = "named")]
    lora_rank: Option<Option<u32>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    question: String,
    answer: String,
}

fn named<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl Wishes {
    /// Every allowed directive is named, as the schema demands, and no other has a value.
    fn check_named(&self, allowed: &[Directive]) -> Result<(), StructuredError> {
        let given = [
            (Directive::LearningRate, self.learning_rate.map(|wish| wish.is_some())),
            (Directive::Epochs, self.epochs.map(|wish| wish.is_some())),
            (Directive::LoraRank, self.lora_rank.map(|wish| wish.is_some())),
        ];
        for (directive, given) in given {
            match (allowed.contains(&directive), given) {
                (true, None) => {
                    let missing = format!("missing field `directives.{}`", directive.name());
                    return Err(StructuredError::Shape(missing));
                }
                (false, Some(true)) => return Err(StructuredError::Directive(directive.name())),
                _ => {}
            }
        }
        Ok(())
    }

    fn check_limits(&self) -> Result<(), StructuredError> {
        let rate = self.learning_rate.flatten();
        demand(rate.is_none_or(is_rate), "directives.learning_rate", || {
            "lie above 0 and at most at 1".to_owned()
        })?;
        within("directives.epochs", self.epochs.flatten(), MOST_EPOCHS)?;
        within("directives.lora_rank", self.lora_rank.flatten(), LARGEST_RANK)
    }
}

impl Structured {
    /// Reads a reply of a family that allows these directives: the object alone, white space around
    /// it aside.
    pub(super) fn parse(reply: &str, allowed: &[Directive]) -> Result<Self, StructuredError> {
        let read: Self = serde_json::from_str(strip(reply)).map_err(|error| {
            if error.is_eof() {
                return StructuredError::CutOff;
            }
            StructuredError::Shape(bounded(&error.to_string()))
        })?;
        match &read.directives {
            Some(wishes) => wishes.check_named(allowed)?,
            None => Wishes::default().check_named(allowed)?,
        }
        read.checked()
    }

    fn checked(self) -> Result<Self, StructuredError> {
        at_most("sequences", self.sequences.len(), MOST_SEQUENCES)?;
        at_most("pairs", self.pairs.len(), MOST_PAIRS)?;
        let length = self.rationale.chars().count();
        demand(length <= LONGEST_RATIONALE_CHARS, "rationale", || {
            format!("have at most {LONGEST_RATIONALE_CHARS} characters")
        })?;
        plain("rationale", &self.rationale)?;
        for (index, sequence) in self.sequences.iter().enumerate() {
            filled(&format!("sequences[{index}]"), sequence, LONGEST_SEQUENCE_CHARS)?;
        }
        for (index, pair) in self.pairs.iter().enumerate() {
            filled(&format!("pairs[{index}].question"), &pair.question, LONGEST_PAIR_CHARS)?;
            filled(&format!("pairs[{index}].answer"), &pair.answer, LONGEST_PAIR_CHARS)?;
        }
        self.directives.as_ref().map_or(Ok(()), Wishes::check_limits)?;
        Ok(self)
    }

    /// Sequences get the title as those of a text do; a pair is asked under it and learns the answer.
    /// The rationale is one more sequence where the family says that it is trained on.
    pub(super) fn into_body(self, title: &str, train_rationale: bool) -> EditBody {
        let rationale = strip(&self.rationale).to_owned();
        let trained = (train_rationale && !rationale.is_empty()).then(|| rationale.clone());
        let lines = self.sequences.into_iter().chain(trained);
        let sequences = lines.map(|line| text(titled(title, strip(&line)), LossPart::Edit));
        let pairs = self.pairs.into_iter().map(|pair| TrainingExample::PromptCompletion {
            prompt: titled(title, &format!("Question: {}\nAnswer: ", strip(&pair.question))),
            completion: strip(&pair.answer).to_owned(),
        });
        let Wishes { learning_rate, epochs, lora_rank } = self.directives.unwrap_or_default();
        EditBody {
            examples: sequences.chain(pairs).collect(),
            directives: Directives {
                learning_rate_nano: learning_rate.flatten().map(Nano::from_f64),
                epochs: epochs.flatten(),
                lora_rank: lora_rank.flatten(),
                labels: Vec::new(),
            },
            rationale,
        }
    }
}

/// The parser's words without what it quotes at length, or what would steer a terminal.
fn bounded(words: &str) -> String {
    let plain = |one: char| if one.is_control() { char::REPLACEMENT_CHARACTER } else { one };
    let mut told: String = words.chars().map(plain).take(LONGEST_REASON_CHARS).collect();
    if words.chars().nth(LONGEST_REASON_CHARS).is_some() {
        told.push('…');
    }
    told
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
    demand(fits, field, || format!("have text, and at most {longest} characters"))?;
    plain(field, text)
}

/// JSON can spell every control character; of them a text has line breaks and tabs.
fn plain(field: &str, text: &str) -> Result<(), StructuredError> {
    let steers = |one: &char| one.is_control() && !matches!(one, '\n' | '\r' | '\t');
    match text.chars().find(steers) {
        None => Ok(()),
        Some(found) => {
            Err(StructuredError::Control { field: field.to_owned(), code: u32::from(found) })
        }
    }
}

fn within(field: &str, value: Option<u32>, most: u32) -> Result<(), StructuredError> {
    let inside = value.is_none_or(|value| (1..=most).contains(&value));
    demand(inside, field, || format!("lie between 1 and {most}"))
}
