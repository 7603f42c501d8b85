//! A conversation as it comes in, and as transformers hands it to a template.

use super::error::ChatError;
use super::functions::MARKS;
use minijinja::Value;
use minijinja::value::ValueKind;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::BTreeMap;

/// Longest conversation with its tools and documents, in bytes.
const MAX_BYTES: usize = 4 << 20;
/// Deepest nesting of what comes in.
const MAX_DEPTH: usize = 60;
/// What a dict or list of a conversation counts beside its texts, in bytes.
const NODE: usize = 16;
/// Names that a message's reasoning goes by; templates of different ages read different ones.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];
/// Variables that are the conversation itself.
const OWN_VARIABLES: [&str; 4] = ["messages", "tools", "documents", "add_generation_prompt"];

/// A JSON value as a template sees it: dicts keep the order they were written in.
#[derive(Clone, Debug, PartialEq)]
pub struct Json(pub(super) Value);

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self(Value::from(text))
    }
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Self(Value::from(value))
    }
}

impl From<Vec<Self>> for Json {
    fn from(list: Vec<Self>) -> Self {
        Self(list.into_iter().map(|item| item.0).collect())
    }
}

impl FromIterator<(&'static str, Self)> for Json {
    fn from_iter<T: IntoIterator<Item = (&'static str, Self)>>(fields: T) -> Self {
        Self(Value::from_iter(fields.into_iter().map(|(name, value)| (name, value.0))))
    }
}

/// One turn: a dict with `role` and, mostly, `content`.
#[derive(Clone, Debug, PartialEq)]
pub struct Message(Value);

impl Message {
    /// A turn of plain text.
    #[must_use]
    pub fn new(role: &str, content: &str) -> Self {
        Self(Value::from_iter([("role", role), ("content", content)]))
    }

    /// The same turn with one more field, last.
    #[must_use]
    pub fn with(self, field: &str, value: Json) -> Self {
        Self(with_fields(&self.0, [], [(field, value.0)]))
    }

    /// Who speaks; empty where the message does not say.
    #[must_use]
    pub fn role(&self) -> String {
        let role = self.0.get_attr("role").unwrap_or_default();
        role.as_str().unwrap_or_default().to_owned()
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        match value.kind() {
            ValueKind::Map => Ok(Self(value)),
            other => Err(de::Error::custom(format!("a message is an object, not a {other}"))),
        }
    }
}

/// What a template is asked to write.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Chat {
    /// The turns, first to last.
    pub messages: Vec<Message>,
    /// JSON Schemas of functions the model may call.
    pub tools: Option<Json>,
    /// Documents to answer from.
    pub documents: Option<Json>,
    /// End with the head of a new assistant turn.
    pub add_generation_prompt: bool,
    /// Leave the last turn open after this field of it, mostly `content`.
    pub continue_final_message: Option<String>,
    /// Which of a folder's templates; absent: the one for tools where tools are given, else the
    /// default one.
    pub template: Option<String>,
    /// Further variables for the template, such as `enable_thinking`.
    pub variables: BTreeMap<String, Json>,
}

impl Chat {
    /// Turns without anything else.
    #[must_use]
    pub fn of(messages: Vec<Message>) -> Self {
        Self { messages, ..Self::default() }
    }

    /// The same with the head of a new assistant turn at its end.
    #[must_use]
    pub fn to_be_answered(mut self) -> Self {
        self.add_generation_prompt = true;
        self
    }

    /// Its size in bytes.
    ///
    /// # Errors
    /// No message, more than 4 MiB, too deep nesting; and, where spans are to be marked, a text that
    /// holds a mark.
    pub(super) fn check(&self, marked: bool) -> Result<usize, ChatError> {
        if self.messages.is_empty() {
            return Err(refused("has no message"));
        }
        if self.add_generation_prompt && self.continue_final_message.is_some() {
            return Err(refused(
                "asks for a new turn and to continue the last one; `add_generation_prompt` and \
                 `continue_final_message` exclude each other",
            ));
        }
        if let Some(name) = self.variables.keys().find(|n| OWN_VARIABLES.contains(&n.as_str())) {
            return Err(refused(format!("sets the variable `{name}`, which is its own part")));
        }
        let extras = self.tools.iter().chain(&self.documents).chain(self.variables.values());
        let values =
            self.messages.iter().map(|message| &message.0).chain(extras.map(|json| &json.0));
        let mut scale = Scale { bytes: 0, marked };
        values.into_iter().try_for_each(|value| scale.weigh(value, 0))?;
        Ok(scale.bytes)
    }

    /// The variables of a template: the conversation, special tokens and what the caller adds.
    pub(super) fn context(
        &self,
        messages: Vec<Value>,
        specials: &BTreeMap<String, String>,
    ) -> Value {
        let optional =
            |json: &Option<Json>| json.as_ref().map_or_else(|| Value::from(()), |j| j.0.clone());
        let own = [
            ("messages".to_owned(), Value::from(messages)),
            ("tools".to_owned(), optional(&self.tools)),
            ("documents".to_owned(), optional(&self.documents)),
            ("add_generation_prompt".to_owned(), Value::from(self.add_generation_prompt)),
        ];
        let specials =
            specials.iter().map(|(name, token)| (name.clone(), Value::from(token.as_str())));
        let added = self.variables.iter().map(|(name, json)| (name.clone(), json.0.clone()));
        Value::from_iter(specials.chain(added).chain(own))
    }

    /// The turns as templates expect them: fields that are null left out, reasoning under each of
    /// its names.
    pub(super) fn normalised(&self) -> Vec<Value> {
        self.messages.iter().map(|message| normalised(&message.0)).collect()
    }
}

fn refused(problem: impl Into<String>) -> ChatError {
    ChatError::Conversation(problem.into())
}

struct Scale {
    bytes: usize,
    marked: bool,
}

impl Scale {
    fn weigh(&mut self, value: &Value, depth: usize) -> Result<(), ChatError> {
        if depth > MAX_DEPTH {
            return Err(refused(format!("is nested deeper than {MAX_DEPTH}")));
        }
        self.bytes = self.bytes.saturating_add(NODE);
        if let Some(text) = value.as_str() {
            self.bytes = self.bytes.saturating_add(text.len());
            if self.marked && text.contains(MARKS) {
                return Err(refused(
                    "holds U+FDD0 or U+FDD1, which are no characters; remove them from the text",
                ));
            }
        }
        if self.bytes > MAX_BYTES {
            return Err(refused("has more than 4 MiB"));
        }
        let children = match value.kind() {
            ValueKind::Map | ValueKind::Seq => value.try_iter().ok(),
            _ => None,
        };
        for child in children.into_iter().flatten() {
            self.weigh(&child, depth + 1)?;
            if value.kind() == ValueKind::Map {
                self.weigh(&value.get_item(&child).unwrap_or_default(), depth + 1)?;
            }
        }
        Ok(())
    }
}

fn normalised(message: &Value) -> Value {
    let reasoning = REASONING.iter().find_map(|name| field(message, name));
    match reasoning {
        None => with_fields(message, [], []),
        Some(reasoning) => {
            let first = [("thinking", reasoning.clone())];
            with_fields(message, first, [(REASONING[0], reasoning)])
        }
    }
}

/// A field that is there and not null.
pub(super) fn field(message: &Value, name: &str) -> Option<Value> {
    let value = message.get_attr(name).ok()?;
    (!value.is_undefined() && !value.is_none()).then_some(value)
}

/// The message's own fields, null ones left out, between others; later ones win.
pub(super) fn with_fields<'a>(
    message: &Value,
    before: impl IntoIterator<Item = (&'a str, Value)>,
    after: impl IntoIterator<Item = (&'a str, Value)>,
) -> Value {
    let keys = message.try_iter().into_iter().flatten();
    let own = keys.filter_map(|key| {
        let value = message.get_item(&key).ok()?;
        (!value.is_none()).then_some((key, value))
    });
    let named = |(name, value): (&str, Value)| (Value::from(name), value);
    Value::from_iter(before.into_iter().map(named).chain(own).chain(after.into_iter().map(named)))
}

/// Names that `field` of a message goes by.
pub(super) fn aliases(field: &str) -> Vec<&str> {
    if REASONING.contains(&field) { REASONING.to_vec() } else { vec![field] }
}
