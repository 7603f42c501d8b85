//! What computes our side of a measurement.

use crate::flops::to_f64;
use crate::ours;
use crate::shape::Shape;
use anyhow::Result;
use candle_core::{DType, Device, DeviceLocation, Tensor};
use seal_model::device::{Opened, hardware};
use seal_model::ops::bf16x3;
use seal_model::{Decoder, Products};
use std::time::Instant;

/// Width of the square product that a device's peak is looked for with; a small one elsewhere.
const DEVICE_WIDTH: usize = 8192;
const TWIN_WIDTH: usize = 256;
/// Products of one look, and looks.
const PRODUCTS: usize = 8;
const LOOKS: usize = 5;

/// What computes our side.
#[derive(Clone, Debug)]
pub enum Target {
    /// The exact engine.
    Exact(Products),
    /// The engine for GPUs, with weights in this dtype.
    Device(Device, DType),
}

impl Target {
    /// The engine of `opened`: exact on the CPU, bf16 weights elsewhere.
    #[must_use]
    pub fn of(opened: Opened) -> Self {
        match opened.device.is_cpu() {
            true => Self::Exact(opened.products),
            false => Self::Device(opened.device, DType::BF16),
        }
    }

    /// A decoder with random weights, drawn where they stay: of those that bf16 holds where the
    /// shape is published in it.
    pub(crate) fn decoder(&self, shape: Shape) -> Result<Decoder> {
        let config = &shape.config()?;
        Ok(match self {
            Self::Exact(products) => {
                let mut decoder = Decoder::init(config, 0, &Device::Cpu)?;
                if shape.is_published_in_bf16() {
                    decoder = in_bf16(&decoder)?;
                }
                decoder.computing(*products)
            }
            Self::Device(device, dtype) => Decoder::drawn(config, device, *dtype)?,
        })
    }

    /// What it is called, if it is not the processor that the machine names.
    pub(crate) fn name(&self) -> Option<String> {
        match self {
            Self::Exact(Products::F32) => None,
            Self::Exact(Products::Bf16x3) => Some(match bf16x3::is_accelerated() {
                true => "products of bf16 parts by AMX".to_owned(),
                false => "products of bf16 parts, emulated".to_owned(),
            }),
            Self::Device(device, dtype) => {
                Some(format!("{}, {} weights", hardware(device), dtype.as_str()))
            }
        }
    }

    /// Operations per second of matrix products at their best.
    pub(crate) fn peak_flops(&self) -> Result<f64> {
        match self {
            Self::Exact(products) => Ok(ours::peak_flops(*products)),
            Self::Device(device, dtype) => device_peak(device, *dtype),
        }
    }

    /// Where PyTorch does the same work, and in which dtype.
    pub(crate) fn torch(&self) -> (String, &'static str) {
        let dtype = |dtype: &DType| if *dtype == DType::BF16 { "bfloat16" } else { "float32" };
        match self {
            Self::Exact(_) => ("cpu".to_owned(), "float32"),
            Self::Device(device, of) => match device.location() {
                DeviceLocation::Cuda { gpu_id } => (format!("cuda:{gpu_id}"), dtype(of)),
                _ => ("cpu".to_owned(), dtype(of)),
            },
        }
    }

    /// Whether both sides' losses at a step say that they do the same work; `first` is the peer's
    /// first.
    ///
    /// In bf16 each side rounds in its own way, and PEFT also rounds the sum of base and adapter,
    /// which we keep in f32: as losses fall, the steps come to differ. So those after steps are
    /// compared on the scale of the first.
    pub(crate) fn losses_agree(&self, step: usize, (ours, theirs): (f32, f32), first: f32) -> bool {
        let most = match self {
            Self::Device(_, DType::BF16) if step == 0 => 5e-3 * theirs,
            Self::Device(_, DType::BF16) => 2e-2 * first,
            _ => 1e-3 * theirs,
        };
        (ours - theirs).abs() <= most
    }
}

/// The same decoder with each matrix rounded to bf16 and held in f32.
fn in_bf16(decoder: &Decoder) -> Result<Decoder> {
    let rounded = decoder.tensors().into_iter().map(|(name, tensor)| {
        let bf16 = if tensor.rank() == 2 { DType::BF16 } else { DType::F32 };
        Ok((name, tensor.to_dtype(bf16)?.to_dtype(DType::F32)?))
    });
    Ok(decoder.with_tensors(rounded.collect::<Result<_>>()?)?)
}

fn device_peak(device: &Device, dtype: DType) -> Result<f64> {
    let width = if device.is_cpu() { TWIN_WIDTH } else { DEVICE_WIDTH };
    // Random: a product of equal numbers is quicker than those that are counted.
    let matrix = Tensor::randn(0f32, 1.0, (width, width), device)?.to_dtype(dtype)?;
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
        let decoder = target.decoder(Shape::Miniature).unwrap();
        let time = ours::block(&decoder, 1, 1).unwrap();
        assert!(time.training_s > 0.0 && time.answering_s > 0.0);
        assert!(target.name().unwrap().ends_with("f32 weights"));
        assert!(target.peak_flops().unwrap() > 1e6);
    }

    #[test]
    fn the_peer_is_told_where_and_in_which_dtype_to_work() {
        assert_eq!(Target::Exact(Products::F32).torch(), ("cpu".to_owned(), "float32"));
        let twin = Target::Device(Device::Cpu, DType::BF16);
        assert_eq!(twin.torch(), ("cpu".to_owned(), "bfloat16"));
        assert!(twin.losses_agree(0, (12.77, 12.76), 12.76));
        assert!(twin.losses_agree(2, (0.28, 0.29), 12.76));
        assert!(!twin.losses_agree(0, (12.9, 12.76), 12.76));
        assert!(!twin.losses_agree(1, (3.8, 4.2), 12.76));
        assert!(!twin.losses_agree(1, (f32::NAN, 4.2), 12.76));
        assert!(!Target::Exact(Products::F32).losses_agree(2, (0.28, 0.29), 12.76));
    }
}
