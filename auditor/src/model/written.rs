//! Answers that a model writes: read by a grader, or told as they are where they are votes.
//!
//! Source: the evaluation of the original system (greedy, at most 64 tokens, ends at the end token).
//! Here base and candidates write in one call, so that both are asked under the same conditions.

use std::collections::BTreeMap;
use std::time::Instant;

use seal_model::{Adapter, ModelError, Prompt, SamplingConfig, ScoreItem, generate};

use super::{ModelMeasurer, NOT_MEASURED};
use crate::gate::Outcome;
use crate::graders::{Asked, Grader};
use crate::grading::Grading;
use crate::items::Item;
use crate::measure::Wanted;

/// A wanted answer: where its outcome lies, and who reads it.
struct Task<'a> {
    at: usize,
    wanted: &'a Wanted<'a>,
    grader: Grader,
}

/// Tokens of an answer; `None` from an adapter that yields no numbers.
type Written = Option<Vec<u32>>;

impl ModelMeasurer {
    /// Replaces what the first choices say by what the grader says of the written answer. What was not
    /// measured before stays so.
    pub(super) fn read_answers(
        &self,
        adapters: &[&Adapter],
        wanted: &[Wanted<'_>],
        asked: &[ScoreItem],
        outcomes: &mut [Outcome],
    ) -> Result<(), ModelError> {
        let mut by_limit: BTreeMap<usize, (Vec<Task<'_>>, Vec<Prompt>)> = BTreeMap::new();
        for (at, (wanted, asked)) in wanted.iter().zip(asked).enumerate() {
            let Grading::Written { max_new_tokens, grader } = *wanted.grading else { continue };
            if outcomes[at].log_prob.is_some() {
                let (tasks, prompts) = by_limit.entry(max_new_tokens).or_default();
                tasks.push(Task { at, wanted, grader });
                prompts.push(prompt(asked));
            }
        }
        for (max_new_tokens, (tasks, prompts)) in by_limit {
            let written = self.write_each(adapters, &prompts, &self.greedy(max_new_tokens))?;
            for (task, written) in tasks.iter().zip(written) {
                match written {
                    Some(tokens) => self.grade(task, &tokens, &mut outcomes[task.at]),
                    None => outcomes[task.at] = NOT_MEASURED,
                }
            }
        }
        Ok(())
    }

    /// What each model writes to each question, as text.
    pub(super) fn said(
        &self,
        adapters: &[&Adapter],
        asked: &[(Option<usize>, &Item)],
        max_new_tokens: usize,
        until: Instant,
    ) -> Result<Vec<String>, ModelError> {
        // Thousands of questions take their time before the first forward, too.
        let ask = |(adapter, item): &(Option<usize>, &Item)| match Instant::now() < until {
            true => Ok(prompt(&self.ask(*adapter, item)?)),
            false => Err(ModelError::OutOfTime),
        };
        let prompts = asked.iter().map(ask).collect::<Result<Vec<Prompt>, ModelError>>()?;
        let written = self.write_each(adapters, &prompts, &self.greedy(max_new_tokens))?;
        written.into_iter().map(|tokens| self.told(tokens, max_new_tokens)).collect()
    }

    /// A text that can be a label: one that comes back from its tokens within the limit.
    fn told(&self, tokens: Written, max_new_tokens: usize) -> Result<String, ModelError> {
        let text = self.tokenizer.decode_plain(&tokens.unwrap_or_default());
        let again = self.tokenizer.encode(&text)?;
        let whole = !text.contains(char::REPLACEMENT_CHARACTER) && again.len() <= max_new_tokens;
        Ok(if whole { text } else { String::new() })
    }

    fn greedy(&self, max_new_tokens: usize) -> SamplingConfig {
        SamplingConfig {
            max_new_tokens,
            temperature: 0.0,
            stop: self.turn_ends(),
            ..SamplingConfig::default()
        }
    }

    /// All together; where a model yields no numbers, each by itself, so that it spoils no other.
    fn write_each(
        &self,
        adapters: &[&Adapter],
        prompts: &[Prompt],
        greedy: &SamplingConfig,
    ) -> Result<Vec<Written>, ModelError> {
        match generate(&self.decoder, adapters, prompts, greedy, &mut |_, _| {}) {
            Ok(texts) => Ok(texts.into_iter().map(|text| Some(text.tokens)).collect()),
            Err(ModelError::NotFinite { .. }) if prompts.len() > 1 => {
                let each = prompts.iter().map(std::slice::from_ref);
                let each = each.map(|prompt| self.write_each(adapters, prompt, greedy));
                Ok(each.collect::<Result<Vec<_>, _>>()?.concat())
            }
            Err(ModelError::NotFinite { .. }) if prompts[0].adapter.is_some() => Ok(vec![None]),
            Err(error) => Err(error),
        }
    }

    fn grade(&self, task: &Task<'_>, tokens: &[u32], outcome: &mut Outcome) {
        let answer = self.tokenizer.decode_plain(tokens);
        let item = task.wanted.item;
        let question = item.asked();
        let asked = Asked { question: &question, gold: &item.answer, answer: &answer };
        // Golds were tried at the start; one that fails now proves nothing.
        outcome.exact = task.grader.grade(&asked).unwrap_or(false);
        outcome.empty = answer.trim().is_empty();
    }
}

fn prompt(asked: &ScoreItem) -> Prompt {
    Prompt { adapter: asked.adapter, tokens: asked.prompt.clone(), seed: 0 }
}
