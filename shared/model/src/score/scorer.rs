//! Scoring with a memory, of whole answers or of single tokens.

use super::alone::judge_alone;
use super::together::{Together, split};
use super::{ItemScore, Judge, ScoreItem, Task, by_tokens, item_score};
use crate::decoder::Decoder;
use crate::error::{ModelError, Result};
use crate::generate::Statistics;
use crate::log_probs::{TokenLogProb, judge_tokens};
use crate::lora::Adapter;
use crate::ops::cross_entropy::judge;
use crate::past::{AdapterKey, PrefixCache};

/// Bytes of beginnings kept within one call.
const KEPT_IN_CALL: usize = 1 << 30;

/// Scores items; what they have in common is read once.
pub struct Scorer {
    decoder: Decoder,
    prefixes: PrefixCache,
    remembers: bool,
    statistics: Statistics,
}

impl Scorer {
    /// A scorer over `decoder` that remembers nothing from call to call.
    #[must_use]
    pub fn new(decoder: &Decoder) -> Self {
        Self {
            decoder: decoder.clone(),
            prefixes: PrefixCache::new(KEPT_IN_CALL),
            remembers: false,
            statistics: Statistics::default(),
        }
    }

    /// Remembers prompts in `prefixes` from call to call.
    #[must_use]
    pub fn with_prefixes(mut self, prefixes: PrefixCache) -> Self {
        (self.prefixes, self.remembers) = (prefixes, true);
        self
    }

    /// What it remembers, for another scorer or for a generator.
    #[must_use]
    pub fn into_prefixes(self) -> PrefixCache {
        self.prefixes
    }

    /// What it has done so far. Answers count as prompts: they are read, not written.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.statistics
    }

    /// Scores every item.
    ///
    /// # Errors
    /// As [`score()`](super::score()).
    pub fn score(&mut self, adapters: &[&Adapter], items: &[ScoreItem]) -> Result<Vec<ItemScore>> {
        let decoder = self.decoder.clone();
        Task { decoder: &decoder, adapters, items }.check()?;
        if decoder.is_composed() {
            return crate::device::score(&decoder, adapters, items);
        }
        let best = |rows: &candle_core::Tensor, targets: &[u32]| {
            judge(&decoder.final_norm(rows)?.0, &decoder.weights().head, targets)
        };
        let judged = self.judge_items(adapters, items, &best)?;
        let scores = items.iter().zip(&judged).enumerate();
        scores
            .map(|(index, (item, judged))| item_score(&decoder, index, &item.answer, judged))
            .collect()
    }

    /// Judges every answer token of every item, with the `alternatives` most likely ones.
    ///
    /// For the tokens of a whole text, all but its first, give its first token as the prompt.
    ///
    /// # Errors
    /// As [`score()`](super::score()), and a decoder that another engine computes.
    pub fn score_tokens(
        &mut self,
        adapters: &[&Adapter],
        items: &[ScoreItem],
        alternatives: usize,
    ) -> Result<Vec<Vec<TokenLogProb>>> {
        let decoder = self.decoder.clone();
        Task { decoder: &decoder, adapters, items }.check()?;
        if decoder.is_composed() {
            let problem =
                "single tokens are judged by the exact engine: load the model for the CPU";
            return Err(ModelError::Input(problem.into()));
        }
        let each = |rows: &candle_core::Tensor, targets: &[u32]| {
            judge_tokens(&decoder, rows, targets, alternatives)
        };
        let judged = self.judge_items(adapters, items, &each)?;
        let finite = |tokens: &Vec<TokenLogProb>| tokens.iter().all(|t| t.log_prob.is_finite());
        match judged.iter().position(|tokens| !finite(tokens)) {
            Some(index) => Err(ModelError::NotFinite { what: format!("item {index}") }),
            None => Ok(judged),
        }
    }

    /// One judgement for each answer token of each item.
    fn judge_items<T: Send>(
        &mut self,
        adapters: &[&Adapter],
        items: &[ScoreItem],
        judge: &Judge<'_, T>,
    ) -> Result<Vec<Vec<T>>> {
        let decoder = self.decoder.clone();
        let task = Task { decoder: &decoder, adapters, items };
        // Neighbours with the same adapter share its products, those that begin alike what they
        // have in common; the order changes no score.
        let mut order: Vec<usize> = (0..items.len()).collect();
        order.sort_by(|&a, &b| by_tokens(&items[a], &items[b]));
        let (shared, alone) = if self.remembers { (order, Vec::new()) } else { split(task, order) };
        let read = |&i: &usize| (items[i].prompt.len() + items[i].answer.len() - 1) as u64;
        self.statistics.prefilled_tokens += alone.iter().map(read).sum::<u64>();
        let mut judged = judge_alone(task, &alone, judge)?;
        if !shared.is_empty() {
            judged.extend(self.together(task).judge(shared, judge)?);
        }
        if !self.remembers {
            self.prefixes.clear();
        }
        judged.sort_by_key(|&(index, _)| index);
        Ok(judged.into_iter().map(|(_, judged)| judged).collect())
    }

    fn together<'a>(&'a mut self, task: Task<'a>) -> Together<'a> {
        let adapters = task.adapters.iter().map(|&adapter| Some(adapter));
        Together {
            task,
            keys: adapters.chain([None]).map(AdapterKey::of).collect(),
            prefixes: &mut self.prefixes,
            remembers: self.remembers,
            statistics: &mut self.statistics,
        }
    }
}
