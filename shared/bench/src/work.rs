//! The work: what the recorded self-edits of SEAL were like.
//!
//! Source: the authors' recorded runs: 8.7 sequences of about 50 tokens, 10 epochs with batches of
//! one sequence, LoRA of rank 32 on all seven projections; then about five questions per passage.

use crate::flops::to_f64;
use anyhow::{Context, Result};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use seal_model::{DecoderConfig, LoraSpec, Prompt, SamplingConfig};
use seal_training::{InnerJob, InnerRecipe, TrainSequence};
use serde_json::json;

/// Sequences of one self-edit.
pub(crate) const SEQUENCES: usize = 9;
/// Tokens of a sequence.
pub(crate) const SEQUENCE_TOKENS: usize = 50;
/// Optimizer steps of one candidate: ten epochs, one sequence each.
pub(crate) const STEPS: u64 = 10 * SEQUENCES as u64;
/// Questions about one passage.
pub(crate) const QUESTIONS: usize = 5;
/// Tokens of a question with its instruction.
pub(crate) const QUESTION_TOKENS: usize = 32;
/// Tokens of an answer.
pub(crate) const ANSWER_TOKENS: usize = 28;
/// LoRA rank; α is twice that.
pub(crate) const RANK: usize = 32;
/// Tokens that the published procedure pads every sequence to.
pub(crate) const PUBLISHED_TOKENS: usize = 2048;
/// Peak learning rate.
pub(crate) const LEARNING_RATE: f64 = 1e-3;

/// Seconds of all [`STEPS`], of which `steps` were done in `seconds` with what comes before and
/// after them; a step after the first takes `step`.
pub(crate) fn of_all_steps(seconds: f64, step: f64, steps: u64) -> f64 {
    seconds + to_f64(STEPS.saturating_sub(steps) as usize) * step
}

/// Random token ids, fixed by `seed`.
fn tokens(config: &DecoderConfig, seed: u64, count: usize, each: usize) -> Vec<Vec<u32>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let vocabulary = u32::try_from(config.vocab_size).unwrap_or(u32::MAX);
    (0..count).map(|_| (0..each).map(|_| rng.random_range(0..vocabulary)).collect()).collect()
}

/// One sequence of random token ids, fixed by `seed`.
pub(crate) fn text(config: &DecoderConfig, seed: u64, len: usize) -> Vec<u32> {
    tokens(config, seed, 1, len).into_iter().flatten().collect()
}

/// The sequences of candidate `candidate`.
pub(crate) fn sequences(config: &DecoderConfig, candidate: usize) -> Vec<Vec<u32>> {
    tokens(config, 2 * candidate as u64, SEQUENCES, SEQUENCE_TOKENS)
}

/// The questions that candidate `candidate` is asked.
pub(crate) fn questions(config: &DecoderConfig, candidate: usize) -> Vec<Vec<u32>> {
    tokens(config, 2 * candidate as u64 + 1, QUESTIONS, QUESTION_TOKENS)
}

/// The inner updates of the first `candidates` candidates.
pub(crate) fn jobs(config: &DecoderConfig, candidates: usize) -> Vec<InnerJob> {
    let job = |candidate: usize| InnerJob {
        sequences: sequences(config, candidate)
            .into_iter()
            .map(|tokens| TrainSequence::all(tokens, 0))
            .collect(),
        seed: candidate as u64,
        start: None,
    };
    (0..candidates).map(job).collect()
}

/// `steps` optimizer steps; `each` sequences per step, or all of them.
pub(crate) fn recipe(steps: u64, each: Option<usize>) -> Result<InnerRecipe> {
    let recipe = json!({
        "lora": LoraSpec::all(RANK),
        "learning_rate": LEARNING_RATE,
        "steps": steps,
        "sequences_per_step": each,
    });
    serde_json::from_value(recipe).context("the benchmark's own recipe")
}

/// The questions of the first `candidates` candidates, each asked of its own adapter.
pub(crate) fn prompts(config: &DecoderConfig, candidates: usize) -> Vec<Prompt> {
    let of = |candidate: usize| {
        let ask = move |tokens| Prompt { adapter: Some(candidate), tokens, seed: 0 };
        questions(config, candidate).into_iter().map(ask)
    };
    (0..candidates).flat_map(of).collect()
}

/// Greedy answers of fixed length.
pub(crate) fn greedy() -> SamplingConfig {
    SamplingConfig { max_new_tokens: ANSWER_TOKENS, temperature: 0.0, ..SamplingConfig::default() }
}
