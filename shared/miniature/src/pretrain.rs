//! Pre-training of the base model.
//!
//! Two kinds of sequences go into every step: lines about the training world and documents with
//! a self-edit. Their losses are means over tokens and are added. In a document the passage
//! weighs a quarter of the edit: what matters is to copy from it, not to guess it.
//!
//! **Invariant:** recipe and build fix the weights.

use seal_model::{Decoder, ModelError};
use seal_training::{End, FineTune, OptimRecipe, Schedule, TrainError, TrainSequence};
use serde::{Deserialize, Serialize};

use crate::architecture::fresh_decoder;
use crate::dice::Dice;
use crate::mix::{Document, draw_document, draw_line};
use crate::vocabulary::{BOS, EOS, UnknownWord, Vocabulary};
use crate::world::{WORLD_SEED, World};

/// Weight of a passage's tokens in the loss; those of the edit weigh 1.
const PASSAGE_WEIGHT: f32 = 0.25;
/// The parts of a step, each a mean of its own.
const LINES: usize = 0;
const DOCUMENTS: usize = 1;

/// What fixes the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainRecipe {
    /// Seed of the world.
    pub world_seed: u64,
    /// Seed of the initial weights and of the order of the sequences.
    pub seed: u64,
    /// Optimizer steps.
    pub steps: u64,
    /// Documents per step.
    pub documents: usize,
    /// Lines per step.
    pub lines: usize,
    /// Peak learning rate; falls along a cosine to a fiftieth.
    pub learning_rate: f64,
    /// Steps in which the learning rate rises.
    pub warmup_steps: u64,
}

impl Default for PretrainRecipe {
    fn default() -> Self {
        Self {
            world_seed: WORLD_SEED,
            seed: 1,
            steps: 6000,
            documents: 10,
            lines: 48,
            learning_rate: 2.5e-3,
            warmup_steps: 200,
        }
    }
}

impl PretrainRecipe {
    fn optimizer(&self) -> OptimRecipe {
        OptimRecipe {
            learning_rate: self.learning_rate,
            betas: (0.9, 0.98),
            eps: 1e-8,
            weight_decay: 0.05,
            clip: Some(1.0),
            schedule: Schedule::Cosine,
            warmup_steps: self.warmup_steps,
            final_fraction: 0.02,
            ..OptimRecipe::default()
        }
    }
}

/// What goes wrong in pre-training.
#[derive(Debug, thiserror::Error)]
pub enum PretrainError {
    /// The engine refused, or the loss left the finite numbers.
    #[error("a pre-training step failed")]
    Train(#[from] TrainError),
    /// The initial weights could not be made.
    #[error("cannot make the initial weights")]
    Model(#[from] ModelError),
    /// A word of the mix that the model has no token for.
    #[error(transparent)]
    Word(#[from] UnknownWord),
}

/// What a step reports.
#[derive(Clone, Copy)]
pub struct Progress<'a> {
    /// Steps done.
    pub step: u64,
    /// Tokens seen so far.
    pub tokens: u64,
    /// Loss of this step before its update, in nats; lines and documents added.
    pub loss: f64,
    /// The weights so far.
    pub decoder: &'a Decoder,
}

/// Trains the base model from fresh weights. Returns it with the number of tokens seen.
///
/// # Errors
/// The first step that failed.
pub fn pretrain(
    recipe: &PretrainRecipe,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(Decoder, u64), PretrainError> {
    let mut mix = Mix::new(recipe);
    let mut run = FineTune::new(&fresh_decoder(recipe.seed)?, &recipe.optimizer(), recipe.steps)?;
    let mut tokens = 0;
    for step in 1..=recipe.steps {
        let batch = mix.batch(recipe)?;
        tokens += batch.iter().map(|sequence| sequence.tokens.len() as u64).sum::<u64>();
        let loss = run.step(&batch)?;
        progress(Progress { step, tokens, loss, decoder: &run.decoder()? });
    }
    Ok((run.decoder()?, tokens))
}

/// The endless stream of sequences.
struct Mix {
    world: World,
    vocabulary: Vocabulary,
    dice: Dice,
}

impl Mix {
    fn new(recipe: &PretrainRecipe) -> Self {
        Self {
            world: World::new(recipe.world_seed),
            vocabulary: Vocabulary::new(),
            dice: Dice::new("pre-training", recipe.seed),
        }
    }

    fn batch(&mut self, recipe: &PretrainRecipe) -> Result<Vec<TrainSequence>, UnknownWord> {
        let mut batch = Vec::with_capacity(recipe.documents + recipe.lines);
        for _ in 0..recipe.documents {
            let document = draw_document(&mut self.dice, &self.world);
            batch.push(document_sequence(&self.vocabulary, &document)?);
        }
        for _ in 0..recipe.lines {
            let line = draw_line(&mut self.dice, &self.world);
            batch.push(line_sequence(&self.vocabulary, &line, LINES)?);
        }
        Ok(batch)
    }
}

/// `<bos> line <eos>`, every token trained.
///
/// # Errors
/// A word without a token.
pub fn line_sequence(
    vocabulary: &Vocabulary,
    line: &str,
    part: usize,
) -> Result<TrainSequence, UnknownWord> {
    let tokens = [vec![BOS], vocabulary.encode(line)?, vec![EOS]].concat();
    Ok(TrainSequence::all(tokens, part))
}

/// `<bos> passage <edit> edit <eos>`, the passage with a quarter of the edit's weight.
fn document_sequence(
    vocabulary: &Vocabulary,
    document: &Document,
) -> Result<TrainSequence, UnknownWord> {
    let prompt = vocabulary.prompt(&document.prompt())?;
    let edit = [vocabulary.encode(&document.edit.text())?, vec![EOS]].concat();
    let weights = [vec![PASSAGE_WEIGHT; prompt.len()], vec![1.0; edit.len()]].concat();
    let tokens = [prompt, edit].concat();
    Ok(TrainSequence { tokens, weights, part: DOCUMENTS, end: End::Token(EOS) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> PretrainRecipe {
        PretrainRecipe { steps: 3, documents: 1, lines: 4, warmup_steps: 1, ..Default::default() }
    }

    #[test]
    fn a_recipe_fixes_the_weights() {
        let weights = |seed| {
            let recipe = PretrainRecipe { seed, ..small() };
            pretrain(&recipe, &mut |_| {}).unwrap().0.flat().unwrap()
        };
        assert_eq!(weights(1), weights(1));
        assert_ne!(weights(1), weights(2));
    }

    #[test]
    fn the_passage_weighs_a_quarter_of_the_edit() {
        let mut mix = Mix::new(&small());
        let batch = mix.batch(&small()).unwrap();
        let document = &batch[0];
        assert_eq!(document.weights.first(), Some(&PASSAGE_WEIGHT));
        assert_eq!(document.weights.last(), Some(&1.0));
        assert!(batch[1..].iter().all(|line| line.weights.iter().all(|weight| *weight == 1.0)));
        assert!(document.part != batch[1].part);
    }

    #[test]
    fn the_loss_falls_within_a_few_steps() {
        let recipe = PretrainRecipe { steps: 25, documents: 2, lines: 8, ..small() };
        let mut losses = Vec::new();
        pretrain(&recipe, &mut |progress| losses.push(progress.loss)).unwrap();
        assert!(losses[24] < losses[0] - 1.0, "{losses:?}");
    }
}
