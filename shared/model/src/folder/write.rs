//! Safetensors files of f32 tensors, one tensor in memory at a time.
//!
//! **Invariant:** the same tensors and notes give the same bytes, in name order.

use crate::error::{ModelError, Result};
use candle_core::{DType, Tensor};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// The header is padded with spaces to a multiple of this.
const ALIGNMENT: usize = 8;
/// Numbers turned into bytes at a time.
const PIECE: usize = 1 << 16;

/// Notes in the file's header.
pub(crate) type Metadata<'a> = BTreeMap<&'a str, &'a str>;

/// Writes a whole safetensors file.
///
/// # Errors
/// Tensors that are no floats, a writer that fails.
pub(crate) fn write_f32(
    out: &mut impl Write,
    tensors: &BTreeMap<String, Tensor>,
    metadata: &Metadata<'_>,
) -> Result<(), WriteError> {
    let header = header(tensors, metadata);
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    for tensor in tensors.values() {
        let data = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        for piece in data.chunks(PIECE) {
            let bytes: Vec<u8> = piece.iter().flat_map(|x| x.to_le_bytes()).collect();
            out.write_all(&bytes)?;
        }
    }
    Ok(out.flush()?)
}

/// [`write_f32`] into memory.
pub(crate) fn f32_bytes(
    tensors: &BTreeMap<String, Tensor>,
    metadata: &Metadata<'_>,
) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    write_f32(&mut bytes, tensors, metadata).map_err(|error| match error {
        WriteError::Tensor(error) => ModelError::Tensor(error),
        WriteError::Io(error) => ModelError::Input(error.to_string()),
    })?;
    Ok(bytes)
}

/// Why a file was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn header(tensors: &BTreeMap<String, Tensor>, metadata: &Metadata<'_>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Entry<'a> {
        dtype: &'static str,
        shape: &'a [usize],
        data_offsets: (usize, usize),
    }
    let mut end = 0;
    let mut entries: Vec<String> = Vec::with_capacity(tensors.len() + 1);
    if !metadata.is_empty() {
        entries.push(format!("\"__metadata__\":{}", json(metadata)));
    }
    for (name, tensor) in tensors {
        let start = end;
        end += tensor.elem_count() * DType::F32.size_in_bytes();
        let entry = Entry { dtype: "F32", shape: tensor.dims(), data_offsets: (start, end) };
        entries.push(format!("{}:{}", json(name), json(&entry)));
    }
    let mut header = format!("{{{}}}", entries.join(",")).into_bytes();
    header.resize(header.len().next_multiple_of(ALIGNMENT), b' ');
    header
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts and numbers always have a JSON form")
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use safetensors::{Dtype, tensor::TensorView};

    fn tensors() -> BTreeMap<String, Tensor> {
        let tensor = |data: &[f32], shape: &[usize]| Tensor::from_slice(data, shape, &Device::Cpu);
        BTreeMap::from([
            ("b\"ü".to_owned(), tensor(&[1.0, -2.5, f32::MIN_POSITIVE], &[3, 1]).unwrap()),
            ("a".to_owned(), tensor(&[0.0], &[1]).unwrap()),
            ("c.d".to_owned(), tensor(&[3.0; 4], &[2, 2]).unwrap()),
        ])
    }

    #[test]
    fn our_files_are_those_of_the_safetensors_library_byte_for_byte() {
        let tensors = tensors();
        let bytes: Vec<Vec<u8>> = tensors
            .values()
            .map(|t| t.flatten_all().unwrap().to_vec1::<f32>().unwrap())
            .map(|data| data.iter().flat_map(|x| x.to_le_bytes()).collect())
            .collect();
        let views = tensors.iter().zip(&bytes).map(|((name, tensor), bytes)| {
            (name, TensorView::new(Dtype::F32, tensor.dims().to_vec(), bytes).unwrap())
        });
        let theirs = safetensors::serialize(views, None).unwrap();
        assert_eq!(f32_bytes(&tensors, &Metadata::new()).unwrap(), theirs);
    }

    #[test]
    fn notes_are_read_back_by_the_safetensors_library() {
        let notes = Metadata::from([("format", "pt"), ("x", "\"1\"")]);
        let bytes = f32_bytes(&tensors(), &notes).unwrap();
        let (_, read) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let read = read.metadata().as_ref().unwrap();
        assert_eq!((read["format"].as_str(), read["x"].as_str()), ("pt", "\"1\""));
        assert_eq!(bytes, f32_bytes(&tensors(), &notes).unwrap());
    }
}
