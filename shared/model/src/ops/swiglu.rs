//! SwiGLU: `silu(gate) · up`.

use super::lanes::{sigmoid, vectorised};
use super::{tensor, values};
use crate::error::Result;
use candle_core::Tensor;

/// `silu(gate) · up`, all `[n, ffn]`.
///
/// # Errors
/// Tensors that are not f32 on the CPU.
pub fn forward(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    let (g, u) = (values(gate)?, values(up)?);
    let mut out = vec![0.0; g.len()];
    forward_kernel(&mut out, &g, &u);
    tensor(out, gate.shape())
}

vectorised! {
    fn forward_kernel<'a>(out: &'a mut [f32], gate: &'a [f32], up: &'a [f32]) {
        for ((out, g), u) in out.iter_mut().zip(gate).zip(up) {
            *out = g * sigmoid(*g) * u;
        }
    }
}

/// `(dgate, dup)` from `dy`.
///
/// # Errors
/// Tensors that are not f32 on the CPU.
pub fn backward(dy: &[f32], gate: &Tensor, up: &Tensor) -> Result<(Vec<f32>, Vec<f32>)> {
    let (g, u) = (values(gate)?, values(up)?);
    let (mut dgate, mut dup) = (vec![0.0; dy.len()], vec![0.0; dy.len()]);
    backward_kernel(&mut dgate, &mut dup, dy, &g, &u);
    Ok((dgate, dup))
}

vectorised! {
    fn backward_kernel<'a>(dgate: &'a mut [f32], dup: &'a mut [f32], dy: &'a [f32], gate: &'a [f32], up: &'a [f32]) {
        for (((dgate, dup), dy), (g, u)) in dgate.iter_mut().zip(dup).zip(dy).zip(gate.iter().zip(up)) {
            let s = sigmoid(*g);
            *dup = dy * g * s;
            *dgate = dy * u * s * (1.0 + g * (1.0 - s));
        }
    }
}
