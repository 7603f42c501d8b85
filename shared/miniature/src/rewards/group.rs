//! The adapters of one context kept side by side, for studying labels that come of their own answers.

use seal_model::{Adapter, Prompt, SamplingConfig, generate, score};

use super::{Reading, RewardBench, Run, TOGETHER, Update, reading, recipe};
use crate::checks::CheckError;
use crate::effects::EffectError;
use crate::items::Item;

/// Longest answer that is written, in tokens; golds have fewer than ten.
const ANSWER_TOKENS: usize = 24;

/// The base with several adapters on one context.
pub struct Group<'a> {
    bench: &'a RewardBench<'a>,
    context: usize,
    adapters: Vec<Adapter>,
}

impl<'a> RewardBench<'a> {
    /// Trains runs on one context with the gentle update and keeps what comes of them, in order.
    ///
    /// # Errors
    /// The engine's, divergence among them.
    pub fn group(&'a self, context: usize, runs: &[Run<'_>]) -> Result<Group<'a>, EffectError> {
        let update = Update::Gentle;
        let mut adapters = Vec::new();
        for batch in runs.chunks(TOGETHER) {
            let jobs = batch.iter().map(|run| self.job(run, update));
            let jobs = jobs.collect::<Result<Vec<_>, _>>()?;
            adapters.extend(self.train(&jobs, &recipe(update))?);
        }
        Ok(Group { bench: self, context, adapters })
    }
}

impl Group<'_> {
    fn questions(&self) -> &[Item] {
        &self.bench.tau[self.context].reward
    }

    /// Gold answers of the reward split.
    pub fn golds(&self) -> impl Iterator<Item = &str> {
        self.questions().iter().map(|item| item.answer.as_str())
    }

    /// What each model writes to each question of the reward split, greedy: by question, the base first.
    ///
    /// # Errors
    /// The engine's.
    pub fn answers(&self) -> Result<Vec<Vec<String>>, EffectError> {
        let mut prompts = Vec::new();
        for item in self.questions() {
            for adapter in std::iter::once(None).chain((0..self.adapters.len()).map(Some)) {
                let tokens = self.bench.asked(item, adapter)?.prompt;
                prompts.push(Prompt { adapter, tokens, seed: 0 });
            }
        }
        let greedy = SamplingConfig {
            max_new_tokens: ANSWER_TOKENS,
            temperature: 0.0,
            ..SamplingConfig::default()
        };
        let adapters: Vec<&Adapter> = self.adapters.iter().collect();
        let written = generate(self.bench.decoder, &adapters, &prompts, &greedy, &mut |_, _| {});
        let written = written.map_err(CheckError::from)?;
        let text = |one: &seal_model::Generated| self.bench.vocabulary.decode(one.content());
        let texts: Vec<String> = written.iter().map(text).collect();
        Ok(texts.chunks(1 + self.adapters.len()).map(<[String]>::to_vec).collect())
    }

    /// How each adapter answers the reward split by these labels, one per question. A question without
    /// one is asked nobody.
    ///
    /// # Errors
    /// The engine's, or a label with a word that the model lacks.
    pub fn readings(&self, labels: &[Option<String>]) -> Result<Vec<Reading>, EffectError> {
        let labelled = self.questions().iter().zip(labels).filter_map(|(item, label)| {
            label.as_ref().map(|label| Item { answer: label.clone(), ..item.clone() })
        });
        let labelled: Vec<Item> = labelled.collect();
        let mut asked = Vec::new();
        for adapter in 0..self.adapters.len() {
            for item in &labelled {
                asked.push(self.bench.asked(item, Some(adapter))?);
            }
        }
        let adapters: Vec<&Adapter> = self.adapters.iter().collect();
        let scores = score(self.bench.decoder, &adapters, &asked).map_err(CheckError::from)?;
        let mut scores = scores.into_iter();
        let mut next = |_| reading(scores.by_ref().take(labelled.len()).collect());
        Ok((0..self.adapters.len()).map(&mut next).collect())
    }
}
