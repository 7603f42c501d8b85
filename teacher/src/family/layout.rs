//! How a prompt looks: plain text for base models, turns for chat models.
//!
//! Source of the plain layout: recorded prompts of the original system.

use std::sync::LazyLock;

use regex::Regex;
use seal_protocol::Digest;
use seal_trust::sha256;
use serde::{Deserialize, Serialize};

use super::{Markup, TextFamily};

/// What a server or a tokenizer may take for the end of a turn, wherever it stands.
static MARKUP: LazyLock<Regex> = LazyLock::new(|| {
    let markup = r"<\|[^|<>\s]{1,40}\|>|\[/?INST\]|<</?SYS>>|<(start|end)_of_turn>";
    Regex::new(markup).expect("the pattern is a constant")
});

/// Which of the two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// Instruction, blank line, label, title, passage, blank line, label of the answer.
    #[default]
    Plain,
    /// The instruction as system turn, title and passage as user turn.
    Chat,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Speaker {
    /// The instruction.
    System,
    /// The passage.
    User,
}

/// One turn of a chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Turn {
    /// Who speaks.
    pub role: Speaker,
    /// What is said.
    pub content: String,
}

/// A prompt that is ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum TextPrompt {
    /// Text to continue.
    Plain(String),
    /// Turns to reply to.
    Chat(Vec<Turn>),
}

impl TextFamily {
    /// The prompt for a passage.
    ///
    /// # Errors
    /// A title or passage with chat markup.
    pub fn write(&self, layout: Layout, title: &str, context: &str) -> Result<TextPrompt, Markup> {
        for quoted in [title, context] {
            if let Some(found) = MARKUP.find(quoted) {
                return Err(Markup(found.as_str().to_owned()));
            }
        }
        let passage = format!("{title}\n{context}");
        Ok(match layout {
            Layout::Plain => TextPrompt::Plain(self.plain(&passage)),
            Layout::Chat => TextPrompt::Chat(self.chat(passage)),
        })
    }

    fn plain(&self, passage: &str) -> String {
        let Self { instruction, passage_label, answer_label, .. } = self;
        let asked = match instruction.is_empty() {
            true => String::new(),
            false => format!("{instruction}\n\n"),
        };
        format!("{asked}{passage_label}\n{passage}\n\n{answer_label}")
    }

    fn chat(&self, passage: String) -> Vec<Turn> {
        let asked = (!self.instruction.is_empty())
            .then(|| Turn { role: Speaker::System, content: self.instruction.clone() });
        asked.into_iter().chain([Turn { role: Speaker::User, content: passage }]).collect()
    }
}

impl TextPrompt {
    /// SHA-256 of the text, or of the turns as JSON.
    pub fn digest(&self) -> Digest {
        match self {
            Self::Plain(text) => sha256(text.as_bytes()),
            // Turns hold nothing that JSON cannot.
            Self::Chat(turns) => sha256(&serde_json::to_vec(turns).unwrap_or_default()),
        }
    }
}
