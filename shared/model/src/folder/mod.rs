//! Hugging Face model folders, read safely: `config.json`, `generation_config.json` and safetensors,
//! nothing else.
//!
//! **Invariant:** an open [`ModelFolder`] has every tensor its config asks for, once, at the right
//! shape, as floats, inside files that are as long as they say. Only the numbers are still unread.
//! **Invariant:** what a folder claims costs no memory and runs no code; pickles are never opened.
//! Absent: the tokenizer and its templates (`chat`).

mod convert;
mod generation;
mod header;
mod index;
mod kind;
mod refusal;
mod weight_file;
mod write;

pub(crate) use convert::{append_f32, has_non_finite, is_float};
pub use generation::GenerationConfig;
pub use header::HeaderError;
pub(crate) use header::{Header, Limits, TensorInfo};
pub use refusal::Refusal;
pub(crate) use weight_file::{header_of_bytes, open_with_header, read_whole};
pub(crate) use write::{Metadata, WriteError, f32_bytes, write_f32};

use crate::chat::folder::MORE_TEMPLATES;
use crate::decoder::{DecoderConfig, parameters};
use crate::error::{ModelError, Result};
use candle_core::{DType, Device, Tensor};
use index::Index;
use kind::Kind;
use rayon::prelude::*;
use safetensors::Dtype;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use weight_file::WeightFile;

/// Name of the config.
const CONFIG: &str = "config.json";
/// Longest `config.json`, in bytes.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// A model folder whose every claim but its numbers is checked.
pub struct ModelFolder {
    dir: PathBuf,
    config: DecoderConfig,
    files: Vec<WeightFile>,
    /// File by tensor, the needed ones and the others.
    file_of: BTreeMap<String, usize>,
}

impl ModelFolder {
    /// Reads `config.json` and the headers of the weight files. No weight is read.
    ///
    /// # Errors
    /// [`ModelError::Refused`] with the file and the reason for everything that is not a sound,
    /// unquantised safetensors folder of a supported family.
    pub fn open(dir: &Path) -> Result<Self> {
        let refuse = |(path, reason)| ModelError::Refused { path, reason };
        if !dir.is_dir() {
            return Err(refuse((dir.to_path_buf(), kind::of_file(dir))));
        }
        let names = file_names(dir)?;
        if !names.iter().any(|name| name == CONFIG) {
            return Err(refuse(kind::without_config(dir, &names)));
        }
        let mut config = read_config(dir)?;
        // Whoever tunes a model to chat adds its end-of-turn token here, and not in config.json.
        let ends = GenerationConfig::load(dir)?.and_then(|generation| generation.eos_token_ids);
        config.eos_token_ids = ends.unwrap_or(config.eos_token_ids);
        let kind = kind::weights(dir, &names).map_err(refuse)?;
        let (files, file_of) = match kind {
            Kind::Single => single(&dir.join(kind::SINGLE))?,
            Kind::Sharded => sharded(dir)?,
        };
        let folder = Self { dir: dir.to_path_buf(), config, files, file_of };
        folder.check()?;
        Ok(folder)
    }

    /// The shape of the decoder.
    #[must_use]
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Where the folder is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Number of weight files.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.files.len()
    }

    /// Bytes of the tensors that the decoder needs, by stored dtype, as they lie on disk.
    #[must_use]
    pub fn stored_bytes(&self) -> BTreeMap<String, u64> {
        let mut by_dtype = BTreeMap::new();
        for (name, _) in parameters(&self.config) {
            if let Some((_, info)) = self.find(&name) {
                *by_dtype.entry(info.dtype.to_string()).or_default() += info.bytes;
            }
        }
        by_dtype
    }

    /// Tensors of the files that the decoder does not use.
    #[must_use]
    pub fn unused_tensors(&self) -> Vec<&str> {
        let needed: BTreeMap<String, Vec<usize>> = parameters(&self.config).into_iter().collect();
        let unused = self.file_of.keys().filter(|name| !needed.contains_key(*name));
        unused.map(String::as_str).collect()
    }

    /// Reads every tensor of the decoder onto `device`: matrices as `dtype`, gains and biases, which
    /// are few, as f32.
    ///
    /// # Errors
    /// A file that changed meanwhile, a weight that is NaN or infinite, a device without the memory.
    pub fn read(&self, dtype: DType, device: &Device) -> Result<BTreeMap<String, Tensor>> {
        let wanted = parameters(&self.config);
        let read = |(name, _): (String, Vec<usize>)| {
            let (file, info) = self.needed(&name)?;
            let dtype = if info.shape.len() == 2 { dtype } else { DType::F32 };
            let tensor = file.read(&name, info, dtype, device)?;
            Ok((name, tensor))
        };
        if device.is_cpu() {
            wanted.into_par_iter().map(read).collect()
        } else {
            // One at a time: between disk and device lies never more than one tensor.
            wanted.into_iter().map(read).collect()
        }
    }

    fn find(&self, name: &str) -> Option<(&WeightFile, &TensorInfo)> {
        let file = &self.files[*self.file_of.get(name)?];
        Some((file, file.tensors().get(name)?))
    }

    fn needed(&self, name: &str) -> Result<(&WeightFile, &TensorInfo)> {
        self.find(name).ok_or_else(|| {
            let reason = Refusal::MissingTensor(name.to_owned());
            ModelError::Refused { path: self.dir.clone(), reason }
        })
    }

    /// Every tensor that the config asks for is there, of its shape, and a float.
    fn check(&self) -> Result<()> {
        for (name, expected) in parameters(&self.config) {
            let (file, info) = self.needed(&name)?;
            let path = file.path().to_path_buf();
            if !is_float(info.dtype) {
                let reason = not_a_float(name, info.dtype);
                return Err(ModelError::Refused { path, reason });
            }
            if info.shape != expected {
                let reason = Refusal::Shape { name, found: info.shape.clone(), expected };
                return Err(ModelError::Refused { path, reason });
            }
        }
        Ok(())
    }
}

fn not_a_float(name: String, dtype: Dtype) -> Refusal {
    let dtype = dtype.to_string();
    match dtype.as_str() {
        "F64" | "C64" => Refusal::Dtype { name, dtype },
        _ => Refusal::QuantisedTensor { name, dtype },
    }
}

/// The files that links in `dir` lead to, as in the cache of the hub: who confines itself to a
/// folder must be allowed these too.
#[must_use]
pub fn linked_files(dir: &Path) -> Vec<PathBuf> {
    let folders = [dir.to_path_buf(), dir.join(MORE_TEMPLATES)];
    let entries = folders.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten().flatten();
    let links = entries.map(|entry| entry.path()).filter(|path| path.is_symlink());
    links.filter_map(|path| path.canonicalize().ok()).collect()
}

/// The commit of a folder in the hub's cache layout, `…/snapshots/COMMIT`.
#[must_use]
pub fn hub_revision(dir: &Path) -> Option<&str> {
    let commit = dir.file_name()?.to_str()?;
    let in_snapshots = dir.parent()?.file_name()? == "snapshots";
    let is_commit = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    (in_snapshots && is_commit).then_some(commit)
}

/// True if a file begins like a Git LFS pointer.
pub(crate) fn is_lfs_pointer(bytes: &[u8]) -> bool {
    bytes.starts_with(b"version https://git-lfs")
}

/// File names of a folder, sorted.
fn file_names(dir: &Path) -> Result<Vec<String>> {
    let failed = |source| ModelError::File { path: dir.to_path_buf(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        if let Ok(name) = entry.map_err(failed)?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Reads a small file, refusing a longer one even if it grows meanwhile.
pub(crate) fn read_small(path: &Path, max: u64) -> Result<Vec<u8>> {
    let failed = |source| ModelError::File { path: path.to_path_buf(), source };
    if !fs::metadata(path).map_err(failed)?.is_file() {
        let reason = Refusal::NoRegularFile;
        return Err(ModelError::Refused { path: path.to_path_buf(), reason });
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(max + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > max {
        let source =
            io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {max} bytes"));
        return Err(failed(source));
    }
    Ok(bytes)
}

/// The decoder that the `config.json` of a folder describes; weights need not be there yet.
///
/// # Errors
/// A config that is missing, damaged, or asks for what is not supported, by field.
pub fn read_config(dir: &Path) -> Result<DecoderConfig> {
    let path = &dir.join(CONFIG);
    let refuse = |reason| ModelError::Refused { path: path.clone(), reason };
    let text = read_small(path, MAX_CONFIG_BYTES)?;
    if is_lfs_pointer(&text) {
        return Err(refuse(Refusal::LfsPointer));
    }
    let broken =
        |e: serde_json::Error| ModelError::Config { path: path.clone(), problem: e.to_string() };
    serde_json::from_slice::<Value>(&text)
        .map_err(broken)
        .and_then(|value| kind::check_config(&value).map_err(refuse))?;
    DecoderConfig::parse(&text, path)
}

type Files = (Vec<WeightFile>, BTreeMap<String, usize>);

fn single(path: &Path) -> Result<Files> {
    let file = WeightFile::open(path)?;
    let file_of = file.tensors().keys().map(|name| (name.clone(), 0)).collect();
    Ok((vec![file], file_of))
}

/// Opens every shard and checks that index and shards say the same.
fn sharded(dir: &Path) -> Result<Files> {
    let path = dir.join(kind::INDEX);
    let refuse = |reason| ModelError::Refused { path: path.clone(), reason };
    let text = read_small(&path, index::MAX_INDEX_BYTES)?;
    if is_lfs_pointer(&text) {
        return Err(refuse(Refusal::LfsPointer));
    }
    let index = Index::parse(&text).map_err(refuse)?;
    let missing: Vec<&String> =
        index.shards.iter().filter(|shard| !dir.join(shard).exists()).collect();
    if let Some(&shard) = missing.first() {
        let (shard, missing, of) = (shard.clone(), missing.len(), index.shards.len());
        return Err(refuse(Refusal::MissingShard { shard, missing, of }));
    }
    let mut files = Vec::with_capacity(index.shards.len());
    let mut file_of = BTreeMap::new();
    for (number, shard) in index.shards.iter().enumerate() {
        let file = WeightFile::open(&dir.join(shard))?;
        // At once, so that many hostile shards cannot hold more names than the index has.
        for name in file.tensors().keys() {
            let tensor = name.clone();
            let reason = match file_of.insert(name.clone(), number) {
                Some(first) => Refusal::InTwoShards { tensor, other: index.shards[first].clone() },
                None if index.shard_of.get(name) != Some(shard) => Refusal::NotInIndex(tensor),
                None => continue,
            };
            return Err(ModelError::Refused { path: dir.join(shard), reason });
        }
        files.push(file);
    }
    if let Some((tensor, shard)) = index.shard_of.iter().find(|(t, _)| !file_of.contains_key(*t)) {
        let (tensor, shard) = (tensor.clone(), shard.clone());
        return Err(refuse(Refusal::NotInShard { tensor, shard }));
    }
    Ok((files, file_of))
}
