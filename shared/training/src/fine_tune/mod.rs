//! Full fine-tuning: every weight is trained. For pre-training and for the policy's update.
//!
//! **Invariant:** on the CPU weights, sequences and recipe fix the result; threads, options and a
//! resumed run do not change a bit, because the shards of a step and the order of their sum are
//! fixed by recipe and sequences. On other devices they change it by rounding alone.

mod exact;
mod on_device;

use crate::adamw::AdamW;
use crate::backward::Keep;
use crate::batch::share;
use crate::error::Result;
use crate::inner_update::rounding;
use crate::optimizer::OptimRecipe;
use crate::options::{Saves, TrainOptions};
use crate::saved::{RunState, SaveFile};
use crate::sequence::{TrainSequence, check};
use crate::watchdog::{Diverged, Divergence, judge};
use exact::Exact;
use on_device::OnDevice;
use seal_model::decoder::parameters;
use seal_model::{Decoder, shard_tokens};

/// A fine-tuning run, one step at a time.
pub struct FineTune {
    /// The weights before the first step.
    start: Decoder,
    weights: Box<dyn Weights>,
    recipe: OptimRecipe,
    keep: Keep,
    steps: u64,
    losses: Vec<f32>,
}

/// Numbers by the name of their tensor.
type Named = Vec<(String, Vec<f32>)>;

/// The weights so far, and the engine that trains them.
trait Weights: Send {
    /// As a decoder.
    fn decoder(&self) -> Result<Decoder>;

    /// The loss of a step whose forwards are `shards`, in nats; its gradient waits for
    /// [`Weights::update`].
    fn gradient(
        &mut self,
        sequences: &[TrainSequence],
        shards: &[&[TrainSequence]],
        keep: Keep,
    ) -> Result<f64>;

    /// Applies the gradient and returns its norm before clipping, which may be no number.
    fn update(&mut self, recipe: &OptimRecipe, rate: f64) -> Result<f64>;

    /// Every weight in the order of [`parameters`], and the optimizer.
    fn state(&self) -> Result<(Named, AdamW)>;

    /// Goes on from there.
    fn set_state(&mut self, state: RunState) -> Result<()>;
}

impl FineTune {
    /// A run of `steps` steps from `decoder`'s weights.
    ///
    /// # Errors
    /// A recipe out of range, a device without the memory.
    pub fn new(decoder: &Decoder, recipe: &OptimRecipe, steps: u64) -> Result<Self> {
        recipe.check()?;
        let weights: Box<dyn Weights> = match decoder.is_composed() {
            true => Box::new(OnDevice::new(decoder)?),
            false => Box::new(Exact::new(decoder)),
        };
        Ok(Self {
            start: decoder.clone(),
            weights,
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
        check(&self.start, 0, sequences)?;
        let shards = self.shards(sequences);
        let loss = self.weights.gradient(sequences, &shards, self.keep)?;
        let step = self.steps_done();
        let diverged = |why| Diverged { candidate: 0, step, why };
        self.losses.push(loss as f32);
        if let Some(why) = judge(&self.losses, &self.recipe) {
            return Err(diverged(why).into());
        }
        let rate = self.recipe.rate(step, self.steps);
        let norm = self.weights.update(&self.recipe, rate)?;
        match norm.is_finite() {
            true => Ok(loss),
            false => Err(diverged(Divergence::Gradient(norm)).into()),
        }
    }

    /// The weights so far.
    ///
    /// # Errors
    /// None that weights which were trained can cause.
    pub fn decoder(&self) -> Result<Decoder> {
        self.weights.decoder()
    }

    /// The file of this run.
    fn save_file(&self, saves: &Saves<'_>) -> Option<SaveFile> {
        let (config, arithmetic) = (self.start.config(), rounding(&self.start));
        let what = format!("{:?}{config:?}{}{arithmetic}", self.recipe, self.steps);
        let path = saves.files.first()?;
        Some(SaveFile::new(path, &[saves.identity, what.as_bytes()]))
    }

    /// Keeps the state between two steps.
    fn save(&self, file: &SaveFile) -> Result<()> {
        let (weights, optimizer) = self.weights.state()?;
        Ok(file.write(&weights, &optimizer, &self.losses)?)
    }

    /// Goes on from `file`, if it is there and can be used.
    fn take_up(&mut self, file: &SaveFile, saves: &Saves<'_>) -> Result<()> {
        let shapes = parameters(self.start.config());
        let lengths = shapes.into_iter().map(|(name, shape)| (name, shape.iter().product()));
        match file.read(&lengths.collect::<Vec<_>>(), self.steps) {
            Ok(None) => {}
            Ok(Some(state)) => {
                self.losses.clone_from(&state.losses);
                self.weights.set_state(state)?;
            }
            Err(error) => (saves.unusable)(&error),
        }
        Ok(())
    }

    /// Optimizer steps behind it.
    fn steps_done(&self) -> u64 {
        self.losses.len() as u64
    }

    /// Consecutive sequences: the recipe's parts, cut to at most so many tokens.
    fn shards<'s>(&self, sequences: &'s [TrainSequence]) -> Vec<&'s [TrainSequence]> {
        let parts = self.recipe.gradient_accumulation_steps;
        let budget =
            self.recipe.max_tokens_per_forward.unwrap_or_else(|| shard_tokens(&self.start));
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
