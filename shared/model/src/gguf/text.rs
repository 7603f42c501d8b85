//! Tokenizer, special tokens and chat template of a GGUF file, or of a folder that is given beside it.

use super::error::GgufError;
use super::keys::Keys;
use super::{specials, tokenizer};
use crate::chat::folder::{TOKENIZER_CONFIG, deciding_files};
use crate::chat::{ChatError, ChatFormat, ChatSettings, ChatTemplate};
use crate::decoder::DecoderConfig;
use crate::error::{ModelError, Result};
use crate::folder::{GenerationConfig, read_small};
use crate::tokenizer::Tokenizer;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The tokenizer's own file.
const TOKENIZER: &str = "tokenizer.json";
/// Tokens that end a text, and how its makers sample.
const GENERATION: &str = "generation_config.json";
/// Longest file of a tokenizer's folder, in bytes.
const MAX_BYTES: u64 = 64 << 20;

/// What decides which tokens a text becomes.
pub struct TextFiles {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    ends: Vec<u32>,
    /// As a model folder keeps them, sorted by name.
    files: BTreeMap<String, Vec<u8>>,
    path: PathBuf,
}

/// Files of a tokenizer's folder that decide something, by name.
pub(super) fn files_of(folder: &Path) -> Result<Vec<String>> {
    let mut names = deciding_files(folder).map_err(|error| unread(folder, error))?;
    names.extend([TOKENIZER, GENERATION].map(str::to_owned));
    names.retain(|name| name == TOKENIZER || folder.join(name).is_file());
    names.sort_unstable();
    Ok(names)
}

fn unread(folder: &Path, error: ChatError) -> ModelError {
    match error {
        ChatError::File { path, source } => ModelError::File { path, source },
        other => ModelError::Config { path: folder.to_path_buf(), problem: other.to_string() },
    }
}

impl TextFiles {
    /// What the metadata says.
    pub(super) fn of(path: &Path, keys: Keys<'_>, config: &DecoderConfig) -> Result<Self> {
        let refuse = |reason| ModelError::Gguf { path: path.to_path_buf(), reason };
        let mut tokenizer_json = tokenizer::json(keys).map_err(refuse)?;
        let texts = specials::texts(keys).map_err(refuse)?;
        let source = keys.text("tokenizer.chat_template").map_err(refuse)?;
        let template = source
            .map(|source| ChatTemplate::from_source(source, texts.clone()))
            .transpose()
            .map_err(|error| unread(path, error))?;
        let mut about = json!(texts);
        if let Some(source) = source {
            about["chat_template"] = json!(source);
        }
        let mut files = BTreeMap::new();
        for (name, value) in [(TOKENIZER, &mut tokenizer_json), (TOKENIZER_CONFIG, &mut about)] {
            files.insert(name.to_owned(), bytes(value));
        }
        let ends = config.eos_token_ids.clone();
        let (bos, eos) = (config.bos_token_id, ends.first().copied());
        let tokenizer = Tokenizer::from_json(&files[TOKENIZER], path, bos, eos)?;
        fits(&tokenizer, config).map_err(refuse)?;
        Ok(Self { tokenizer, template, ends, files, path: path.to_path_buf() })
    }

    /// What a folder with a `tokenizer.json` says, for a model of this shape.
    ///
    /// # Errors
    /// A folder without one, damaged files, a tokenizer with more tokens than the model embeds.
    pub fn of_folder(folder: &Path, config: &DecoderConfig) -> Result<Self> {
        let mut files = BTreeMap::new();
        for name in files_of(folder)? {
            files.insert(name.clone(), read_small(&folder.join(&name), MAX_BYTES)?);
        }
        let generation = GenerationConfig::load(folder)?;
        let named = generation.and_then(|generation| generation.eos_token_ids);
        let ends = named.unwrap_or_else(|| config.eos_token_ids.clone());
        let (bos, eos) = (config.bos_token_id, ends.first().copied());
        let path = folder.join(TOKENIZER);
        let tokenizer = Tokenizer::from_json(&files[TOKENIZER], &path, bos, eos)?;
        let refuse = |reason| ModelError::Gguf { path, reason };
        fits(&tokenizer, config).map_err(refuse)?;
        let template = match ChatTemplate::load(folder) {
            Ok(template) => Some(template),
            Err(ChatError::Missing { .. }) => None,
            Err(error) => return Err(unread(folder, error)),
        };
        Ok(Self { tokenizer, template, ends, files, path: folder.to_path_buf() })
    }

    /// The tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Tokens that end a text.
    #[must_use]
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// True if there is a chat template.
    #[must_use]
    pub fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// The chat template, with a role's settings.
    ///
    /// # Errors
    /// There is none, or as [`ChatFormat::load`].
    pub fn chat(&self, settings: ChatSettings) -> std::result::Result<ChatFormat, ChatError> {
        let missing = || ChatError::Missing { dir: self.path.clone() };
        let template = self.template.clone().ok_or_else(missing)?;
        ChatFormat::of(template, &self.tokenizer, self.ends.clone(), &self.path, settings)
    }

    /// The files that a model folder would keep this in, by name; the same file gives the same bytes.
    #[must_use]
    pub fn files(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.files
    }
}

/// JSON whose order is its own, since the bytes are digested.
fn bytes(value: &mut Value) -> Vec<u8> {
    value.sort_all_objects();
    let mut bytes = value.to_string().into_bytes();
    bytes.push(b'\n');
    bytes
}

fn fits(tokenizer: &Tokenizer, config: &DecoderConfig) -> std::result::Result<(), GgufError> {
    let (tokens, embedded) = (tokenizer.vocab_size(), config.vocab_size);
    if tokens <= embedded {
        return Ok(());
    }
    let problem = format!("the tokenizer has {tokens} tokens and the model embeds {embedded}");
    Err(GgufError::Tokenizer(problem))
}
