//! `prompt_family` of `teacher.toml`: the name or file of a text family, or a table of words.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::family::TextFamily;
use crate::reply::PromptFamily;

/// A prompt family as a config names it.
#[derive(Clone, Debug)]
pub enum FamilyChoice {
    /// Texts: a built-in family by its name, any other by its file.
    Texts(TextFamily),
    /// Words of a local policy.
    Words(PromptFamily),
    /// A name that is not looked up yet.
    Named(String),
}

impl<'de> Deserialize<'de> for FamilyChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrTable;

        impl<'de> Visitor<'de> for NameOrTable {
            type Value = FamilyChoice;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name or file of a prompt family, or a table")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<FamilyChoice, E> {
                Ok(FamilyChoice::Named(name.to_owned()))
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<FamilyChoice, M::Error> {
                let family = PromptFamily::deserialize(MapAccessDeserializer::new(map))?;
                Ok(FamilyChoice::Words(family))
            }
        }

        deserializer.deserialize_any(NameOrTable)
    }
}
