//! What a model says about one token of a text.
//!
//! **Invariant:** the same bits while writing and while scoring: always the model's own
//! distribution, before any setting of a sampler.

use crate::decoder::Decoder;
use crate::error::Result;
use crate::generate::largest;
use crate::ops::lanes::softmax_row;
use crate::ops::values;
use candle_core::Tensor;
use rayon::prelude::*;

/// Logits held at once.
const CHUNK_ELEMENTS: usize = 16 << 20;

/// A token and how likely the model found it.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogProb {
    /// The token.
    pub token: u32,
    /// Its log-probability, in nats.
    pub log_prob: f64,
    /// Tokens that were more likely; 0: this is the greedy choice.
    pub rank: usize,
    /// The most likely tokens with their log-probabilities, as many as were asked for.
    pub alternatives: Vec<(u32, f64)>,
}

/// Judges `token` by the `logits` of its position.
pub(crate) fn token_log_prob(logits: &[f32], token: u32, alternatives: usize) -> TokenLogProb {
    let (top, total) = softmax_row(&mut logits.to_vec());
    // The order of subtractions is that of `judge`.
    let log_prob = |logit: f32| f64::from(logit) - f64::from(top) - f64::from(total).ln();
    let at = token as usize;
    let logit = logits[at];
    let rank = logits.iter().filter(|&&other| other > logit).count()
        + logits[..at].iter().filter(|&&other| other == logit).count();
    let best = largest(logits, alternatives, f32::NEG_INFINITY);
    let alternatives = best.into_iter().map(|(logit, token)| (token, log_prob(logit))).collect();
    TokenLogProb { token, log_prob: log_prob(logit), rank, alternatives }
}

/// Judges the tokens that came after the residual rows `[n, d]`.
pub(crate) fn judge_tokens(
    decoder: &Decoder,
    rows: &Tensor,
    targets: &[u32],
    alternatives: usize,
) -> Result<Vec<TokenLogProb>> {
    let (normed, _) = decoder.final_norm(rows)?;
    let (vocab, normed) = (decoder.config().vocab_size, values(&normed)?);
    let width = decoder.config().hidden_size;
    let step = (CHUNK_ELEMENTS / vocab).max(1);
    let mut judged = Vec::with_capacity(targets.len());
    for (targets, rows) in targets.chunks(step).zip(normed.chunks(step * width)) {
        let mut logits = vec![0.0; targets.len() * vocab];
        decoder.weights().head.forward_into(&mut logits, rows, targets.len())?;
        let rows = logits.par_chunks_exact(vocab).zip(targets);
        judged.par_extend(rows.map(|(logits, &token)| token_log_prob(logits, token, alternatives)));
    }
    Ok(judged)
}

/// `e` to the mean negative log-probability: how many equally likely tokens the model was, on
/// average, torn between. Nothing judged is no number.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn perplexity(judged: &[TokenLogProb]) -> f64 {
    let total: f64 = judged.iter().map(|token| token.log_prob).sum();
    (-total / judged.len() as f64).exp()
}
