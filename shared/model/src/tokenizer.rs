//! The tokenizer of a model folder.
//!
//! Special tokens written in a text are recognised; none is ever added on its own, so a caller
//! always knows which tokens it trains on.

use crate::error::{ModelError, Result};
use serde_json::Value;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// `tokenizer.json` and the ids that begin and end a text.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    path: PathBuf,
    bos: Option<u32>,
    eos: Option<u32>,
}

impl Tokenizer {
    /// Reads `tokenizer.json`, and the begin and end ids of `generation_config.json` or `config.json`.
    ///
    /// # Errors
    /// A file that is missing or damaged.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join("tokenizer.json");
        let bytes = std::fs::read(&path)
            .map_err(|source| ModelError::File { path: path.clone(), source })?;
        let (bos, eos) = (special_id(dir, "bos_token_id"), special_id(dir, "eos_token_id"));
        Self::from_json(&bytes, &path, bos, eos)
    }

    /// The bytes of a `tokenizer.json`, and the ids that begin and end a text; `path` is for messages.
    ///
    /// # Errors
    /// Bytes that are none.
    pub fn from_json(
        bytes: &[u8],
        path: &Path,
        bos: Option<u32>,
        eos: Option<u32>,
    ) -> Result<Self> {
        let inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(|e| refused(path, &e))?;
        Ok(Self { inner, path: path.to_path_buf(), bos, eos })
    }

    /// The tokens of `text`, nothing added.
    ///
    /// # Errors
    /// A text the tokenizer has no tokens for.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode(text, false).map_err(|e| refused(&self.path, &e))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The tokens of `text`, nothing added, and the bytes of `text` that each stands for.
    ///
    /// # Errors
    /// A text the tokenizer has no tokens for.
    pub fn encode_places(&self, text: &str) -> Result<(Vec<u32>, Vec<Range<usize>>)> {
        let encoding = self.inner.encode(text, false).map_err(|e| refused(&self.path, &e))?;
        let places = encoding.get_offsets().iter().map(|&(start, end)| start..end);
        Ok((encoding.get_ids().to_vec(), places.collect()))
    }

    /// The text of `tokens`, special tokens included; ids without a token are left out.
    #[must_use]
    pub fn decode(&self, tokens: &[u32]) -> String {
        self.inner.decode(tokens, false).unwrap_or_default()
    }

    /// The text of `tokens` without special tokens.
    #[must_use]
    pub fn decode_plain(&self, tokens: &[u32]) -> String {
        self.inner.decode(tokens, true).unwrap_or_default()
    }

    /// The tokenizer itself.
    #[cfg(feature = "grammar")]
    pub(crate) fn inner(&self) -> &tokenizers::Tokenizer {
        &self.inner
    }

    /// The id of one token.
    #[must_use]
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token that begins a text, if the model has one.
    #[must_use]
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The (first) token that ends a text, if the model has one.
    #[must_use]
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// Number of tokens, added ones included.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }
}

fn refused(path: &Path, error: &dyn std::fmt::Display) -> ModelError {
    ModelError::Tokenizer { path: path.to_path_buf(), problem: error.to_string() }
}

/// A token id of the generation config, else of the model config.
fn special_id(dir: &Path, field: &str) -> Option<u32> {
    ["generation_config.json", "config.json"].iter().find_map(|file| {
        let bytes = std::fs::read(dir.join(file)).ok()?;
        let value = serde_json::from_slice::<Value>(&bytes).ok()?;
        let id = value.get(field)?;
        let first = id.as_array().map_or(Some(id), |ids| ids.first())?;
        u32::try_from(first.as_u64()?).ok()
    })
}
