//! The output projection, in chunks: the logits of a whole batch never exist at once.

use super::forward::{Pass, normed};
use crate::decoder::Decoder;
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
    /// The final norm of `x` `[rows, d]`, in the weights' dtype.
    ///
    /// # Errors
    /// A shape that does not fit.
    pub fn final_norm(&self, x: &Tensor) -> Result<Tensor> {
        final_norm(self.decoder, x)
    }

    /// Logits `[rows, vocab]`, f32, of rows after the final norm.
    ///
    /// # Errors
    /// A shape that does not fit.
    pub fn logits(&self, normed: &Tensor) -> Result<Tensor> {
        logits(self.decoder, normed)
    }
}

fn final_norm(decoder: &Decoder, x: &Tensor) -> Result<Tensor> {
    Ok(normed(decoder, x, &decoder.weights().norm)?.narrow)
}

fn logits(decoder: &Decoder, normed: &Tensor) -> Result<Tensor> {
    let head = &decoder.weights().head.weight;
    Ok(normed.matmul(&head.t()?)?.to_dtype(DType::F32)?)
}

/// What the model says about the next token of one text.
pub(crate) enum Choice<'a> {
    /// The most likely token; none if the logits are not numbers.
    Best(Option<u32>),
    /// Everything.
    Logits(&'a mut [f32]),
}

/// Tells `each` the choice at every row of `x` `[rows, d]`, before the final norm, in order.
///
/// The logits of a row leave the device only where `wants_all` says so.
///
/// # Errors
/// A shape that does not fit.
pub(crate) fn choices(
    decoder: &Decoder,
    x: &Tensor,
    wants_all: &[bool],
    each: &mut dyn FnMut(Choice<'_>),
) -> Result<()> {
    let step = chunk_rows(decoder.config().vocab_size);
    for (number, wants_all) in wants_all.chunks(step).enumerate() {
        let part = x.narrow(0, number * step, wants_all.len())?;
        let logits = logits(decoder, &final_norm(decoder, &part)?)?;
        let mut whole = rows_of(&logits, wants_all)?.into_iter();
        let (best, sums) = if wants_all.iter().all(|&all| all) {
            (Vec::new(), Vec::new())
        } else {
            let best = logits.argmax(D::Minus1)?;
            (best.to_vec1::<u32>()?, logits.sum(D::Minus1)?.to_vec1::<f32>()?)
        };
        for (row, &wants_all) in wants_all.iter().enumerate() {
            if !wants_all {
                each(Choice::Best((!sums[row].is_nan()).then_some(best[row])));
            } else if let Some(mut logits) = whole.next() {
                each(Choice::Logits(&mut logits));
            }
        }
    }
    Ok(())
}

/// The rows that are wanted, on the host.
fn rows_of(logits: &Tensor, wanted: &[bool]) -> Result<Vec<Vec<f32>>> {
    let wanted: Vec<u32> = (0..).zip(wanted).filter(|(_, all)| **all).map(|(row, _)| row).collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let wanted = Tensor::new(wanted.as_slice(), logits.device())?;
    Ok(logits.index_select(&wanted, 0)?.to_vec2()?)
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
pub(crate) struct LogSums {
    /// `exp(logits − max)`, `[rows, vocab]`.
    pub(crate) exponentials: Tensor,
    /// Their sums, `[rows, 1]`.
    pub(crate) sums: Tensor,
    /// `log Σ exp(logits)`, `[rows, 1]`.
    pub(crate) log_sums: Tensor,
}

impl LogSums {
    /// Of `logits` `[rows, vocab]`.
    ///
    /// # Errors
    /// A device without the memory.
    pub(crate) fn of(logits: &Tensor) -> Result<Self> {
        let largest = logits.max_keepdim(D::Minus1)?;
        let exponentials = logits.broadcast_sub(&largest)?.exp()?;
        let sums = exponentials.sum_keepdim(D::Minus1)?;
        let log_sums = (sums.log()? + largest)?;
        Ok(Self { exponentials, sums, log_sums })
    }
}
