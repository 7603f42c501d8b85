//! Answers that a model writes and a grader reads.
//!
//! Source: the evaluation of the original system (greedy, at most 64 tokens, ends at the end token).
//! Here base and candidates write in one call, so that both are asked under the same conditions.

use std::collections::BTreeMap;

use seal_model::{Adapter, ModelError, Prompt, SamplingConfig, ScoreItem, generate};

use super::{ModelMeasurer, NOT_MEASURED};
use crate::gate::Outcome;
use crate::graders::{Asked, Grader};
use crate::grading::Grading;
use crate::measure::Wanted;

/// A wanted answer: where its outcome lies, and who reads it.
struct Task<'a> {
    at: usize,
    wanted: &'a Wanted<'a>,
    grader: Grader,
    prompt: Prompt,
}

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
        let mut by_limit: BTreeMap<usize, Vec<Task<'_>>> = BTreeMap::new();
        for (at, (wanted, asked)) in wanted.iter().zip(asked).enumerate() {
            let Grading::Written { max_new_tokens, grader } = *wanted.grading else { continue };
            if outcomes[at].log_prob.is_some() {
                let tokens = asked.prompt.clone();
                let prompt = Prompt { adapter: asked.adapter, tokens, seed: 0 };
                let task = Task { at, wanted, grader, prompt };
                by_limit.entry(max_new_tokens).or_default().push(task);
            }
        }
        for (max_new_tokens, tasks) in by_limit {
            let greedy = SamplingConfig {
                max_new_tokens,
                temperature: 0.0,
                stop: self.turn_ends(),
                ..SamplingConfig::default()
            };
            self.write(adapters, &tasks, &greedy, outcomes)?;
        }
        Ok(())
    }

    /// All together; where a model yields no numbers, each by itself, so that it spoils no other.
    fn write(
        &self,
        adapters: &[&Adapter],
        tasks: &[Task<'_>],
        greedy: &SamplingConfig,
        outcomes: &mut [Outcome],
    ) -> Result<(), ModelError> {
        let prompts: Vec<Prompt> = tasks.iter().map(|task| task.prompt.clone()).collect();
        match generate(&self.decoder, adapters, &prompts, greedy, &mut |_, _| {}) {
            Ok(texts) => {
                for (task, text) in tasks.iter().zip(texts) {
                    self.grade(task, &text.tokens, &mut outcomes[task.at]);
                }
                Ok(())
            }
            Err(ModelError::NotFinite { .. }) if tasks.len() > 1 => {
                let mut each = tasks.iter();
                each.try_for_each(|task| {
                    self.write(adapters, std::slice::from_ref(task), greedy, outcomes)
                })
            }
            Err(ModelError::NotFinite { .. }) if tasks[0].prompt.adapter.is_some() => {
                outcomes[tasks[0].at] = NOT_MEASURED;
                Ok(())
            }
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
