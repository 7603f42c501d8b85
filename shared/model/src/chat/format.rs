//! A model's own chat format: the one way in which training, τ and serving put questions to it.

use super::{Chat, ChatError, ChatTemplate, Json, Learned, Message};
use crate::folder::GenerationConfig;
use crate::tokenizer::Tokenizer;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// `[chat]` of a role's config. Without it a model is asked in plain text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChatSettings {
    /// Said before every conversation that has no system turn of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// What templates take for today, as 2025-01-31. No clock is asked: the same question must be
    /// the same text tomorrow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<Date>,
    /// Which of the folder's templates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Further variables for the template, such as `enable_thinking`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, Json>,
}

/// A folder's chat template with a role's settings.
#[derive(Clone, Debug)]
pub struct ChatFormat {
    template: ChatTemplate,
    settings: ChatSettings,
    ends: Vec<u32>,
}

impl ChatFormat {
    /// Reads the templates of a model folder and the tokens that end a turn: those of
    /// generation_config.json, else of config.json, and the tokenizer's own `eos_token`.
    ///
    /// # Errors
    /// As [`ChatTemplate::load`]; a damaged generation_config.json; settings that name a template that
    /// is not there; a model that names no token that ends a turn.
    pub fn load(
        dir: &Path,
        tokenizer: &Tokenizer,
        settings: ChatSettings,
    ) -> Result<Self, ChatError> {
        let template = ChatTemplate::load(dir)?;
        let named = GenerationConfig::load(dir)?.and_then(|config| config.eos_token_ids);
        let ends = named.unwrap_or_else(|| tokenizer.eos().into_iter().collect());
        Self::of(template, tokenizer, ends, dir, settings)
    }

    /// A template with a role's settings; `ends` are the tokens that end a text, and `dir` is for
    /// messages.
    pub(crate) fn of(
        mut template: ChatTemplate,
        tokenizer: &Tokenizer,
        mut ends: Vec<u32>,
        dir: &Path,
        settings: ChatSettings,
    ) -> Result<Self, ChatError> {
        if let Some(date) = settings.date {
            template = template.at(date);
        }
        let own = template.special("eos_token").and_then(|token| tokenizer.token_id(token));
        ends.extend(own.filter(|token| !ends.contains(token)));
        if ends.is_empty() {
            return Err(ChatError::Folder {
                path: dir.join("generation_config.json"),
                problem: "names no `eos_token_id`, so no turn would ever end; add it".to_owned(),
            });
        }
        let format = Self { template, settings, ends };
        format.template.marks_assistant(&format.chat(Vec::new()))?;
        Ok(format)
    }

    /// Tokens that end a turn.
    #[must_use]
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// The tokens of a question with the head of the answer behind it.
    ///
    /// # Errors
    /// As [`ChatTemplate::tokens`].
    pub fn question(&self, tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, ChatError> {
        self.answering(tokenizer, vec![Message::new("user", text)])
    }

    /// The tokens of a conversation with the head of the answer behind it.
    ///
    /// # Errors
    /// As [`ChatTemplate::tokens`].
    pub fn answering(
        &self,
        tokenizer: &Tokenizer,
        messages: Vec<Message>,
    ) -> Result<Vec<u32>, ChatError> {
        self.template.tokens(tokenizer, &self.chat(messages).to_be_answered())
    }

    /// What is learned from a conversation.
    ///
    /// # Errors
    /// As [`ChatTemplate::learned`].
    pub fn learned(
        &self,
        tokenizer: &Tokenizer,
        messages: Vec<Message>,
    ) -> Result<Vec<Learned>, ChatError> {
        self.template.learned(tokenizer, &self.ends, &self.chat(messages))
    }

    fn chat(&self, mut messages: Vec<Message>) -> Chat {
        let has_own = messages.first().is_some_and(|first| first.role() == "system");
        if let Some(system) = self.settings.system.as_ref().filter(|_| !has_own) {
            messages.insert(0, Message::new("system", system));
        }
        let (template, variables) =
            (self.settings.template.clone(), self.settings.variables.clone());
        Chat { template, variables, ..Chat::of(messages) }
    }
}
