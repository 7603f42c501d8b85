//! Full fine-tuning: every weight is trained. For pre-training and for the policy's update.
//!
//! **Invariant:** weights, sequences and recipe fix the result; threads do not change a bit,
//! because the shards of a step and the order of their sum are fixed by the sequences.

use crate::backward::{Gradients, Places, WeightGradients, loss_and_gradients};
use crate::batch::{TrainBatch, TrainSequence, check, part_norms};
use crate::error::{Result, TrainError};
use crate::optimizer::{AdamW, OptimRecipe};
use rayon::prelude::*;
use seal_model::ops::elementwise::add_into;
use seal_model::{Decoder, shard_tokens};

/// A fine-tuning run, one step at a time.
pub struct FineTune {
    decoder: Decoder,
    parameters: Vec<f32>,
    optimizer: AdamW,
    recipe: OptimRecipe,
    places: Places,
    step: u64,
    steps: u64,
}

impl FineTune {
    /// A run of `steps` steps from `decoder`'s weights.
    ///
    /// # Errors
    /// A recipe out of range.
    pub fn new(decoder: &Decoder, recipe: &OptimRecipe, steps: u64) -> Result<Self> {
        recipe.check()?;
        let parameters = decoder.flat()?;
        Ok(Self {
            decoder: decoder.clone(),
            optimizer: AdamW::new(parameters.len()),
            places: Places::new(decoder.config()),
            parameters,
            recipe: recipe.clone(),
            step: 0,
            steps,
        })
    }

    /// Trains on `sequences` and returns their loss before the update, in nats.
    ///
    /// # Errors
    /// A sequence that cannot be trained on, or a loss that is not finite.
    pub fn step(&mut self, sequences: &[TrainSequence]) -> Result<f64> {
        check(&self.decoder, 0, sequences)?;
        let (loss, mut gradient) = self.gradient(sequences)?;
        if !loss.is_finite() {
            return Err(TrainError::Diverged { candidate: 0, step: self.step, loss });
        }
        let rate = self.recipe.rate(self.step, self.steps);
        self.optimizer.step(
            &mut self.parameters,
            &mut gradient,
            &self.recipe,
            rate,
            self.places.matrices(),
        );
        self.decoder = self.decoder.with_flat(&self.parameters)?;
        self.step += 1;
        Ok(loss)
    }

    /// The weights so far.
    #[must_use]
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// Loss and gradient: shards in parallel, summed in their order.
    fn gradient(&self, sequences: &[TrainSequence]) -> Result<(f64, Vec<f32>)> {
        let norms = part_norms(sequences);
        let shards: Vec<(f64, Vec<f32>)> = shards(sequences, shard_tokens(&self.decoder))
            .into_par_iter()
            .map(|shard| {
                let mut batch = TrainBatch::default();
                batch.push(shard, 0, None, &norms);
                let mut flat = vec![0.0; self.places.len()];
                let mut sink =
                    Gradients::Weights(WeightGradients { flat: &mut flat, places: &self.places });
                let losses = loss_and_gradients(&self.decoder, &batch, &[], 1, &mut sink)?;
                Ok((losses.iter().sum(), flat))
            })
            .collect::<Result<_>>()?;
        let sum = shards.into_iter().reduce(|(loss, mut sum), (more, gradient)| {
            add_into(&mut sum, &gradient);
            (loss + more, sum)
        });
        sum.ok_or(TrainError::NothingToTrain { candidate: 0 })
    }
}

/// Consecutive sequences of at most `budget` tokens together.
fn shards(sequences: &[TrainSequence], budget: usize) -> Vec<&[TrainSequence]> {
    let (mut shards, mut start, mut tokens) = (Vec::new(), 0, 0);
    for (index, sequence) in sequences.iter().enumerate() {
        if tokens + sequence.tokens.len() > budget && index > start {
            shards.push(&sequences[start..index]);
            (start, tokens) = (index, 0);
        }
        tokens += sequence.tokens.len();
    }
    shards.push(&sequences[start..]);
    shards
}

/// Trains every weight for `steps` steps on what `next_batch` gives for each step.
///
/// Returns the trained decoder and the loss of each step before its update, in nats.
///
/// # Errors
/// A recipe or sequence that cannot be trained, or a loss that is not finite.
#[allow(clippy::cast_possible_truncation)]
pub fn fine_tune(
    decoder: &Decoder,
    next_batch: &mut dyn FnMut(u64) -> Vec<TrainSequence>,
    recipe: &OptimRecipe,
    steps: u64,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(Decoder, Vec<f32>)> {
    let mut run = FineTune::new(decoder, recipe, steps)?;
    let mut losses = Vec::new();
    for step in 0..steps {
        losses.push(run.step(&next_batch(step))? as f32);
        progress(step + 1, steps);
    }
    Ok((run.decoder, losses))
}
