//! What a device is called and what it has left.

use crate::decoder::Decoder;
use crate::ops::lanes::instruction_set;
use crate::ops::linear::Products;
use candle_core::{DType, Device};

/// Bytes of memory that are free on a GPU; unknown elsewhere.
#[must_use]
pub fn free_bytes(device: &Device) -> Option<u64> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(cuda) => super::cuda::free_bytes(cuda),
        _ => None,
    }
}

/// What computes on `device`: the GPU's name, or the CPU's vector unit.
#[must_use]
pub fn hardware(device: &Device) -> String {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(cuda) => {
            let name = cuda.cuda_stream().context().name();
            name.unwrap_or_else(|_| "CUDA device".to_owned())
        }
        _ => instruction_set().to_owned(),
    }
}

impl Decoder {
    /// What fixes the rounding of results, for the record: the vector unit and the kind of products
    /// for the exact engine, for the other one the hardware and the dtype of the weights.
    #[must_use]
    pub fn arithmetic(&self) -> String {
        let hardware = hardware(self.device());
        if !self.is_composed() {
            return match self.products() {
                Products::F32 => hardware,
                Products::Bf16x3 => format!("{hardware}, bf16x3"),
            };
        }
        match self.weights().embedding.dtype() {
            DType::BF16 => format!("{hardware}, bf16"),
            _ => format!("{hardware}, composed f32"),
        }
    }
}
