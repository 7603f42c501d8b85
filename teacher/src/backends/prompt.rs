//! A prompt on its way to a backend.

use seal_protocol::Digest;
use seal_trust::sha256;

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
    /// Text to continue, or turns to reply to.
    Words(seal_endpoint::Prompt),
}

impl Prompt {
    /// SHA-256 of the tokens, the text, or the turns as JSON.
    pub(crate) fn digest(&self) -> Digest {
        match self {
            Self::Tokens { tokens, .. } => {
                sha256(&tokens.iter().flat_map(|token| token.to_le_bytes()).collect::<Vec<u8>>())
            }
            Self::Words(prompt) => prompt.digest(),
        }
    }
}
