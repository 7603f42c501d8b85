//! Prompt families over text: what a policy is asked about a passage, and how its reply is read.
//!
//! A family is a data file. Those of `configs/prompts` are built in and found by name; any other is
//! found by its path. [`crate::PromptFamily`] is the older, word-level kind of the miniature.
//!
//! **Invariant:** pure; the same family, passage and reply give the same edit.
//! **Invariant:** a passage is quoted data: one that holds chat markup is refused, so that no document
//! can end its own quotation.

mod layout;
mod reply;
mod structured;

use std::path::Path;

use seal_service::config::ConfigError;
use serde::Deserialize;
use serde_json::Value;

pub use self::layout::{Layout, Speaker, TextPrompt, Turn};
pub use self::reply::{EditBody, ReplyUnread};
pub use self::structured::{Directive, StructuredError, schema};
use crate::sequences::SequenceRule;

/// The families that are built in, by name.
const SHIPPED: [(&str, &str); 9] = [
    ("implications", include_str!("../../../configs/prompts/implications.toml")),
    ("implications-document", include_str!("../../../configs/prompts/implications-document.toml")),
    ("implications-long", include_str!("../../../configs/prompts/implications-long.toml")),
    (
        "implications-very-long",
        include_str!("../../../configs/prompts/implications-very-long.toml"),
    ),
    ("rewrite", include_str!("../../../configs/prompts/rewrite.toml")),
    ("self-qa", include_str!("../../../configs/prompts/self-qa.toml")),
    ("chain-of-thought", include_str!("../../../configs/prompts/chain-of-thought.toml")),
    ("none", include_str!("../../../configs/prompts/none.toml")),
    ("structured", include_str!("../../../configs/prompts/structured.toml")),
];

/// A file of `configs/prompts`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextFamily {
    /// Its name, recorded in every edit.
    pub name: String,
    /// What is asked, before the passage. Empty: nothing.
    pub instruction: String,
    /// Stands on a line of its own before the title.
    pub passage_label: String,
    /// Where the policy goes on, its white space included. A chat does without it.
    pub answer_label: String,
    /// How a reply is read.
    pub reply: ReplySettings,
}

/// `[reply]` of a family.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "form", rename_all = "snake_case", deny_unknown_fields)]
pub enum ReplySettings {
    /// Text that a rule cuts into sequences.
    Text {
        /// The rule.
        rule: SequenceRule,
        /// Each line is a sequence of its own.
        split_newlines: bool,
        /// Who carries the passage.
        context: ContextUse,
    },
    /// A JSON object of [`schema`].
    Structured {
        /// Who carries the passage.
        context: ContextUse,
        /// What of the update the policy may ask for; left out: all.
        #[serde(default = "every_directive")]
        directives: Vec<Directive>,
        /// The rationale is trained on as one more sequence, and not only kept.
        #[serde(default)]
        train_rationale: bool,
    },
}

fn every_directive() -> Vec<Directive> {
    Directive::ALL.to_vec()
}

/// Which proposals for a context train on the context itself too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContextUse {
    /// All: an edit stands for itself.
    #[default]
    Each,
    /// The first alone: for many edits in one update.
    First,
    /// None.
    None,
}

impl ContextUse {
    fn of(self, proposal: u32) -> bool {
        match self {
            Self::Each => true,
            Self::First => proposal == 0,
            Self::None => false,
        }
    }
}

/// Chat markup in a passage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the context holds the chat markup `{0}`; remove it from the text")]
pub struct Markup(pub String);

impl TextFamily {
    /// A family by the name of a built-in one, or by a path counted from `folder`.
    ///
    /// # Errors
    /// No built-in family of that name and no such file; a file of another shape.
    pub fn find(name: &str, folder: &Path) -> Result<Self, ConfigError> {
        match SHIPPED.iter().find(|(shipped, _)| *shipped == name) {
            // A test reads every one of them.
            Some((name, text)) => seal_service::config::parse(Path::new(name), text),
            None => seal_service::config::load(&folder.join(name)),
        }
    }

    /// What a reply is to be held to while it is written, where the family has a schema.
    #[must_use]
    pub fn reply_schema(&self) -> Option<Value> {
        match &self.reply {
            ReplySettings::Text { .. } => None,
            ReplySettings::Structured { directives, .. } => {
                Some(structured::constraint(directives))
            }
        }
    }

    /// Names of the built-in families.
    pub fn shipped() -> impl Iterator<Item = &'static str> {
        SHIPPED.iter().map(|(name, _)| *name)
    }
}

#[cfg(test)]
mod tests;
