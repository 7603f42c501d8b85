//! Cross-entropy fused with the output projection, in chunks.
//!
//! The logits of a whole batch never exist at once: a vocabulary of 150,000 would need gigabytes.

use super::lanes::{largest, softmax, softmax_row, vectorised};
use super::linear::Linear;
use super::values;
use crate::error::Result;
use candle_core::Tensor;
use rayon::prelude::*;

/// Logits held at once.
const CHUNK_ELEMENTS: usize = 16 << 20;
/// Logits from which the rows are spread over the threads of the pool.
const PARALLEL_FROM: usize = 1 << 20;

/// Rows whose logits are held at once.
pub(crate) fn chunk_rows(vocab: usize) -> usize {
    (CHUNK_ELEMENTS / vocab.max(1)).clamp(16, 256)
}

/// Loss and gradient of the rows of a batch.
pub struct CrossEntropy {
    /// Negative log-probability of each row's target, in nats, unweighted.
    pub losses: Vec<f32>,
    /// Gradient of `Σ weight · loss` with respect to `hidden`, `[rows, d]`.
    pub dhidden: Vec<f32>,
}

/// Loss and gradient of `Σ weight · −log softmax(hidden · Wᵀ)[target]`.
///
/// `dweight`, where given, receives the gradient of the projection's weight.
///
/// # Shapes
/// `hidden` `[rows, d]`; `targets` and `weights` `[rows]`; `dweight` `[vocab, d]`.
///
/// # Errors
/// Tensors that are not f32 on the CPU.
pub fn loss_and_gradient(
    hidden: &Tensor,
    head: &Linear,
    targets: &[u32],
    weights: &[f32],
    mut dweight: Option<&mut [f32]>,
) -> Result<CrossEntropy> {
    let (rows, width) = hidden.dims2()?;
    let (vocab, _) = head.shape();
    let hidden = values(hidden)?;
    let mut losses = vec![0.0; rows];
    let mut dhidden = vec![0.0; rows * width];
    let step = chunk_rows(vocab);
    let mut logits = vec![0.0; step.min(rows) * vocab];
    for from in (0..rows).step_by(step) {
        let count = step.min(rows - from);
        let (logits, x) =
            (&mut logits[..count * vocab], &hidden[from * width..(from + count) * width]);
        head.forward_into(logits, x, count)?;
        let (targets, weights) = (&targets[from..from + count], &weights[from..from + count]);
        gradients_of_rows(logits, &mut losses[from..from + count], targets, weights);
        head.backward_input(
            &mut dhidden[from * width..(from + count) * width],
            logits,
            count,
            false,
        )?;
        if let Some(dweight) = dweight.as_deref_mut() {
            head.backward_weight(dweight, logits, x, count);
        }
    }
    Ok(CrossEntropy { losses, dhidden })
}

/// [`gradient_of_row`] of each row, on the pool's threads if the rows are long.
fn gradients_of_rows(logits: &mut [f32], losses: &mut [f32], targets: &[u32], weights: &[f32]) {
    let vocab = logits.len() / losses.len();
    let each = |(row, (loss, logits)): (usize, (&mut f32, &mut [f32]))| {
        *loss = gradient_of_row(logits, targets[row] as usize, weights[row]);
    };
    if logits.len() < PARALLEL_FROM {
        losses.iter_mut().zip(logits.chunks_exact_mut(vocab)).enumerate().for_each(each);
    } else {
        losses.par_iter_mut().zip(logits.par_chunks_exact_mut(vocab)).enumerate().for_each(each);
    }
}

vectorised! {
    /// Replaces logits by `weight · (softmax − onehot)` and returns the row's loss in nats.
    fn gradient_of_row<'a>(logits: &'a mut [f32], target: usize, weight: f32) -> f32 {
        let logit = logits[target];
        let (top, total) = softmax(logits);
        for p in logits.iter_mut() {
            *p *= weight;
        }
        logits[target] -= weight;
        log_sum(top, total) - logit
    }
}

#[inline(always)]
#[allow(clippy::cast_possible_truncation)]
fn log_sum(top: f32, total: f32) -> f32 {
    (f64::from(top) + f64::from(total).ln()) as f32
}

/// What the model says about one target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    /// Log-probability of the target, in nats.
    pub log_prob: f64,
    /// The most likely token (the first of equals).
    pub best: u32,
}

/// Log-probability of each target and the most likely token of each row.
///
/// # Shapes
/// `hidden` `[rows, d]`, `targets` `[rows]`.
///
/// # Errors
/// Tensors that are not f32 on the CPU.
pub fn judge(hidden: &Tensor, head: &Linear, targets: &[u32]) -> Result<Vec<Judged>> {
    let (rows, width) = hidden.dims2()?;
    let (vocab, _) = head.shape();
    let hidden = values(hidden)?;
    let step = chunk_rows(vocab);
    let mut logits = vec![0.0; step.min(rows) * vocab];
    let mut judged = Vec::with_capacity(rows);
    for from in (0..rows).step_by(step) {
        let count = step.min(rows - from);
        let logits = &mut logits[..count * vocab];
        head.forward_into(logits, &hidden[from * width..(from + count) * width], count)?;
        let rows = logits.chunks_exact_mut(vocab).zip(&targets[from..from + count]);
        judged.extend(rows.map(|(logits, &target)| judge_row(logits, target)));
    }
    Ok(judged)
}

#[allow(clippy::cast_possible_truncation)]
fn judge_row(logits: &mut [f32], target: u32) -> Judged {
    let best = argmax(logits);
    let logit = f64::from(logits[target as usize]);
    let (top, total) = softmax_row(logits);
    Judged { log_prob: logit - f64::from(top) - f64::from(total).ln(), best }
}

/// Index of the largest value, the first of equals.
#[must_use]
#[allow(clippy::cast_possible_truncation)]
pub fn argmax(row: &[f32]) -> u32 {
    let top = largest(row);
    row.iter().position(|&x| x >= top).unwrap_or(0) as u32
}
