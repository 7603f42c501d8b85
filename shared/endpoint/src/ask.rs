//! What an endpoint is asked, and what it answers.

use seal_protocol::{Digest, ReplySchema};
use seal_trust::sha256;
use serde::Serialize;

use crate::egress::Redactor;

/// What is to be continued or replied to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// Text to continue.
    Text(String),
    /// Turns to reply to.
    Chat(Vec<Turn>),
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Turn {
    /// `system` or `user`.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl Turn {
    /// What the system says.
    pub fn system(content: String) -> Self {
        Self { role: "system".to_owned(), content }
    }

    /// What the user says.
    pub fn user(content: String) -> Self {
        Self { role: "user".to_owned(), content }
    }
}

impl Prompt {
    /// The prompt as it may leave.
    pub(crate) fn redacted(&self, redactor: &Redactor) -> Self {
        let turn = |turn: &Turn| Turn { content: redactor.apply(&turn.content), ..turn.clone() };
        match self {
            Self::Text(text) => Self::Text(redactor.apply(text)),
            Self::Chat(turns) => Self::Chat(turns.iter().map(turn).collect()),
        }
    }

    /// SHA-256 of the text, or of the turns as JSON.
    pub fn digest(&self) -> Digest {
        match self {
            Self::Text(text) => sha256(text.as_bytes()),
            // Strings only: they always have a JSON form.
            Self::Chat(turns) => sha256(&serde_json::to_vec(turns).unwrap_or_default()),
        }
    }
}

/// One reply that is asked for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What to continue.
    pub prompt: Prompt,
    /// Digest of the context it is about.
    pub context_digest: Digest,
    /// Which of its proposals.
    pub proposal: u32,
    /// Fixes the sample, where the endpoint can.
    pub seed: u64,
}

/// What came of an ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A reply.
    Written(Written),
    /// None, and why.
    Missed(String),
}

/// A reply as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Word for word.
    pub text: String,
    /// SHA-256 of the prompt that was answered: after redaction.
    pub prompt_digest: Digest,
    /// What held it to the schema; absent where there is none.
    pub schema: Option<ReplySchema>,
}
