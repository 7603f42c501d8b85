//! Cross-entropy of rows of logits, with its gradient.

#[cfg(feature = "cuda")]
use super::fused::{Fused, Grid};
use crate::device::LogSums;
use crate::error::Result;
use candle_core::{DType, Tensor};

/// The weighted loss of each row `[rows, 1]`, f32, and the gradient of their sum `[rows, vocab]`, in
/// the dtype of `logits`.
///
/// # Shapes
/// `logits` `[rows, vocab]`, `targets`, u32, and `weights`, f32, `[rows, 1]`.
///
/// # Errors
/// Shapes that disagree.
pub fn cross_entropy(
    logits: Tensor,
    targets: &Tensor,
    weights: &Tensor,
) -> Result<(Tensor, Tensor)> {
    #[cfg(feature = "cuda")]
    if logits.device().is_cuda() && logits.dtype() == DType::BF16 {
        let (rows, vocab) = logits.dims2()?;
        let log_sums = Fused::like("log_sum", &logits, vocab)
            .grid(Grid::Rows(vocab as u64))
            .out((rows, 1), DType::F32)
            .run(&[(&logits, rows * vocab)])?;
        let at_target = logits.gather(targets, 1)?.to_dtype(DType::F32)?;
        let losses = ((&log_sums - at_target)? * weights)?;
        let gradient = Fused::like("cross_entropy_backward", &logits, vocab)
            .grid(Grid::Rows(vocab as u64))
            .out((rows, vocab), DType::BF16)
            .run(&[(&logits, rows * vocab), (&log_sums, rows), (targets, rows), (weights, rows)])?;
        return Ok((losses, gradient));
    }
    let dtype = logits.dtype();
    let wide = logits.to_dtype(DType::F32)?;
    drop(logits);
    let LogSums { exponentials, sums, log_sums } = LogSums::of(&wide)?;
    let log_probs = (wide.gather(targets, 1)? - log_sums)?;
    drop(wide);
    let gradient = exponentials.broadcast_mul(&(weights / sums)?)?;
    drop(exponentials);
    // Where the target is: p − 1 before any rounding, so that a small gradient survives bf16.
    let at_target = (log_probs.exp()?.affine(1.0, -1.0)? * weights)?;
    gradient.scatter_set(targets, &at_target, 1)?;
    Ok(((log_probs.neg()? * weights)?, gradient.to_dtype(dtype)?))
}
