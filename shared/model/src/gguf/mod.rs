//! GGUF files, as llama.cpp writes them: a decoder's shape, weights, tokenizer and chat template in one
//! file, read safely.
//!
//! The weights are taken out of their blocks when they are read, and our decoder computes with them: so a
//! quantised model samples, follows a grammar and learns as any other does, at the memory of an
//! unquantised one.
//!
//! **Invariant:** an open [`GgufFile`] has every tensor its metadata asks for and no other, once, at the
//! right shape, inside the file. Only the numbers are still unread.
//! **Invariant:** what a file claims costs no memory; nothing that would change a number is skipped.

mod error;
mod header;
mod keys;
mod kind;
mod names;
mod pieces;
mod pre;
mod rotary;
mod shape;
mod source;
mod specials;
mod text;
mod tokenizer;
mod value;
mod weights;

pub use error::GgufError;
pub use text::TextFiles;

use crate::decoder::{Decoder, DecoderConfig, parameters};
use crate::digest::{NamedFile, named_digest};
use crate::error::{ModelError, Result};
use candle_core::{DType, Device, Tensor};
use header::{Header, Place};
use keys::Keys;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use weights::Numbers;

/// Name under which the file stands in its digest, whatever it is called.
const DIGESTED: &str = "model.gguf";

/// A GGUF file whose every claim but its numbers is checked.
pub struct GgufFile {
    path: PathBuf,
    file: File,
    header: Header,
    config: DecoderConfig,
}

/// True if a path is named as a GGUF file is.
#[must_use]
pub fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

/// SHA-256 that names the model in a GGUF file: of the file and, where a folder with a tokenizer is
/// given, of the files in it that decide what texts become.
///
/// Hashed as [`crate::folder_digest`] hashes a folder, the file as `model.gguf` and those of the folder
/// as `tokenizer/NAME`.
///
/// # Errors
/// A file that cannot be read; a folder without `tokenizer.json`.
pub fn gguf_digest(file: &Path, tokenizer: Option<&Path>) -> Result<[u8; 32]> {
    let mut named = vec![NamedFile { name: DIGESTED.to_owned(), path: file.to_path_buf() }];
    for name in tokenizer.map(text::files_of).transpose()?.unwrap_or_default() {
        let path = tokenizer.unwrap_or(Path::new("")).join(&name);
        named.push(NamedFile { name: format!("tokenizer/{name}"), path });
    }
    named_digest(named)
}

impl GgufFile {
    /// Reads the header of a file. No weight is read.
    ///
    /// # Errors
    /// [`ModelError::Gguf`] with the reason for everything that is not one sound GGUF file of a
    /// supported architecture.
    pub fn open(path: &Path) -> Result<Self> {
        let refuse = |reason| ModelError::Gguf { path: path.to_path_buf(), reason };
        let failed = |source| ModelError::File { path: path.to_path_buf(), source };
        // Asked before opening: opening a pipe would wait for its other end.
        let about = match fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(refuse(GgufError::NoFile));
            }
            other => other.map_err(failed)?,
        };
        if !about.is_file() {
            return Err(refuse(GgufError::NoRegularFile));
        }
        let file = File::open(path).map_err(failed)?;
        let header = Header::read(BufReader::new(&file), about.len()).map_err(refuse)?;
        let config = shape::read(&header).map_err(refuse)?;
        let mut opened = Self { path: path.to_path_buf(), file, header, config };
        opened.check().map_err(refuse)?;
        opened.stretch()?;
        Ok(opened)
    }

    /// The shape of the decoder.
    #[must_use]
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// The same with other tokens that end a text: those of a tokenizer that is given beside it.
    #[must_use]
    pub fn ending_with(mut self, ends: &[u32]) -> Self {
        self.config.eos_token_ids = ends.to_vec();
        self
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the tensors by the type they are stored as, as they lie on disk.
    #[must_use]
    pub fn stored_bytes(&self) -> BTreeMap<&'static str, u64> {
        let mut by_kind = BTreeMap::new();
        for place in self.header.tensors.values() {
            *by_kind.entry(place.kind.name).or_default() += place.bytes;
        }
        by_kind
    }

    /// What the file says of texts: tokenizer, special tokens, chat template.
    ///
    /// # Errors
    /// [`GgufError::Tokenizer`] for a tokenizer that is not made from metadata; a damaged one.
    pub fn texts(&self) -> Result<TextFiles> {
        TextFiles::of(&self.path, Keys(&self.header.metadata), &self.config)
    }

    /// The decoder on `device`: f32 and the exact engine on the CPU, bf16 elsewhere.
    ///
    /// # Errors
    /// A weight that is no number, a file that changed meanwhile, a device without the memory.
    pub fn decoder(&self, device: &Device) -> Result<Decoder> {
        let dtype = if device.is_cpu() { DType::F32 } else { DType::BF16 };
        Decoder::from_read(self.config.clone(), &self.read(dtype, device)?, &self.path, device)
    }

    fn read(&self, dtype: DType, device: &Device) -> Result<BTreeMap<String, Tensor>> {
        let numbers = self.numbers();
        let read = |(name, _): (String, Vec<usize>)| {
            let (stored, place) = self.place(&name).map_err(|reason| self.refusal(reason))?;
            let dtype = if place.shape.len() == 2 { dtype } else { DType::F32 };
            let tensor = numbers.tensor(&name, &stored, place, dtype, device)?;
            Ok((name, tensor))
        };
        let wanted = parameters(&self.config);
        if device.is_cpu() {
            wanted.into_par_iter().map(read).collect()
        } else {
            // One at a time: between disk and device lies never more than one tensor.
            wanted.into_iter().map(read).collect()
        }
    }

    fn numbers(&self) -> Numbers<'_> {
        let name = self.header.metadata.get("general.architecture");
        let turned = name == Some(&value::Value::Text("llama".to_owned()));
        Numbers { file: &self.file, path: &self.path, config: &self.config, turned }
    }

    fn refusal(&self, reason: GgufError) -> ModelError {
        ModelError::Gguf { path: self.path.clone(), reason }
    }

    fn place(&self, hugging_face: &str) -> std::result::Result<(String, &Place), GgufError> {
        let name = names::of(hugging_face).unwrap_or_else(|| hugging_face.to_owned());
        match self.header.tensors.get(&name) {
            Some(place) => Ok((name, place)),
            None => Err(GgufError::MissingTensor(name)),
        }
    }

    /// Every tensor that the shape asks for is there, of its shape, and none besides.
    fn check(&self) -> std::result::Result<(), GgufError> {
        let mut wanted = BTreeSet::from([rotary::DIVISORS.to_owned()]);
        for (hugging_face, expected) in parameters(&self.config) {
            let (name, place) = self.place(&hugging_face)?;
            if place.shape != expected {
                let problem = format!("is {:?}, the metadata asks for {expected:?}", place.shape);
                return Err(GgufError::Tensor { name, problem });
            }
            wanted.insert(name);
        }
        match self.header.tensors.keys().find(|name| !wanted.contains(*name)) {
            Some(unknown) => Err(GgufError::UnknownTensor(unknown.clone())),
            None => Ok(()),
        }
    }

    /// Reads what Llama 3 leaves in a tensor of its own.
    fn stretch(&mut self) -> Result<()> {
        let Some(place) = self.header.tensors.get(rotary::DIVISORS) else { return Ok(()) };
        let (config, wrong) = (&self.config, |problem: &str| {
            let (name, problem) = (rotary::DIVISORS.to_owned(), problem.to_owned());
            self.refusal(GgufError::Tensor { name, problem })
        });
        if place.shape != [config.head_dim / 2] {
            return Err(wrong("has another shape than half a head"));
        }
        let divisors = self.numbers().floats(rotary::DIVISORS, place)?;
        let found = rotary::llama3(&divisors, config.head_dim, config.rope_theta);
        let Some(scaling) = found.map_err(|reason| self.refusal(reason))? else { return Ok(()) };
        if config.rope_scaling != crate::ops::rope::RopeScaling::None {
            return Err(wrong("stretches frequencies that `rope.scaling` stretches too"));
        }
        self.config.rope_scaling = scaling;
        Ok(())
    }
}

/// A text of a file, cut and without control characters, for messages.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    if text.chars().nth(80).is_some() {
        shown.push('…');
    }
    shown
}
