//! One safetensors file: opened, its header checked, its tensors read where they lie.
//!
//! **Invariant:** a tensor is read in pieces straight into its final numbers, so a model never lies
//! in memory twice. **Invariant:** a number that is none is refused by its tensor's name.

use super::convert::{append_f32, has_non_finite, is_float};
use super::header::{Header, HeaderError, LENGTH_BYTES, Limits, TensorInfo};
use super::refusal::Refusal;
use crate::error::{ModelError, Result};
use candle_core::{DType, Device, Tensor};
use safetensors::Dtype;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Far above the header of any dense decoder: one entry takes about 100 bytes.
const LIMITS: Limits = Limits { header_bytes: 8 << 20, tensors: 16_384 };
/// Bytes read at a time.
const PIECE: usize = 1 << 20;

/// An open weight file.
pub(super) struct WeightFile {
    path: PathBuf,
    file: File,
    tensors: BTreeMap<String, TensorInfo>,
}

impl WeightFile {
    /// Opens `path` and reads its header.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let (file, _, header) = open_with_header(path, LIMITS)?;
        Ok(Self { path: path.to_path_buf(), file, tensors: header.tensors })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// The numbers of one tensor as `dtype` on `device`.
    pub(super) fn read(
        &self,
        name: &str,
        info: &TensorInfo,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let shape = info.shape.as_slice();
        if dtype != DType::F32 && stored(info.dtype) == Some(dtype) {
            let mut bytes = vec![0; usize::try_from(info.bytes).unwrap_or(usize::MAX)];
            for (piece, at) in bytes.chunks_mut(PIECE).zip((info.start..).step_by(PIECE)) {
                self.read_piece(name, info.dtype, piece, at)?;
            }
            return Ok(Tensor::from_raw_buffer(&bytes, dtype, shape, device)?);
        }
        let mut floats = Vec::with_capacity(info.elements());
        let mut buffer = vec![0; PIECE.min(usize::try_from(info.bytes).unwrap_or(PIECE))];
        let mut at = info.start;
        let end = info.start + info.bytes;
        while at < end {
            let piece = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
            self.read_piece(name, info.dtype, &mut buffer[..piece], at)?;
            append_f32(info.dtype, &buffer[..piece], &mut floats);
            at += piece as u64;
        }
        let tensor = Tensor::from_vec(floats, shape, &Device::Cpu)?;
        Ok(tensor.to_dtype(dtype)?.to_device(device)?)
    }

    fn read_piece(&self, name: &str, dtype: Dtype, piece: &mut [u8], at: u64) -> Result<()> {
        let failed = |source| ModelError::File { path: self.path.clone(), source };
        self.file.read_exact_at(piece, at).map_err(failed)?;
        if has_non_finite(dtype, piece) {
            let reason = Refusal::NotFinite(name.to_owned());
            return Err(ModelError::Refused { path: self.path.clone(), reason });
        }
        Ok(())
    }
}

/// Opens a safetensors file and reads its header; also gives the file's length in bytes.
///
/// # Errors
/// A file that cannot be read, is none, or has a header that is not sound.
pub(crate) fn open_with_header(path: &Path, limits: Limits) -> Result<(File, u64, Header)> {
    let refuse = |reason| ModelError::Refused { path: path.to_path_buf(), reason };
    let failed = |source| ModelError::File { path: path.to_path_buf(), source };
    // Asked before opening: opening a pipe would wait for its other end.
    let about = fs::metadata(path).map_err(failed)?;
    if !about.is_file() {
        return Err(refuse(Refusal::NoRegularFile));
    }
    let file = File::open(path).map_err(failed)?;
    let mut first = [0; 32];
    let read = read_up_to(&file, &mut first).map_err(failed)?;
    let text_length = text_length(&first[..read], about.len(), limits).map_err(refuse)?;
    let mut text = vec![0; text_length];
    file.read_exact_at(&mut text, LENGTH_BYTES).map_err(failed)?;
    let header = Header::parse(&text, about.len(), limits).map_err(|error| refuse(error.into()))?;
    Ok((file, about.len(), header))
}

/// The header of a safetensors file that is in memory.
///
/// # Errors
/// Bytes of another kind, or a header that is not sound.
pub(crate) fn header_of_bytes(file: &[u8], limits: Limits) -> Result<Header, Refusal> {
    let bytes = file.len() as u64;
    let length = text_length(file, bytes, limits)?;
    Ok(Header::parse(&file[LENGTH_BYTES as usize..][..length], bytes, limits)?)
}

/// The whole file, if it is still `bytes` long.
///
/// # Errors
/// A file that cannot be read, or has become shorter.
pub(crate) fn read_whole(path: &Path, file: &File, bytes: u64) -> Result<Vec<u8>> {
    let mut whole = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut whole, 0)
        .map_err(|source| ModelError::File { path: path.to_path_buf(), source })?;
    Ok(whole)
}

/// The length of the header's text, by the first bytes of a file.
fn text_length(first: &[u8], file_bytes: u64, limits: Limits) -> Result<usize, Refusal> {
    if let Some(reason) = is_something_else(first) {
        return Err(reason);
    }
    let length = first.first_chunk().ok_or(HeaderError::TooShort(file_bytes))?;
    Ok(Header::text_length(*length, file_bytes, limits)?)
}

/// The tensor library's name of a stored dtype.
fn stored(dtype: Dtype) -> Option<DType> {
    match dtype {
        _ if !is_float(dtype) => None,
        Dtype::F32 => Some(DType::F32),
        Dtype::F16 => Some(DType::F16),
        _ => Some(DType::BF16),
    }
}

fn read_up_to(file: &File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

/// Recognises what often lies under a `.safetensors` name and would else read as an absurd length.
fn is_something_else(first: &[u8]) -> Option<Refusal> {
    const ZIP: &[u8] = b"PK\x03\x04";
    let pickle = matches!(first, [0x80, 2..=5, ..]);
    match first {
        // A header begins with its JSON, and its length may begin with any byte.
        [_, _, _, _, _, _, _, _, b'{', ..] => None,
        _ if super::is_lfs_pointer(first) => Some(Refusal::LfsPointer),
        _ if pickle || first.starts_with(ZIP) => Some(Refusal::Pickle),
        _ if first.starts_with(b"GGUF") => Some(Refusal::Gguf),
        _ => None,
    }
}
