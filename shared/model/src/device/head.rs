//! The output projection, in chunks: the logits of a whole batch never exist at once.

use super::forward::Pass;
use crate::error::Result;
use crate::ops::cross_entropy::Judged;
use candle_core::{D, DType, Tensor};

/// Logits held at once.
const CHUNK_ELEMENTS: usize = 1 << 26;

/// Rows whose logits are computed together.
#[must_use]
pub fn chunk_rows(vocab: usize) -> usize {
    (CHUNK_ELEMENTS / vocab.max(1)).max(16)
}

impl Pass<'_> {
    /// Logits `[rows, vocab]`, f32, of rows after the final norm.
    ///
    /// # Errors
    /// A shape that does not fit.
    pub fn logits(&self, normed: &Tensor) -> Result<Tensor> {
        let head = &self.decoder.weights().head.weight;
        Ok(normed.matmul(&head.t()?)?.to_dtype(DType::F32)?)
    }
}

/// How likely each target is, and which token is the most likely.
///
/// # Shapes
/// `x` `[rows, d]`: the residual stream before the final norm; one target for each row.
///
/// # Errors
/// A shape that does not fit.
pub fn judge(pass: &Pass<'_>, x: &Tensor, targets: &[u32]) -> Result<Vec<Judged>> {
    let step = chunk_rows(pass.decoder.config().vocab_size);
    let (mut probabilities, mut best) = (Vec::new(), Vec::new());
    for from in (0..targets.len()).step_by(step) {
        let count = step.min(targets.len() - from);
        let logits = pass.logits(&pass.final_norm(&x.narrow(0, from, count)?)?)?;
        let target = Tensor::new(&targets[from..from + count], x.device())?.unsqueeze(1)?;
        let log_sums = LogSums::of(&logits)?.log_sums;
        probabilities.push((logits.gather(&target, 1)? - log_sums)?.squeeze(1)?);
        best.push(logits.argmax(D::Minus1)?);
    }
    let probabilities = Tensor::cat(&probabilities, 0)?.to_vec1::<f32>()?;
    let best = Tensor::cat(&best, 0)?.to_vec1::<u32>()?;
    let judged = |(log_prob, best)| Judged { log_prob: f64::from(log_prob), best };
    Ok(probabilities.into_iter().zip(best).map(judged).collect())
}

/// What a softmax is made of.
pub struct LogSums {
    /// `exp(logits − max)`, `[rows, vocab]`.
    pub exponentials: Tensor,
    /// Their sums, `[rows, 1]`.
    pub sums: Tensor,
    /// `log Σ exp(logits)`, `[rows, 1]`.
    pub log_sums: Tensor,
}

impl LogSums {
    /// Of `logits` `[rows, vocab]`.
    ///
    /// # Errors
    /// A device without the memory.
    pub fn of(logits: &Tensor) -> Result<Self> {
        let largest = logits.max_keepdim(D::Minus1)?;
        let exponentials = logits.broadcast_sub(&largest)?.exp()?;
        let sums = exponentials.sum_keepdim(D::Minus1)?;
        let log_sums = (sums.log()? + largest)?;
        Ok(Self { exponentials, sums, log_sums })
    }
}
