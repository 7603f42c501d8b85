//! The dozen primitives of the decoder, forward and backward, over candle tensors.
//!
//! Every primitive has a fast path over `f32` slices on the CPU. Its results are defined element
//! by element (a chain of fused multiply-adds in a fixed order, or a sum over sixteen fixed lanes),
//! so they depend neither on the number of rows in a batch, nor on threads, cache sizes or the
//! width of the vector unit.
//!
//! **Invariant:** the same inputs give the same bits alone and in any batch.
//! Absent: autograd. `seal-training` calls the backward functions itself.

pub mod attention;
pub mod bf16x3;
pub mod cross_entropy;
pub mod dropout;
pub mod elementwise;
pub mod embedding;
pub mod lanes;
pub mod linear;
pub mod matmul;
pub mod norm;
pub mod rope;
pub mod swiglu;

use crate::error::{ModelError, Result};
use candle_core::{CpuStorage, Device, Shape, Storage, Tensor};
use std::ops::Deref;

/// A read lock on a tensor's storage, seen as the tensor's numbers.
struct Values<G> {
    guard: G,
    start: usize,
    len: usize,
}

impl<G: Deref<Target = Storage>> Deref for Values<G> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.guard {
            Storage::Cpu(CpuStorage::F32(data)) => &data[self.start..self.start + self.len],
            _ => &[],
        }
    }
}

/// The numbers of `tensor`, without a copy.
///
/// # Errors
/// A tensor that is not f32, not contiguous, or not on the CPU.
pub fn values(tensor: &Tensor) -> Result<impl Deref<Target = [f32]> + '_> {
    let refuse = |problem: &str| ModelError::Input(format!("expected {problem}, got {tensor:?}"));
    let (guard, layout) = tensor.storage_and_layout();
    let (start, end) = layout.contiguous_offsets().ok_or_else(|| refuse("a contiguous tensor"))?;
    if !matches!(&*guard, Storage::Cpu(CpuStorage::F32(_))) {
        return Err(refuse("an f32 tensor on the CPU"));
    }
    Ok(Values { guard, start, len: end - start })
}

/// A CPU tensor that owns `data`.
///
/// # Errors
/// A length that does not match `shape`.
pub fn tensor(data: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
    Ok(Tensor::from_vec(data, shape.into(), &Device::Cpu)?)
}
