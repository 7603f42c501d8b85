//! The fields of a `config.json`, each refused by its name.

use crate::error::{ModelError, Result};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::path::Path;

/// A JSON object; where it lies is for messages only.
pub(super) struct Fields<'a> {
    object: Map<String, Value>,
    /// The object's own name and a dot, or nothing for the whole file.
    inside: String,
    path: &'a Path,
}

/// What a config says of a field. To transformers a null is not an absent field.
pub(super) enum Said<T> {
    Nothing,
    Null,
    This(T),
}

impl<T> Said<T> {
    /// The value, `absent` where the field is absent, none where it is null.
    pub(super) fn or(self, absent: T) -> Option<T> {
        match self {
            Self::Nothing => Some(absent),
            Self::Null => None,
            Self::This(value) => Some(value),
        }
    }
}

impl<'a> Fields<'a> {
    pub(super) fn parse(bytes: &[u8], path: &'a Path) -> Result<Self> {
        let problem = |problem| ModelError::Config { path: path.to_path_buf(), problem };
        let object = serde_json::from_slice(bytes).map_err(|e| problem(e.to_string()))?;
        Ok(Self { object, inside: String::new(), path })
    }

    pub(super) fn said<T: DeserializeOwned>(&self, name: &str) -> Result<Said<T>> {
        match self.object.get(name) {
            None => Ok(Said::Nothing),
            Some(Value::Null) => Ok(Said::Null),
            Some(value) => match serde_json::from_value(value.clone()) {
                Ok(value) => Ok(Said::This(value)),
                Err(error) => {
                    Err(self.problem(format!("`{}{name}` = {value}: {error}", self.inside)))
                }
            },
        }
    }

    /// The value, or `absent` where the field is absent or null.
    pub(super) fn or<T: DeserializeOwned>(&self, name: &str, absent: T) -> Result<T> {
        Ok(self.given(name)?.unwrap_or(absent))
    }

    /// The value, or none where the field is absent or null.
    pub(super) fn given<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        Ok(match self.said(name)? {
            Said::This(value) => Some(value),
            Said::Nothing | Said::Null => None,
        })
    }

    pub(super) fn needed<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let missing = || self.problem(format!("`{}{name}` is missing", self.inside));
        self.given(name)?.ok_or_else(missing)
    }

    /// The field as an object of its own; none where it is absent, null or empty.
    pub(super) fn object(&self, name: &str) -> Result<Option<Self>> {
        let object = self.given::<Map<String, Value>>(name)?.filter(|object| !object.is_empty());
        let inside = format!("{}{name}.", self.inside);
        Ok(object.map(|object| Self { object, inside, path: self.path }))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.object.keys().map(String::as_str)
    }

    /// The object as JSON.
    pub(super) fn text(&self) -> String {
        Value::Object(self.object.clone()).to_string()
    }

    /// Refuses a field that is neither absent nor null, unless `harmless` says otherwise.
    pub(super) fn refuse(
        &self,
        name: &'static str,
        harmless: impl Fn(&Value) -> bool,
    ) -> Result<()> {
        match self.object.get(name) {
            Some(value) if !value.is_null() && !harmless(value) => {
                Err(self.unsupported(name, value.to_string()))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn problem(&self, problem: String) -> ModelError {
        ModelError::Config { path: self.path.to_path_buf(), problem }
    }

    pub(super) fn unsupported(&self, field: &'static str, value: String) -> ModelError {
        ModelError::Unsupported { path: self.path.to_path_buf(), field, value }
    }
}
