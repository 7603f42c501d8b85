//! Floating-point operations of one candidate's work: what the arithmetic needs, not what anyone
//! spends. Multiply and add count as two; norms, activations and the optimizer are left out.

use crate::work::{ANSWER_TOKENS, QUESTION_TOKENS, QUESTIONS, RANK, SEQUENCE_TOKENS, STEPS};
use seal_model::{DecoderConfig, Projection};

/// Of one candidate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flops {
    /// All optimizer steps.
    pub(crate) training: f64,
    /// All answers.
    pub(crate) answering: f64,
}

/// Weights that one row of a batch meets.
struct Sizes {
    projections: f64,
    first_inputs: f64,
    adapter: f64,
    head: f64,
    /// Multiply-adds of one query over one key in all layers: scores and weighted values.
    attention: f64,
}

impl Sizes {
    fn new(config: &DecoderConfig) -> Self {
        let layers = to_f64(config.num_hidden_layers);
        let size = |p: Projection| {
            let (out, inner) = p.shape(config);
            to_f64(out * inner)
        };
        let factors = |p: Projection| {
            let (out, inner) = p.shape(config);
            to_f64((out + inner) * RANK)
        };
        let query = to_f64(config.num_attention_heads * config.head_dim);
        Self {
            projections: layers * Projection::ALL.into_iter().map(size).sum::<f64>(),
            first_inputs: [Projection::Q, Projection::K, Projection::V].map(size).iter().sum(),
            adapter: layers * Projection::ALL.into_iter().map(factors).sum::<f64>(),
            head: to_f64(config.vocab_size * config.hidden_size),
            attention: layers * 2.0 * query,
        }
    }
}

/// Counts the work on a decoder of this shape.
pub(crate) fn count(config: &DecoderConfig) -> Flops {
    let sizes = Sizes::new(config);
    let training = to_f64(STEPS as usize) * step(&sizes, SEQUENCE_TOKENS - 1);
    Flops { training, answering: to_f64(QUESTIONS) * answer(&sizes) }
}

/// Counts optimizer steps on one sequence each, of so many rows.
pub(crate) fn training_steps(config: &DecoderConfig, rows: impl Iterator<Item = usize>) -> f64 {
    let sizes = Sizes::new(config);
    rows.map(|rows| step(&sizes, rows)).sum()
}

/// One optimizer step on one sequence of so many rows.
fn step(sizes: &Sizes, rows: usize) -> f64 {
    let rows = to_f64(rows);
    let pairs = rows * (rows + 1.0) / 2.0;
    // Forward and gradient of the input; below the first layer nothing needs one. Factors need a
    // gradient of their own. Attention's backward forms four products for the forward's two.
    let frozen = 4.0 * (sizes.projections + sizes.head) - 2.0 * sizes.first_inputs;
    rows * (frozen + 6.0 * sizes.adapter) + 6.0 * pairs * sizes.attention
}

/// One answer: the prompt is read, then each token but the last is read again for the next one.
fn answer(sizes: &Sizes) -> f64 {
    let (prompt, written) = (to_f64(QUESTION_TOKENS), to_f64(ANSWER_TOKENS));
    let read = prompt + written - 1.0;
    2.0 * read * (sizes.projections + sizes.adapter)
        + 2.0 * written * sizes.head
        + read * (read + 1.0) * sizes.attention
}

#[allow(clippy::cast_precision_loss)]
pub(crate) fn to_f64(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Shape;

    #[test]
    fn a_training_token_costs_about_four_operations_per_weight() {
        let config = Shape::Qwen25Half.config().unwrap();
        let trained = to_f64((SEQUENCE_TOKENS - 1) * STEPS as usize);
        let per_token = count(&config).training / trained;
        let weights = 494e6;
        let ratio = per_token / (4.0 * weights);
        assert!((1.0..1.1).contains(&ratio), "{ratio}");
    }
}
