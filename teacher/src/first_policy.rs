//! The policy before any update: a model folder, or a GGUF file.
//!
//! **Invariant:** its digest, its shape, its weights and how it reads texts come from the same files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use seal_model::chat::{ChatFormat, ChatSettings};
use seal_model::device::Opened;
use seal_model::fit::{self, Work};
use seal_model::gguf::{GgufFile, TextFiles, gguf_digest, is_gguf};
use seal_model::{Decoder, DecoderConfig, ModelFolder, Tokenizer, folder_digest};
use seal_protocol::Digest;

use crate::edits::unwritable;
use crate::error::TeacherError;

/// Files beside the weights that decide what a policy computes and how it is talked to.
const COMPANIONS: [&str; 6] = [
    "config.json",
    "tokenizer.json",
    "generation_config.json",
    "chat_template.jinja",
    "tokenizer_config.json",
    "special_tokens_map.json",
];

/// Where the first policy lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySource {
    /// A model folder, or a file whose name ends in `.gguf`.
    pub model: PathBuf,
    /// Folder of the tokenizer that is taken instead of a file's own.
    pub tokenizer: Option<PathBuf>,
}

impl PolicySource {
    /// A model folder.
    pub fn folder(folder: &Path) -> Self {
        Self { model: folder.to_owned(), tokenizer: None }
    }

    /// Whether it is one file.
    pub fn is_gguf(&self) -> bool {
        is_gguf(&self.model)
    }

    /// The digest that names it.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub fn digest(&self) -> Result<Digest, TeacherError> {
        let digest = match self.is_gguf() {
            true => gguf_digest(&self.model, self.tokenizer.as_deref())?,
            false => folder_digest(&self.model)?,
        };
        Ok(Digest::from_bytes(digest))
    }

    /// The shape of its decoder, from headers and configs alone.
    ///
    /// # Errors
    /// A model that is not read.
    pub fn shape(&self) -> Result<DecoderConfig, TeacherError> {
        Ok(match self.is_gguf() {
            true => GgufFile::open(&self.model)?.config().clone(),
            false => ModelFolder::open(&self.model)?.config().clone(),
        })
    }
}

/// The first policy, opened. Its weights are still unread.
pub(crate) struct FirstPolicy {
    source: PolicySource,
    shape: DecoderConfig,
    tokenizer: Tokenizer,
    /// A file, and what decides its texts.
    file: Option<(GgufFile, TextFiles)>,
}

impl FirstPolicy {
    pub(crate) fn open(source: PolicySource) -> Result<Self, TeacherError> {
        if !source.is_gguf() {
            if source.tokenizer.is_some() {
                return Err(TeacherError::Config(format!(
                    "`tokenizer` under [backend] is for a policy in a GGUF file, and `{}` has a \
                     tokenizer of its own; leave it out",
                    source.model.display()
                )));
            }
            let shape = ModelFolder::open(&source.model)?.config().clone();
            let tokenizer = Tokenizer::load(&source.model)?;
            return Ok(Self { source, shape, tokenizer, file: None });
        }
        let file = GgufFile::open(&source.model)?;
        let texts = match &source.tokenizer {
            Some(folder) => TextFiles::of_folder(folder, file.config())?,
            None => file.texts()?,
        };
        let file = file.ending_with(texts.ends());
        let (shape, tokenizer) = (file.config().clone(), texts.tokenizer().clone());
        Ok(Self { source, shape, tokenizer, file: Some((file, texts)) })
    }

    /// Where it lies, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.source.model
    }

    pub(crate) fn digest(&self) -> Result<Digest, TeacherError> {
        self.source.digest()
    }

    pub(crate) fn shape(&self) -> &DecoderConfig {
        &self.shape
    }

    pub(crate) fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Its weights, computing as `opened` says, if `works` fit there.
    pub(crate) fn decoder(&self, opened: &Opened, works: &[Work]) -> Result<Decoder, TeacherError> {
        let decoder = match &self.file {
            None => Decoder::load_for(&self.source.model, &opened.device, works)?,
            Some((file, _)) => {
                let fits = |work| fit::require(file.path(), &self.shape, &opened.device, work);
                works.iter().try_for_each(fits)?;
                file.decoder(&opened.device)?
            }
        };
        Ok(decoder.computing(opened.products))
    }

    /// How it is talked to in turns.
    pub(crate) fn chat(&self, settings: ChatSettings) -> Result<ChatFormat, TeacherError> {
        let format = match &self.file {
            None => ChatFormat::load(&self.source.model, &self.tokenizer, settings),
            Some((_, texts)) => texts.chat(settings),
        };
        format.map_err(|error| {
            TeacherError::Config(format!(
                "`layout = \"chat\"` needs the chat template of the policy `{}`: {error}; set \
                 `layout = \"plain\"` for a model that was not tuned to chat",
                self.path().display()
            ))
        })
    }

    /// The files that a policy with weights of its own is given from this one, by name.
    pub(crate) fn companions(&self) -> Result<BTreeMap<String, Vec<u8>>, TeacherError> {
        let mut files = BTreeMap::new();
        match &self.file {
            // Those of a folder in a folder are none of a policy's.
            Some((_, texts)) => {
                let own = texts.files().iter().filter(|(name, _)| !name.contains('/'));
                files.extend(own.map(|(name, bytes)| (name.clone(), bytes.clone())));
            }
            None => {
                for name in COMPANIONS {
                    let path = self.source.model.join(name);
                    if path.is_file() {
                        let bytes = fs::read(&path).map_err(|source| unwritable(&path, source))?;
                        files.insert(name.to_owned(), bytes);
                    }
                }
            }
        }
        Ok(files)
    }
}
