//! Full fine-tuning: every weight is trained. For pre-training and for the policy's update.
//!
//! **Invariant:** weights, sequences and recipe fix the result; threads, options and a resumed run
//! do not change a bit, because the shards of a step and the order of their sum are fixed by
//! recipe and sequences.

use crate::adamw::AdamW;
use crate::backward::{Gradients, Keep, Places, WeightGradients, accumulate};
use crate::batch::{TrainBatch, part_norms, share};
use crate::error::Result;
use crate::optimizer::OptimRecipe;
use crate::options::{Saves, TrainOptions};
use crate::saved::SaveFile;
use crate::sequence::{TrainSequence, check};
use crate::watchdog::{Diverged, Divergence, judge};
use candle_core::Tensor;
use rayon::prelude::*;
use seal_model::decoder::parameters;
use seal_model::ops::elementwise::add_into;
use seal_model::ops::{tensor, values};
use seal_model::{Decoder, shard_tokens};
use std::collections::{BTreeMap, VecDeque};

/// From so many weights on, shards are computed one after another into one gradient: the threads
/// share each product, and a gradient for each thread would not fit.
const LARGE_FROM: usize = 16 << 20;

/// A fine-tuning run, one step at a time.
pub struct FineTune {
    /// The weights before the first step.
    start: Decoder,
    /// The weights so far, by name. Nothing else holds them between two steps.
    weights: BTreeMap<String, Tensor>,
    optimizer: AdamW,
    recipe: OptimRecipe,
    places: Places,
    keep: Keep,
    steps: u64,
    losses: Vec<f32>,
}

impl FineTune {
    /// A run of `steps` steps from `decoder`'s weights.
    ///
    /// # Errors
    /// A recipe out of range.
    pub fn new(decoder: &Decoder, recipe: &OptimRecipe, steps: u64) -> Result<Self> {
        recipe.check()?;
        let places = Places::new(decoder.config());
        Ok(Self {
            weights: decoder.tensors(),
            optimizer: AdamW::new(places.len()),
            places,
            start: decoder.clone(),
            recipe: recipe.clone(),
            keep: Keep::Everything,
            steps,
            losses: Vec::new(),
        })
    }

    /// Compute in each backward what the forward did not keep; changes no result.
    #[must_use]
    pub fn keeping(self, keep: Keep) -> Self {
        Self { keep, ..self }
    }

    /// Trains on `sequences` and returns their loss before the update, in nats.
    ///
    /// # Errors
    /// A sequence that cannot be trained on, or a run that diverged.
    #[allow(clippy::cast_possible_truncation)]
    pub fn step(&mut self, sequences: &[TrainSequence]) -> Result<f64> {
        let decoder = self.decoder()?;
        check(&decoder, 0, sequences)?;
        let (loss, mut gradient) = self.gradient(&decoder, sequences)?;
        drop(decoder);
        let step = self.steps_done();
        let diverged = |why| Diverged { candidate: 0, step, why };
        self.losses.push(loss as f32);
        if let Some(why) = judge(&self.losses, &self.recipe) {
            return Err(diverged(why).into());
        }
        let rate = self.recipe.rate(step, self.steps);
        let (norm, update) = self.optimizer.begin(&mut gradient, &self.recipe, rate);
        let update = update.ok_or_else(|| diverged(Divergence::Gradient(norm)))?;
        let mut at = 0;
        for (name, shape) in parameters(self.start.config()) {
            // Hugging Face's trainer decays no norm and no bias.
            let is_matrix = shape.len() == 2;
            if let Some(weight) = self.weights.get_mut(&name) {
                let mut numbers = values(weight)?.to_vec();
                if is_matrix {
                    update.decay(&mut numbers);
                }
                self.optimizer.apply(&update, at, &mut numbers, &gradient);
                at += numbers.len();
                *weight = tensor(numbers, shape)?;
            }
        }
        Ok(loss)
    }

    /// The weights so far.
    ///
    /// # Errors
    /// None that weights which were trained can cause.
    pub fn decoder(&self) -> Result<Decoder> {
        Ok(self.start.with_tensors(self.weights.clone())?)
    }

    /// The file of this run.
    fn save_file(&self, saves: &Saves<'_>) -> Option<SaveFile> {
        let what = format!("{:?}{:?}{}", self.recipe, self.start.config(), self.steps);
        let path = saves.files.first()?;
        Some(SaveFile::new(path, &[saves.identity, what.as_bytes()]))
    }

    /// Keeps the state between two steps.
    fn save(&self, file: &SaveFile) -> Result<()> {
        let weights = self
            .weights
            .iter()
            .map(|(name, weight)| Ok((name.clone(), values(weight)?)))
            .collect::<Result<Vec<_>>>()?;
        Ok(file.write(&weights, &self.optimizer, &self.losses)?)
    }

    /// Goes on from `file`, if it is there and can be used.
    fn take_up(&mut self, file: &SaveFile, saves: &Saves<'_>) -> Result<()> {
        let shapes = parameters(self.start.config());
        let lengths = shapes.iter().map(|(name, shape)| (name.clone(), shape.iter().product()));
        let state = match file.read(&lengths.collect::<Vec<_>>(), self.steps) {
            Ok(None) => return Ok(()),
            Ok(Some(state)) => state,
            Err(error) => {
                (saves.unusable)(&error);
                return Ok(());
            }
        };
        for ((name, shape), numbers) in shapes.into_iter().zip(state.parameters) {
            self.weights.insert(name, tensor(numbers, shape)?);
        }
        (self.optimizer, self.losses) = (state.optimizer, state.losses);
        Ok(())
    }

    /// Optimizer steps behind it.
    fn steps_done(&self) -> u64 {
        self.losses.len() as u64
    }

    /// Loss and gradient: shards in parallel, summed in their order.
    fn gradient(&self, decoder: &Decoder, sequences: &[TrainSequence]) -> Result<(f64, Vec<f32>)> {
        let shards = self.shards(decoder, sequences);
        let norms = part_norms(sequences);
        let add = |shard: &[TrainSequence], loss: &mut [f64; 1], flat: &mut [f32]| {
            let mut batch = TrainBatch::default();
            batch.push(shard, 0, None, &norms);
            let mut sink = Gradients::Weights(WeightGradients { flat, places: &self.places });
            accumulate(decoder, &batch, &[], self.keep, loss, &mut sink)
        };
        let (mut loss, mut sum) = ([0.0], vec![0.0; self.places.len()]);
        if self.places.len() >= LARGE_FROM {
            shards.iter().try_for_each(|shard| add(shard, &mut loss, &mut sum))?;
            return Ok((loss[0], sum));
        }
        // As many gradients at once as there are threads, each added in its turn.
        let fresh = |shard: &&[TrainSequence]| {
            let (mut loss, mut flat) = ([0.0], vec![0.0; self.places.len()]);
            add(shard, &mut loss, &mut flat).map(|()| (loss[0], flat))
        };
        for (number, shards) in shards.chunks(rayon::current_num_threads()).enumerate() {
            let parts: VecDeque<_> = shards.par_iter().map(fresh).collect::<Result<_>>()?;
            for (part, (more, flat)) in parts.into_iter().enumerate() {
                loss[0] += more;
                match (number, part) {
                    (0, 0) => sum = flat,
                    _ => add_into(&mut sum, &flat),
                }
            }
        }
        Ok((loss[0], sum))
    }

    /// Consecutive sequences: the recipe's parts, cut to at most so many tokens.
    fn shards<'s>(
        &self,
        decoder: &Decoder,
        sequences: &'s [TrainSequence],
    ) -> Vec<&'s [TrainSequence]> {
        let parts = self.recipe.gradient_accumulation_steps;
        let budget = self.recipe.max_tokens_per_forward.unwrap_or_else(|| shard_tokens(decoder));
        let part = |part| &sequences[share(sequences.len(), part, parts)];
        (0..parts).flat_map(|number| cut(part(number), budget)).collect()
    }
}

/// Consecutive sequences of at most `budget` tokens together.
fn cut(sequences: &[TrainSequence], budget: usize) -> Vec<&[TrainSequence]> {
    let (mut shards, mut start, mut tokens) = (Vec::new(), 0, 0);
    for (index, sequence) in sequences.iter().enumerate() {
        if tokens + sequence.tokens.len() > budget && index > start {
            shards.push(&sequences[start..index]);
            (start, tokens) = (index, 0);
        }
        tokens += sequence.tokens.len();
    }
    if start < sequences.len() {
        shards.push(&sequences[start..]);
    }
    shards
}

/// Trains every weight for `steps` steps on what `next_batch` gives for each step.
///
/// Returns the trained decoder and the loss of each step before its update, in nats.
///
/// # Errors
/// A recipe or sequence that cannot be trained, or a run that diverged.
pub fn fine_tune(
    decoder: &Decoder,
    next_batch: &mut dyn FnMut(u64) -> Vec<TrainSequence>,
    recipe: &OptimRecipe,
    steps: u64,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(Decoder, Vec<f32>)> {
    let options = TrainOptions::default();
    fine_tune_with(decoder, next_batch, recipe, steps, &options, progress)
}

/// [`fine_tune`] with settings that change no result. Of the saves the first file is used, and
/// their identity must also stand for what `next_batch` gives.
///
/// A resumed run asks `next_batch` for the steps that are done too, so that a generator in it
/// moves on as it did.
///
/// # Errors
/// As [`fine_tune`], and a save that cannot be written.
pub fn fine_tune_with(
    decoder: &Decoder,
    next_batch: &mut dyn FnMut(u64) -> Vec<TrainSequence>,
    recipe: &OptimRecipe,
    steps: u64,
    options: &TrainOptions<'_>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(Decoder, Vec<f32>)> {
    let mut run = FineTune::new(decoder, recipe, steps)?.keeping(Keep::from(options));
    let file = options.saves.and_then(|saves| Some((run.save_file(&saves)?, saves)));
    if let Some((file, saves)) = &file {
        run.take_up(file, saves)?;
    }
    for step in 0..steps {
        let batch = next_batch(step);
        if step < run.steps_done() {
            continue;
        }
        run.step(&batch)?;
        let done = step + 1;
        if let Some((file, saves)) = &file
            && done % saves.every_steps == 0
            && done < steps
        {
            run.save(file)?;
        }
        progress(done, steps);
    }
    Ok((run.decoder()?, run.losses))
}
