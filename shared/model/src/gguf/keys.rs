//! The metadata's keys by name, each refused by it.

use super::error::GgufError;
use super::value::Value;
use std::collections::BTreeMap;

/// Metadata of a file.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a>(pub(super) &'a BTreeMap<String, Value>);

impl<'a> Keys<'a> {
    pub(super) fn value(self, key: &str) -> Option<&'a Value> {
        self.0.get(key)
    }

    /// A whole number that is not negative.
    pub(super) fn size(self, key: &str) -> Result<Option<usize>, GgufError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Int(value)) => match usize::try_from(*value) {
                Ok(size) => Ok(Some(size)),
                Err(_) => Err(wrong(key, format!("is {value}, no size"))),
            },
            Some(other) => Err(expected(key, other, "a whole number")),
        }
    }

    pub(super) fn needed_size(self, key: &str) -> Result<usize, GgufError> {
        self.size(key)?.ok_or_else(|| GgufError::MissingKey(key.to_owned()))
    }

    /// A size that may be given for every layer: all of them must be one.
    pub(super) fn size_of_layers(self, key: &str) -> Result<Option<usize>, GgufError> {
        let Some(Value::Ints(list)) = self.value(key) else { return self.size(key) };
        let first = list.first().and_then(|first| usize::try_from(*first).ok());
        match first {
            Some(size) if list.iter().all(|other| Some(other) == list.first()) => Ok(Some(size)),
            _ => Err(GgufError::Unsupported {
                key: key.to_owned(),
                value: "another number in each layer".to_owned(),
            }),
        }
    }

    #[allow(clippy::cast_precision_loss)]
    pub(super) fn number(self, key: &str) -> Result<Option<f64>, GgufError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Float(value)) => Ok(Some(*value)),
            Some(Value::Int(value)) => Ok(Some(*value as f64)),
            Some(other) => Err(expected(key, other, "a number")),
        }
    }

    pub(super) fn needed_number(self, key: &str) -> Result<f64, GgufError> {
        self.number(key)?.ok_or_else(|| GgufError::MissingKey(key.to_owned()))
    }

    pub(super) fn text(self, key: &str) -> Result<Option<&'a str>, GgufError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(other) => Err(expected(key, other, "a text")),
        }
    }

    pub(super) fn flag(self, key: &str) -> Result<Option<bool>, GgufError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(expected(key, other, "a boolean")),
        }
    }

    pub(super) fn texts(self, key: &str) -> Result<Option<&'a [String]>, GgufError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Texts(list)) => Ok(Some(list)),
            Some(other) => Err(expected(key, other, "a list of texts")),
        }
    }

    pub(super) fn ints(self, key: &str) -> Result<Option<&'a [i64]>, GgufError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Ints(list)) => Ok(Some(list)),
            Some(other) => Err(expected(key, other, "a list of whole numbers")),
        }
    }

    pub(super) fn floats(self, key: &str) -> Result<Option<&'a [f32]>, GgufError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Floats(list)) => Ok(Some(list)),
            Some(other) => Err(expected(key, other, "a list of numbers")),
        }
    }

    /// Refuses a key that is there, unless its value is `harmless`.
    pub(super) fn refuse(
        self,
        key: &str,
        harmless: impl Fn(&Value) -> bool,
    ) -> Result<(), GgufError> {
        match self.value(key) {
            Some(value) if !harmless(value) => Err(unsupported(key, value.shown())),
            _ => Ok(()),
        }
    }
}

pub(super) fn unsupported(key: &str, value: String) -> GgufError {
    GgufError::Unsupported { key: key.to_owned(), value }
}

fn wrong(key: &str, problem: String) -> GgufError {
    GgufError::Value { key: key.to_owned(), problem }
}

fn expected(key: &str, found: &Value, what: &str) -> GgufError {
    wrong(key, format!("is {}, not {what}", found.shown()))
}
