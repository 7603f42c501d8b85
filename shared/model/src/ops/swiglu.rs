//! SwiGLU: `silu(gate) · up`.

use super::lanes::{sigmoid, vectorised};
use super::{tensor, values};
use crate::error::Result;
use candle_core::Tensor;
use rayon::prelude::*;

/// Elements from which the threads of the pool share the work.
const PARALLEL_FROM: usize = 1 << 20;
/// Elements of one thread's share.
const CHUNK: usize = 1 << 16;

/// `silu(gate) · up`, all `[n, ffn]`.
///
/// # Errors
/// Tensors that are not f32 on the CPU.
pub fn forward(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    let (g, u) = (values(gate)?, values(up)?);
    let mut out = vec![0.0; g.len()];
    if out.len() < PARALLEL_FROM {
        forward_kernel(&mut out, &g, &u);
    } else {
        let (g, u): (&[f32], &[f32]) = (&g, &u);
        let parts = out.par_chunks_mut(CHUNK).zip(g.par_chunks(CHUNK)).zip(u.par_chunks(CHUNK));
        parts.for_each(|((out, g), u)| forward_kernel(out, g, u));
    }
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
    if dy.len() < PARALLEL_FROM {
        backward_kernel(&mut dgate, &mut dup, dy, &g, &u);
    } else {
        let (g, u): (&[f32], &[f32]) = (&g, &u);
        let gradients =
            dgate.par_chunks_mut(CHUNK).zip(dup.par_chunks_mut(CHUNK)).zip(dy.par_chunks(CHUNK));
        let parts = gradients.zip(g.par_chunks(CHUNK).zip(u.par_chunks(CHUNK)));
        parts.for_each(|(((dgate, dup), dy), (g, u))| backward_kernel(dgate, dup, dy, g, u));
    }
    Ok((dgate, dup))
}

vectorised! {
    fn backward_kernel<'a>(
        dgate: &'a mut [f32],
        dup: &'a mut [f32],
        dy: &'a [f32],
        gate: &'a [f32],
        up: &'a [f32],
    ) {
        let inputs = gate.iter().zip(up);
        for (((dgate, dup), dy), (g, u)) in dgate.iter_mut().zip(dup).zip(dy).zip(inputs) {
            let s = sigmoid(*g);
            *dup = dy * g * s;
            *dgate = dy * u * s * (1.0 + g * (1.0 - s));
        }
    }
}
