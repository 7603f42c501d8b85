//! An unfinished run in one file, so that a killed one goes on from there.
//!
//! Safetensors: `parameters`, AdamW's `first` and `second` mean, the `losses` so far; in the
//! metadata the format, the fingerprint of the run and a digest over all of it. The order of
//! minibatches is not stored: the seed and the number of steps fix it.
//!
//! **Invariant:** a file is used only if its digest holds and its fingerprint is that of this run;
//! it is replaced as a whole or not at all. Reading allocates no more than the run itself needs.

use crate::adamw::AdamW;
use safetensors::tensor::{Dtype, SafeTensors, View};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Deref;
use std::path::{Path, PathBuf};

const FORMAT: &str = "seal-training-run/1";
/// Largest header of a file that this module wrote, in bytes.
const MAX_HEADER: usize = 1 << 20;
/// Bytes that give the length of the header.
const LENGTH: usize = 8;
const FIRST: &str = "first";
const SECOND: &str = "second";
const LOSSES: &str = "losses";

/// Numbers are written as they lie in memory.
const _: () = assert!(cfg!(target_endian = "little"), "safetensors files are little-endian");

/// Why an unfinished run could not be kept, or not be taken up.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The system refused.
    #[error("unfinished run `{}`: {source}; check free space and permissions", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not as it was written.
    #[error("unfinished run `{}` is damaged: {problem}; the run begins anew", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The file is about something else.
    #[error(
        "unfinished run `{}` was of another base, recipe, seed, data or build; the run begins anew",
        path.display()
    )]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
}

/// The state between two steps.
#[derive(Debug)]
pub(crate) struct RunState {
    /// One for each name given to [`SaveFile::read`].
    pub(crate) parameters: Vec<Vec<f32>>,
    pub(crate) optimizer: AdamW,
    /// Of every step done, in nats.
    pub(crate) losses: Vec<f32>,
}

/// Name and length of each parameter tensor of a run.
pub(crate) type Shapes = [(String, usize)];

/// The file of one run.
#[derive(Clone, Debug)]
pub(crate) struct SaveFile {
    path: PathBuf,
    /// Of everything that fixes the run, in hex.
    fingerprint: String,
}

impl SaveFile {
    /// `parts` are everything that fixes the run.
    pub(crate) fn new(path: &Path, parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        hash.update(FORMAT);
        for part in parts.iter().chain([&env!("CARGO_PKG_VERSION").as_bytes()]) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self { path: path.to_path_buf(), fingerprint: hex(&hash.finalize()) }
    }

    /// Replaces the file: written beside it, synced, renamed.
    ///
    /// # Errors
    /// Any refusal of the system; the file then still holds what it held before.
    pub(crate) fn write<P: Deref<Target = [f32]>>(
        &self,
        parameters: &[(String, P)],
        optimizer: &AdamW,
        losses: &[f32],
    ) -> Result<(), SaveError> {
        let mut tensors: Vec<(&str, &[f32])> =
            parameters.iter().map(|(name, values)| (name.as_str(), &**values)).collect();
        tensors.extend([
            (FIRST, &*optimizer.first),
            (SECOND, &*optimizer.second),
            (LOSSES, losses),
        ]);
        tensors.sort_unstable_by_key(|(name, _)| *name);
        let metadata = HashMap::from([
            ("format".to_owned(), FORMAT.to_owned()),
            ("fingerprint".to_owned(), self.fingerprint.clone()),
            (
                "sha256".to_owned(),
                digest(&self.fingerprint, tensors.iter().map(|(n, v)| (*n, bytes(v)))),
            ),
        ]);
        let views = tensors.iter().map(|(name, values)| (*name, Floats(values, [values.len()])));
        let temp = self.path.with_extension("part");
        let written = safetensors::serialize_to_file(views, Some(metadata), &temp)
            .map_err(|error| io::Error::other(error.to_string()))
            .and_then(|()| File::open(&temp)?.sync_all())
            .and_then(|()| fs::rename(&temp, &self.path))
            .and_then(|()| sync_folder(&self.path));
        written.map_err(|source| self.io(source))
    }

    /// The state at the last save of a run of `steps` steps over parameters of `shapes`; `None` if
    /// there is no file.
    ///
    /// # Errors
    /// A file that is damaged, or about another run.
    pub(crate) fn read(&self, shapes: &Shapes, steps: u64) -> Result<Option<RunState>, SaveError> {
        let parameters: usize = shapes.iter().map(|(_, len)| len).sum();
        let steps = usize::try_from(steps).unwrap_or(usize::MAX);
        let most = LENGTH + MAX_HEADER + 4 * (3 * parameters + steps.min(parameters + (1 << 24)));
        match self.read_capped(most) {
            Ok(None) => Ok(None),
            Ok(Some(bytes)) => self.parse(&bytes, shapes, steps).map(Some),
            Err(error) => Err(error),
        }
    }

    fn read_capped(&self, most: usize) -> Result<Option<Vec<u8>>, SaveError> {
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|source| self.io(source))?,
        };
        let mut bytes = Vec::new();
        let read = file.take(most as u64 + 1).read_to_end(&mut bytes);
        read.map_err(|source| self.io(source))?;
        match bytes.len() > most {
            true => Err(self.damaged("it is longer than this run can be")),
            false => Ok(Some(bytes)),
        }
    }

    fn parse(&self, file: &[u8], shapes: &Shapes, steps: usize) -> Result<RunState, SaveError> {
        let header = file.first_chunk::<LENGTH>().map(|length| u64::from_le_bytes(*length));
        if header.is_none_or(|length| length > MAX_HEADER as u64) {
            return Err(self.damaged("its header is cut off or too long"));
        }
        let unreadable = |error: safetensors::SafeTensorError| self.damaged(&error.to_string());
        let (_, metadata) = SafeTensors::read_metadata(file).map_err(unreadable)?;
        let tensors = SafeTensors::deserialize(file).map_err(unreadable)?;
        let said = |key: &str| metadata.metadata().as_ref()?.get(key).map(String::as_str);
        if said("format") != Some(FORMAT) {
            return Err(self.damaged("its metadata names no format that this build reads"));
        }
        if said("fingerprint") != Some(&self.fingerprint) {
            return Err(SaveError::Foreign { path: self.path.clone() });
        }
        let mut all = tensors.tensors();
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let held = digest(&self.fingerprint, all.iter().map(|(name, t)| (name.as_str(), t.data())));
        if said("sha256") != Some(&held) {
            return Err(self.damaged("its digest does not hold"));
        }
        if tensors.len() != shapes.len() + 3 {
            return Err(self.damaged("it holds other tensors than it should"));
        }
        let numbers = |name: &str| -> Result<Vec<f32>, SaveError> {
            let tensor = tensors.tensor(name).map_err(unreadable)?;
            match tensor.dtype() == Dtype::F32 && tensor.shape().len() == 1 {
                true => Ok(floats(tensor.data())),
                false => Err(self.damaged(&format!("`{name}` is no list of f32"))),
            }
        };
        let sized = |name: &str, len: usize| match numbers(name)? {
            right if right.len() == len => Ok(right),
            wrong => Err(self.damaged(&format!("`{name}` has {} numbers, not {len}", wrong.len()))),
        };
        let losses = numbers(LOSSES)?;
        if losses.is_empty() || losses.len() >= steps {
            return Err(self.damaged("it was saved before the first step or after the last one"));
        }
        let parameters: usize = shapes.iter().map(|(_, len)| len).sum();
        Ok(RunState {
            parameters: shapes
                .iter()
                .map(|(name, len)| sized(name, *len))
                .collect::<Result<_, _>>()?,
            optimizer: AdamW {
                first: sized(FIRST, parameters)?,
                second: sized(SECOND, parameters)?,
                steps: losses.len() as u64,
            },
            losses,
        })
    }

    fn io(&self, source: io::Error) -> SaveError {
        SaveError::Io { path: self.path.clone(), source }
    }

    fn damaged(&self, problem: &str) -> SaveError {
        SaveError::Damaged { path: self.path.clone(), problem: problem.to_owned() }
    }
}

/// Makes the rename survive a power cut.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// SHA-256 over the fingerprint and the tensors in the order of their names, in hex.
fn digest<'a>(fingerprint: &str, tensors: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut hash = Sha256::new();
    hash.update(fingerprint);
    for (name, bytes) in tensors {
        for part in [name.as_bytes(), bytes] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(values: &[f32]) -> &[u8] {
    bytemuck::cast_slice(values)
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (chunks, _) = bytes.as_chunks::<4>();
    chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()
}

/// Numbers as safetensors writes them, without a copy.
struct Floats<'a>(&'a [f32], [usize; 1]);

impl View for Floats<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.1
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(bytes(self.0))
    }

    fn data_len(&self) -> usize {
        size_of_val(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &tempfile::TempDir, about: &[u8]) -> SaveFile {
        SaveFile::new(&folder.path().join("run"), &[about])
    }

    fn shapes() -> Vec<(String, usize)> {
        vec![("a.weight".to_owned(), 3), ("b.weight".to_owned(), 2)]
    }

    fn saved() -> (tempfile::TempDir, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let optimizer =
            AdamW { first: vec![0.1; 5], second: vec![0.2, 0.3, 0.4, 0.5, 0.6], steps: 2 };
        let parameters =
            [("a.weight".to_owned(), &[1.0, 2.0, 3.0][..]), ("b.weight".to_owned(), &[4.0, 5.0])];
        file(&folder, b"run").write(&parameters, &optimizer, &[7.0, 6.5]).unwrap();
        let bytes = std::fs::read(folder.path().join("run")).unwrap();
        (folder, bytes)
    }

    /// What reading `bytes` as the file of `saved` gives.
    fn read(folder: &tempfile::TempDir, bytes: &[u8]) -> Result<Option<RunState>, SaveError> {
        std::fs::write(folder.path().join("run"), bytes).unwrap();
        file(folder, b"run").read(&shapes(), 9)
    }

    #[test]
    fn what_was_written_is_read() {
        let (folder, bytes) = saved();
        let state = read(&folder, &bytes).unwrap().unwrap();
        assert_eq!(state.parameters, [vec![1.0, 2.0, 3.0], vec![4.0, 5.0]]);
        assert_eq!(state.optimizer.second, [0.2, 0.3, 0.4, 0.5, 0.6]);
        assert_eq!((state.optimizer.steps, state.losses), (2, vec![7.0, 6.5]));
        std::fs::remove_file(folder.path().join("run")).unwrap();
        assert!(file(&folder, b"run").read(&shapes(), 9).unwrap().is_none());
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_refused() {
        let (folder, bytes) = saved();
        let file = file(&folder, b"run");
        let parse = |bytes: &[u8]| file.parse(bytes, &shapes(), 9);
        for at in 0..bytes.len() {
            for bit in [0, 3, 7] {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert!(parse(&flipped).is_err(), "byte {at}, bit {bit}");
            }
            assert!(parse(&bytes[..at]).is_err(), "cut at {at}");
        }
        assert!(parse(&[&bytes[..], b"x"].concat()).is_err());
        assert!(parse(&bytes).is_ok());
    }

    #[test]
    fn a_header_that_claims_the_earth_and_a_file_beyond_the_run_are_refused_unread() {
        let (folder, bytes) = saved();
        let bomb = [&u64::MAX.to_le_bytes()[..], &bytes[8..]].concat();
        assert!(matches!(read(&folder, &bomb), Err(SaveError::Damaged { .. })));
        let endless = vec![b' '; 4 << 20];
        let error = read(&folder, &endless).unwrap_err().to_string();
        assert!(error.contains("longer than this run can be"), "{error}");
    }

    #[test]
    fn a_save_of_another_run_or_shape_is_refused() {
        let (folder, _) = saved();
        let other = file(&folder, b"other").read(&shapes(), 9);
        assert!(matches!(other, Err(SaveError::Foreign { .. })));
        let narrow = [("a.weight".to_owned(), 5)];
        assert!(file(&folder, b"run").read(&narrow, 9).is_err());
        assert!(file(&folder, b"run").read(&shapes(), 2).is_err(), "after the last step");
    }
}
