//! What the tensors of an adapter from elsewhere must satisfy before one of their numbers is used.
//!
//! **Invariant:** names, shapes, dtypes and sizes are decided by the base's config and the declared
//! rank alone; a file can neither add, drop nor repeat a tensor. Absent: pickle, and any format
//! but safetensors.

use super::error::AdapterError;
use super::peft::tensor_name;
use crate::decoder::DecoderConfig;
use crate::folder::{Header, Limits, TensorInfo, append_f32, has_non_finite, is_float};
use crate::lora::{Adapter, FactorShape, LoraSpec, factor_shapes};
use std::collections::BTreeMap;

/// Longest `adapter_model.safetensors`, in bytes.
pub(super) const MAX_WEIGHT_BYTES: u64 = 4 << 30;
/// How much of a header is read.
pub(super) const LIMITS: Limits = Limits { header_bytes: 1 << 20, tensors: 4096 };
/// Largest Frobenius norm of one factor. Trained factors stay far below; a larger one is no update
/// but an attempt to overflow.
const MAX_NORM: f64 = 1e4;
/// Where our own files name the digest of the base they were trained over.
pub(super) const BASE_DIGEST: &str = "seal_base_model_sha256";

/// Refuses an adapter that names another base, or none.
pub(super) fn check_base(header: &Header, base: &[u8; 32]) -> Result<(), AdapterError> {
    let expected = hex(base);
    match header.metadata.get(BASE_DIGEST) {
        None => Err(AdapterError::NoBase(BASE_DIGEST)),
        Some(found) if *found == expected => Ok(()),
        Some(found) => {
            let found = found.chars().take(64).flat_map(char::escape_debug).collect();
            Err(AdapterError::WrongBase { found, expected })
        }
    }
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Checks every name, shape and dtype against what `spec` on `config` must have; reads no number.
pub(super) fn check_header(
    header: &Header,
    spec: &LoraSpec,
    config: &DecoderConfig,
) -> Result<(), AdapterError> {
    let expected: BTreeMap<String, (usize, usize)> =
        factor_shapes(config, spec).iter().flat_map(named).collect();
    if let Some(name) = header.tensors.keys().find(|name| !expected.contains_key(*name)) {
        return Err(AdapterError::UnexpectedTensor(name.clone()));
    }
    for (name, (rows, columns)) in expected {
        let Some(info) = header.tensors.get(&name) else {
            return Err(AdapterError::MissingTensor(name));
        };
        if !is_float(info.dtype) {
            return Err(AdapterError::Dtype { name, dtype: info.dtype.to_string() });
        }
        if info.shape != [rows, columns] {
            let (found, expected) = (info.shape.clone(), vec![rows, columns]);
            return Err(AdapterError::Shape { name, found, expected });
        }
    }
    Ok(())
}

/// Builds the adapter out of the `file` whose header was checked.
pub(super) fn build(
    file: &[u8],
    header: &Header,
    spec: &LoraSpec,
    config: &DecoderConfig,
) -> Result<Adapter, AdapterError> {
    let mut flat = Vec::new();
    for (name, _) in factor_shapes(config, spec).iter().flat_map(named) {
        let Some(info) = header.tensors.get(&name) else {
            return Err(AdapterError::MissingTensor(name));
        };
        append_numbers(file, name, info, &mut flat)?;
    }
    Ok(Adapter::from_flat(config, spec, &flat)?)
}

/// Names and shapes of both factors, in flat order.
fn named(shape: &FactorShape) -> [(String, (usize, usize)); 2] {
    let name = |factor| tensor_name(shape.layer, shape.projection, factor);
    [(name("A"), shape.a), (name("B"), shape.b)]
}

/// The numbers of one tensor, finite and of bounded norm.
fn append_numbers(
    file: &[u8],
    name: String,
    info: &TensorInfo,
    flat: &mut Vec<f32>,
) -> Result<(), AdapterError> {
    let place = usize::try_from(info.start).ok().zip(usize::try_from(info.bytes).ok());
    let bytes = place.and_then(|(start, len)| file.get(start..start.checked_add(len)?));
    let Some(bytes) = bytes else { return Err(AdapterError::MissingTensor(name)) };
    if has_non_finite(info.dtype, bytes) {
        return Err(AdapterError::NotFinite(name));
    }
    let first = flat.len();
    append_f32(info.dtype, bytes, flat);
    let norm = flat[first..].iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    if norm > MAX_NORM {
        return Err(AdapterError::Norm { name, norm, max: MAX_NORM });
    }
    Ok(())
}
