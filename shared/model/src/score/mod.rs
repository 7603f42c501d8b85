//! Teacher-forced scores: how likely, and how exactly, a model gives a known answer.
//!
//! **Invariant:** an item's score is the same bits alone and among any others, with any threads, and
//! whether or not its beginning was read for another item.

mod alone;
mod scorer;
mod together;

pub use scorer::Scorer;

use crate::decoder::Decoder;
use crate::error::{ModelError, Result};
use crate::lora::Adapter;
use crate::ops::cross_entropy::Judged;
use candle_core::Tensor;
use std::cmp::Ordering;

/// Tokens per forward of a small model: what one thread computes at a time.
const SMALL_SHARD_TOKENS: usize = 1024;
/// Tokens per forward of a large model, whose products are spread over the threads themselves.
const LARGE_SHARD_TOKENS: usize = 8192;
/// Weights from which a model counts as large.
const LARGE_FROM: usize = 16 << 20;

/// A prompt and the answer it should get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScoreItem {
    /// Index into the adapters; none: the base.
    pub adapter: Option<usize>,
    /// Tokens before the answer; at least one.
    pub prompt: Vec<u32>,
    /// Tokens of the answer; at least one.
    pub answer: Vec<u32>,
}

/// What the model made of one item.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ItemScore {
    /// Every answer token is the most likely one, as in greedy decoding.
    pub exact: bool,
    /// Mean log-probability of the answer's tokens, in nats.
    pub log_prob_nats_per_token: f64,
    /// The model would answer nothing: its first choice is an end token, the answer's is not.
    pub empty: bool,
}

/// Scores every item in one teacher-forced pass, in which a beginning that several items of one
/// adapter have in common is read once. A [`Scorer`] can do more: single tokens, what is remembered
/// from call to call.
///
/// # Errors
/// An item without prompt or answer, too long or with unknown tokens or adapter; a model whose
/// output is not finite.
pub fn score(
    decoder: &Decoder,
    adapters: &[&Adapter],
    items: &[ScoreItem],
) -> Result<Vec<ItemScore>> {
    Scorer::new(decoder).score(adapters, items)
}

/// Tokens per forward, from the model's size alone.
#[must_use]
pub fn shard_tokens(decoder: &Decoder) -> usize {
    shard_tokens_of(decoder.parameter_count())
}

/// [`shard_tokens`] of a model of so many weights.
pub(crate) fn shard_tokens_of(weights: usize) -> usize {
    if weights >= LARGE_FROM { LARGE_SHARD_TOKENS } else { SMALL_SHARD_TOKENS }
}

/// True if the products of one forward are worth all threads.
pub(crate) fn is_large(decoder: &Decoder) -> bool {
    decoder.parameter_count() >= LARGE_FROM
}

/// Turns residual rows `[n, d]` and the `n` tokens that came after them into what is asked for.
type Judge<'a, T> = dyn Fn(&Tensor, &[u32]) -> Result<Vec<T>> + Sync + 'a;

/// What a scoring works on.
#[derive(Clone, Copy)]
struct Task<'a> {
    decoder: &'a Decoder,
    adapters: &'a [&'a Adapter],
    items: &'a [ScoreItem],
}

impl Task<'_> {
    fn check(&self) -> Result<()> {
        self.items.iter().enumerate().try_for_each(|(index, item)| self.check_item(index, item))
    }

    fn check_item(&self, index: usize, item: &ScoreItem) -> Result<()> {
        if item.prompt.is_empty() || item.answer.is_empty() {
            return Err(ModelError::Input(format!("item {index} needs a prompt and an answer")));
        }
        if let Some(adapter) = item.adapter.filter(|&adapter| adapter >= self.adapters.len()) {
            return Err(ModelError::Input(format!(
                "item {index}: adapter {adapter} of {} does not exist",
                self.adapters.len()
            )));
        }
        self.decoder.check_tokens(&sequence(item))
    }
}

/// Items of one adapter together, and those that begin alike.
fn by_tokens(a: &ScoreItem, b: &ScoreItem) -> Ordering {
    let by_split = a.prompt.len().cmp(&b.prompt.len());
    let (a_tokens, b_tokens) = (a.prompt.iter().chain(&a.answer), b.prompt.iter().chain(&b.answer));
    a.adapter.cmp(&b.adapter).then_with(|| a_tokens.cmp(b_tokens)).then(by_split)
}

pub(crate) fn sequence(item: &ScoreItem) -> Vec<u32> {
    item.prompt.iter().chain(&item.answer).copied().collect()
}

#[allow(clippy::cast_precision_loss)]
pub(crate) fn item_score(
    decoder: &Decoder,
    index: usize,
    answer: &[u32],
    judged: &[Judged],
) -> Result<ItemScore> {
    let total: f64 = judged.iter().map(|j| j.log_prob).sum();
    if !total.is_finite() {
        return Err(ModelError::NotFinite { what: format!("item {index}") });
    }
    Ok(ItemScore {
        exact: judged.iter().zip(answer).all(|(j, &token)| j.best == token),
        log_prob_nats_per_token: total / answer.len() as f64,
        empty: decoder.config().is_end(judged[0].best) && !decoder.config().is_end(answer[0]),
    })
}
