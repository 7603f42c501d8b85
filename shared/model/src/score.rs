//! Teacher-forced scores: how likely, and how exactly, a model gives a known answer.
//!
//! **Invariant:** an item's score is the same bits alone and among any others, with any threads.

use crate::batch::Batch;
use crate::decoder::{Decoder, Fresh};
use crate::error::{ModelError, Result};
use crate::lora::Adapter;
use crate::ops::cross_entropy::{Judged, judge};
use crate::ops::elementwise::gather_rows;
use rayon::prelude::*;

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

/// Scores every item in one teacher-forced pass.
///
/// # Errors
/// An item without prompt or answer, too long or with unknown tokens or adapter; a model whose
/// output is not finite.
pub fn score(
    decoder: &Decoder,
    adapters: &[&Adapter],
    items: &[ScoreItem],
) -> Result<Vec<ItemScore>> {
    for (index, item) in items.iter().enumerate() {
        check(decoder, index, item)?;
    }
    if decoder.is_composed() {
        return crate::device::score(decoder, adapters, items);
    }
    // Neighbours with the same adapter share its products; the order changes no score.
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_key(|&i| items[i].adapter);
    let scored: Vec<Vec<ItemScore>> = shards(decoder, items, &order)
        .into_par_iter()
        .map(|shard| score_shard(decoder, adapters, items, shard))
        .collect::<Result<_>>()?;
    let mut scores = vec![None; items.len()];
    for (&index, score) in order.iter().zip(scored.into_iter().flatten()) {
        scores[index] = Some(score);
    }
    Ok(scores.into_iter().flatten().collect())
}

/// Tokens per forward, from the model's size alone.
#[must_use]
pub fn shard_tokens(decoder: &Decoder) -> usize {
    if is_large(decoder) { LARGE_SHARD_TOKENS } else { SMALL_SHARD_TOKENS }
}

/// True if the products of one forward are worth all threads.
pub(crate) fn is_large(decoder: &Decoder) -> bool {
    decoder.parameter_count() >= LARGE_FROM
}

fn check(decoder: &Decoder, index: usize, item: &ScoreItem) -> Result<()> {
    if item.prompt.is_empty() || item.answer.is_empty() {
        return Err(ModelError::Input(format!("item {index} needs a prompt and an answer")));
    }
    decoder.check_tokens(&sequence(item))
}

pub(crate) fn sequence(item: &ScoreItem) -> Vec<u32> {
    item.prompt.iter().chain(&item.answer).copied().collect()
}

/// Cuts `order` into runs of at most one shard's tokens.
fn shards<'a>(decoder: &Decoder, items: &[ScoreItem], order: &'a [usize]) -> Vec<&'a [usize]> {
    let budget = shard_tokens(decoder);
    let (mut shards, mut start, mut tokens) = (Vec::new(), 0, 0);
    for (at, &index) in order.iter().enumerate() {
        let len = items[index].prompt.len() + items[index].answer.len();
        if tokens + len > budget && at > start {
            shards.push(&order[start..at]);
            (start, tokens) = (at, 0);
        }
        tokens += len;
    }
    if start < order.len() {
        shards.push(&order[start..]);
    }
    shards
}

fn score_shard(
    decoder: &Decoder,
    adapters: &[&Adapter],
    items: &[ScoreItem],
    shard: &[usize],
) -> Result<Vec<ItemScore>> {
    let (mut batch, mut rows, mut targets) = (Batch::default(), Vec::new(), Vec::new());
    for &index in shard {
        let item = &items[index];
        let tokens = sequence(item);
        // The last answer token predicts nothing we ask for.
        let span = batch.push(&tokens[..tokens.len() - 1], item.adapter);
        rows.extend(span.start + item.prompt.len() - 1..span.start + span.len);
        targets.extend_from_slice(&item.answer);
    }
    let mut fresh = Fresh { spans: &batch.spans };
    let hidden = decoder.forward(&batch, adapters, &mut fresh, &mut drop)?;
    let (hidden, _) = decoder.final_norm(&gather_rows(&hidden, &rows)?)?;
    let judged = judge(&hidden, &decoder.weights().head, &targets)?;
    let mut at = 0;
    shard
        .iter()
        .map(|&index| {
            let answer = &items[index].answer;
            at += answer.len();
            item_score(decoder, index, answer, &judged[at - answer.len()..at])
        })
        .collect()
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
