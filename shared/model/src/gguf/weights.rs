//! The numbers of a GGUF file: read in pieces, taken out of their blocks, in Hugging Face's order.
//!
//! **Invariant:** a weight is the number that its block stands for, in f32; nothing is computed on
//! quantised activations. **Invariant:** a tensor lies in memory once, and beside it one piece of the
//! file for each thread.

use super::error::GgufError;
use super::header::Place;
use super::names::{is_turned, turn_back};
use crate::decoder::DecoderConfig;
use crate::error::{ModelError, Result};
use candle_core::quantized::{QStorage, QTensor};
use candle_core::{DType, Device, Tensor};
use std::borrow::Cow;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Blocks read at a time.
const BLOCKS: u64 = 4096;
/// Where the tensor library wants blocks to lie: a multiple of what any of its types asks for.
const ALIGNED: usize = 16;

/// An open file's numbers.
pub(super) struct Numbers<'a> {
    pub(super) file: &'a File,
    pub(super) path: &'a Path,
    pub(super) config: &'a DecoderConfig,
    /// Whether the rows of heads lie in the order of llama.cpp.
    pub(super) turned: bool,
}

impl Numbers<'_> {
    /// One tensor as `dtype` on `device`; `hugging_face` is its name there, `name` here.
    pub(super) fn tensor(
        &self,
        hugging_face: &str,
        name: &str,
        place: &Place,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let mut floats = self.floats(name, place)?;
        if self.turned && is_turned(hugging_face) {
            let width = place.shape.get(1).copied().unwrap_or(1);
            floats = turn_back(&floats, self.config.head_dim, width);
        }
        let tensor = Tensor::from_vec(floats, place.shape.as_slice(), &Device::Cpu)?;
        Ok(tensor.to_dtype(dtype)?.to_device(device)?)
    }

    /// The numbers of one tensor, as they lie.
    pub(super) fn floats(&self, name: &str, place: &Place) -> Result<Vec<f32>> {
        let mut floats = Vec::with_capacity(place.shape.iter().product());
        let piece = BLOCKS * place.kind.block_bytes();
        let mut buffer = vec![0; usize::try_from(piece.min(place.bytes)).unwrap_or(0) + ALIGNED];
        let begin = buffer.as_ptr().align_offset(ALIGNED).min(ALIGNED);
        let (mut at, end) = (place.start, place.start + place.bytes);
        while at < end {
            let length = usize::try_from(piece.min(end - at)).unwrap_or(0);
            let bytes = &mut buffer[begin..begin + length];
            let failed = |source| ModelError::File { path: self.path.to_path_buf(), source };
            self.file.read_exact_at(bytes, at).map_err(failed)?;
            let read = blocks(bytes, place)?;
            if read.iter().any(|number| !number.is_finite()) {
                let reason = GgufError::NotFinite(name.to_owned());
                return Err(ModelError::Gguf { path: self.path.to_path_buf(), reason });
            }
            floats.extend(read);
            at += length as u64;
        }
        Ok(floats)
    }
}

/// The numbers of whole blocks.
fn blocks(bytes: &[u8], place: &Place) -> Result<Vec<f32>> {
    let dtype = place.kind.dtype;
    let numbers = bytes.len() / dtype.type_size() * dtype.block_size();
    let stored = QStorage::from_data(Cow::Borrowed(bytes), &Device::Cpu, dtype)?;
    Ok(QTensor::new(stored, numbers)?.dequantize(&Device::Cpu)?.to_vec1()?)
}
