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
    vectorised(|| {
        for ((out, g), u) in out.iter_mut().zip(g.iter()).zip(u.iter()) {
            *out = g * sigmoid(*g) * u;
        }
    });
    tensor(out, gate.shape())
}

/// `(dgate, dup)` from `dy`.
///
/// # Errors
/// Tensors that are not f32 on the CPU.
pub fn backward(dy: &[f32], gate: &Tensor, up: &Tensor) -> Result<(Vec<f32>, Vec<f32>)> {
    let (g, u) = (values(gate)?, values(up)?);
    let (mut dgate, mut dup) = (vec![0.0; dy.len()], vec![0.0; dy.len()]);
    vectorised(|| {
        let gradients = dgate.iter_mut().zip(dup.iter_mut());
        for (((dgate, dup), dy), (g, u)) in gradients.zip(dy).zip(g.iter().zip(u.iter())) {
            let s = sigmoid(*g);
            *dup = dy * g * s;
            *dgate = dy * u * s * (1.0 + g * (1.0 - s));
        }
    });
    Ok((dgate, dup))
}
