//! What computes our side of a measurement.

use crate::flops::to_f64;
use crate::ours;
use anyhow::Result;
use candle_core::{DType, Device, DeviceLocation, Tensor};
use seal_model::device::hardware;
use seal_model::{Decoder, DecoderConfig};
use std::time::Instant;

/// Width of the square product that a device's peak is looked for with; a small one elsewhere.
const DEVICE_WIDTH: usize = 8192;
const TWIN_WIDTH: usize = 256;
/// Products of one look, and looks.
const PRODUCTS: usize = 8;
const LOOKS: usize = 5;

/// What computes our side.
#[derive(Clone, Debug, Default)]
pub enum Target {
    /// The exact engine.
    #[default]
    Exact,
    /// The engine for GPUs, with weights in this dtype.
    Device(Device, DType),
}

impl Target {
    /// The engine for `device`: exact on the CPU, bf16 weights elsewhere.
    #[must_use]
    pub fn of(device: Device) -> Self {
        if device.is_cpu() { Self::Exact } else { Self::Device(device, DType::BF16) }
    }

    /// A decoder with random weights, drawn where they stay.
    pub(crate) fn decoder(&self, config: &DecoderConfig) -> Result<Decoder> {
        Ok(match self {
            Self::Exact => Decoder::init(config, 0, &Device::Cpu)?,
            Self::Device(device, dtype) => Decoder::drawn(config, device, *dtype)?,
        })
    }

    /// What it is called, if it is not the processor that the machine names.
    pub(crate) fn name(&self) -> Option<String> {
        match self {
            Self::Exact => None,
            Self::Device(device, dtype) => {
                Some(format!("{}, {} weights", hardware(device), dtype.as_str()))
            }
        }
    }

    /// Operations per second of matrix products at their best.
    pub(crate) fn peak_flops(&self) -> Result<f64> {
        match self {
            Self::Exact => Ok(ours::peak_flops()),
            Self::Device(device, dtype) => device_peak(device, *dtype),
        }
    }

    /// Where PyTorch does the same work, and in which dtype.
    pub(crate) fn torch(&self) -> (String, &'static str) {
        let dtype = |dtype: &DType| if *dtype == DType::BF16 { "bfloat16" } else { "float32" };
        match self {
            Self::Exact => ("cpu".to_owned(), "float32"),
            Self::Device(device, of) => match device.location() {
                DeviceLocation::Cuda { gpu_id } => (format!("cuda:{gpu_id}"), dtype(of)),
                _ => ("cpu".to_owned(), dtype(of)),
            },
        }
    }

    /// Largest relative difference of the losses of both sides: bf16 rounds each in its own way.
    pub(crate) fn losses_within(&self) -> f32 {
        match self {
            Self::Device(_, DType::BF16) => 2e-2,
            _ => 1e-3,
        }
    }
}

fn device_peak(device: &Device, dtype: DType) -> Result<f64> {
    let width = if device.is_cpu() { TWIN_WIDTH } else { DEVICE_WIDTH };
    let matrix = Tensor::ones((width, width), dtype, device)?;
    let mut best = f64::MAX;
    for _ in 0..LOOKS {
        let begun = Instant::now();
        for _ in 0..PRODUCTS {
            matrix.matmul(&matrix)?;
        }
        device.synchronize()?;
        best = best.min(begun.elapsed().as_secs_f64());
    }
    let one = 2.0 * to_f64(width).powi(3);
    Ok(one * to_f64(PRODUCTS) / best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Shape;

    #[test]
    fn blocks_run_on_the_engine_for_gpus() {
        let target = Target::Device(Device::Cpu, DType::F32);
        let decoder = target.decoder(&Shape::Miniature.config().unwrap()).unwrap();
        let time = ours::block(&decoder, 1, 1).unwrap();
        assert!(time.training_s > 0.0 && time.answering_s > 0.0);
        assert!(target.name().unwrap().ends_with("f32 weights"));
        assert!(target.peak_flops().unwrap() > 1e6);
    }

    #[test]
    fn the_peer_is_told_where_and_in_which_dtype_to_work() {
        assert_eq!(Target::Exact.torch(), ("cpu".to_owned(), "float32"));
        let twin = Target::Device(Device::Cpu, DType::BF16);
        assert_eq!(twin.torch(), ("cpu".to_owned(), "bfloat16"));
        assert!(twin.losses_within() > Target::Exact.losses_within());
    }
}
