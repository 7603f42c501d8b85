//! A prompt on its way to a backend.

use seal_protocol::Digest;
use seal_trust::sha256;
use serde::Serialize;

use crate::egress::Redactor;

/// What a backend is asked to continue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Prompt {
    /// Tokens of the local policy, of which the last are the forced head of the reply.
    Tokens {
        /// Forced ones included.
        tokens: Vec<u32>,
        /// The head of the reply.
        forced: Vec<u32>,
    },
    /// Text to continue.
    Text(String),
    /// Turns to reply to.
    Chat(Vec<Turn>),
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Turn {
    /// `system` or `user`.
    pub(crate) role: String,
    /// What is said.
    pub(crate) content: String,
}

impl Turn {
    /// What the user says.
    pub(crate) fn user(content: String) -> Self {
        Self { role: "user".to_owned(), content }
    }
}

impl Prompt {
    /// The prompt as it may leave.
    pub(crate) fn redacted(&self, redactor: &Redactor) -> Self {
        let turn = |turn: &Turn| Turn { content: redactor.apply(&turn.content), ..turn.clone() };
        match self {
            Self::Tokens { .. } => self.clone(),
            Self::Text(text) => Self::Text(redactor.apply(text)),
            Self::Chat(turns) => Self::Chat(turns.iter().map(turn).collect()),
        }
    }

    /// SHA-256 of the text, or of the turns as JSON.
    pub(crate) fn digest(&self) -> Digest {
        match self {
            Self::Tokens { tokens, .. } => {
                sha256(&tokens.iter().flat_map(|token| token.to_le_bytes()).collect::<Vec<u8>>())
            }
            Self::Text(text) => sha256(text.as_bytes()),
            // Strings only: they always have a JSON form.
            Self::Chat(turns) => sha256(&serde_json::to_vec(turns).unwrap_or_default()),
        }
    }
}
