//! One adapter in training.

use super::{InnerJob, Trained};
use crate::adamw::AdamW;
use crate::error::{Result, TrainError};
use crate::optimizer::OptimRecipe;
use crate::options::TrainOptions;
use crate::recipe::InnerRecipe;
use crate::saved::{RunState, SaveError, SaveFile};
use crate::sequence::TrainSequence;
use crate::watchdog::{Diverged, Divergence, judge};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use seal_model::ops::dropout::Dropout;
use seal_model::{Adapter, Decoder, LoraSpec, Products};

const PARAMETERS: &str = "parameters";

/// One candidate between two steps.
pub(super) struct Candidate<'a> {
    pub(super) index: usize,
    sequences: &'a [TrainSequence],
    seed: u64,
    /// Continues from no other adapter.
    is_new: bool,
    parameters: Vec<f32>,
    optimizer: AdamW,
    order: Vec<usize>,
    next: usize,
    rng: ChaCha8Rng,
    losses: Vec<f32>,
    save: Option<SaveFile>,
}

impl<'a> Candidate<'a> {
    /// The candidate of job `index` before its first step, or where it was last saved.
    pub(super) fn new(
        decoder: &Decoder,
        index: usize,
        job: &'a InnerJob,
        recipe: &InnerRecipe,
        options: &TrainOptions<'_>,
    ) -> Result<Self> {
        let parameters = match &job.start {
            Some(adapter) if !same_shape(adapter.spec(), &recipe.lora) => {
                return Err(TrainError::Recipe {
                    field: "lora",
                    problem: "differs from the adapter to continue from",
                });
            }
            Some(adapter) => adapter.flat()?,
            None => Adapter::init_flat(decoder.config(), &recipe.lora, job.seed)?,
        };
        // Stream 1: the order of minibatches is independent of the draw of A.
        let mut rng = ChaCha8Rng::seed_from_u64(job.seed);
        rng.set_stream(1);
        let mut candidate = Self {
            index,
            sequences: &job.sequences,
            seed: job.seed,
            is_new: job.start.is_none(),
            optimizer: AdamW::new(parameters.len()),
            parameters,
            order: Vec::new(),
            next: 0,
            rng,
            losses: Vec::new(),
            save: None,
        };
        candidate.take_up(decoder, job, recipe, options);
        Ok(candidate)
    }

    /// Goes on from the job's save, if there is one that can be used.
    fn take_up(
        &mut self,
        decoder: &Decoder,
        job: &InnerJob,
        recipe: &InnerRecipe,
        options: &TrainOptions<'_>,
    ) {
        let Some(saves) = options.saves else { return };
        let Some(path) = saves.files.get(self.index) else { return };
        let arithmetic = rounding(decoder);
        let file = SaveFile::new(
            path,
            &[
                saves.identity,
                format!("{recipe:?}{:?}{arithmetic}", decoder.config()).as_bytes(),
                &job.seed.to_le_bytes(),
                &of_sequences(&job.sequences),
                bytemuck::cast_slice(&self.parameters),
            ],
        );
        let shapes = [(PARAMETERS.to_owned(), self.parameters.len())];
        match file.read(&shapes, recipe.steps) {
            Ok(None) => {}
            Ok(Some(state)) => self.continue_from(state, recipe),
            Err(error) => (saves.unusable)(&error),
        }
        self.save = Some(file);
    }

    fn continue_from(&mut self, mut state: RunState, recipe: &InnerRecipe) {
        if let Some(parameters) = state.parameters.pop() {
            self.parameters = parameters;
        }
        self.optimizer = state.optimizer;
        self.losses = state.losses;
        // The generator moves on as it did in the steps that are done.
        for _ in 0..self.steps_done() {
            self.draw(recipe.sequences_per_step);
        }
    }

    /// Keeps the state, if the options say where.
    pub(super) fn save(&self) -> Result<(), SaveError> {
        match &self.save {
            Some(file) => {
                let parameters = [(PARAMETERS.to_owned(), &self.parameters[..])];
                file.write(&parameters, &self.optimizer, &self.losses)
            }
            None => Ok(()),
        }
    }

    /// Optimizer steps behind it.
    pub(super) fn steps_done(&self) -> u64 {
        self.losses.len() as u64
    }

    /// Numbers that are trained.
    pub(super) fn parameter_count(&self) -> usize {
        self.parameters.len()
    }

    /// About how many tokens one forward of a step computes.
    pub(super) fn step_tokens(&self, recipe: &InnerRecipe) -> usize {
        let all: usize = self.sequences.iter().map(|s| s.tokens.len()).sum();
        let per_step = recipe.sequences_per_step;
        let share = per_step.map_or(1, |n| (self.sequences.len() / n).max(1));
        all / share / recipe.gradient_accumulation_steps
    }

    /// The sequences of the next step: all of them, or `count` without repetition until all were
    /// seen.
    pub(super) fn draw(&mut self, count: Option<usize>) -> Vec<&'a TrainSequence> {
        let Some(count) = count else { return self.sequences.iter().collect() };
        let count = count.min(self.sequences.len());
        let mut drawn = Vec::with_capacity(count);
        while drawn.len() < count {
            if self.next == self.order.len() {
                self.order = (0..self.sequences.len()).collect();
                self.order.shuffle(&mut self.rng);
                self.next = 0;
            }
            drawn.push(&self.sequences[self.order[self.next]]);
            self.next += 1;
        }
        drawn
    }

    /// What the step `ahead` of those it has heard of leaves out, in a forward before which it had
    /// `first_row` rows.
    pub(super) fn dropout(&self, rate: f64, ahead: u64, first_row: u64) -> Dropout {
        Dropout { rate, seed: self.seed, step: self.steps_done() + ahead, first_row }
    }

    /// Parameters and optimizer as they were at the start or when they were last set.
    pub(super) fn state(&self) -> (&[f32], &AdamW) {
        (&self.parameters, &self.optimizer)
    }

    /// What another device made of parameters and both means in the steps it has heard of.
    pub(super) fn set_state(&mut self, parameters: Vec<f32>, means: (Vec<f32>, Vec<f32>)) {
        self.parameters = parameters;
        let steps = self.steps_done();
        self.optimizer = AdamW { first: means.0, second: means.1, steps };
    }

    /// The adapter as it is.
    pub(super) fn adapter(&self, decoder: &Decoder, recipe: &InnerRecipe) -> Result<Adapter> {
        Ok(Adapter::from_flat(decoder.config(), &recipe.lora, &self.parameters)?)
    }

    /// One optimizer step, or why there is no sense in it.
    pub(super) fn learn(
        &mut self,
        gradient: &[f32],
        loss: f64,
        recipe: &OptimRecipe,
        steps: u64,
    ) -> Result<(), Diverged> {
        let step = self.steps_done();
        self.note(loss, recipe)?;
        let everything = 0..self.parameters.len();
        let norm = self.optimizer.step(
            &mut self.parameters,
            gradient,
            recipe,
            recipe.rate(step, steps),
            std::slice::from_ref(&everything),
        );
        self.check_norm(step, norm)
    }

    /// The loss and the gradient's norm of a step that another device took, or why there is no
    /// sense in going on.
    pub(super) fn hear(
        &mut self,
        loss: f64,
        norm: f64,
        recipe: &OptimRecipe,
    ) -> Result<(), Diverged> {
        let step = self.steps_done();
        self.note(loss, recipe)?;
        self.check_norm(step, norm)
    }

    #[allow(clippy::cast_possible_truncation)]
    fn note(&mut self, loss: f64, recipe: &OptimRecipe) -> Result<(), Diverged> {
        let step = self.steps_done();
        self.losses.push(loss as f32);
        let why = judge(&self.losses, recipe);
        why.map_or(Ok(()), |why| Err(Diverged { candidate: self.index, step, why }))
    }

    fn check_norm(&self, step: u64, norm: f64) -> Result<(), Diverged> {
        match norm.is_finite() {
            true => Ok(()),
            false => Err(Diverged { candidate: self.index, step, why: Divergence::Gradient(norm) }),
        }
    }

    pub(super) fn finish(self, decoder: &Decoder, recipe: &InnerRecipe) -> Result<Trained> {
        Ok(Trained { adapter: self.adapter(decoder, recipe)?, losses: self.losses })
    }

    /// The adapter that another device made of it.
    pub(super) fn finish_with(self, adapter: Adapter) -> Trained {
        Trained { adapter, losses: self.losses }
    }

    /// True before the first step of an adapter that nothing was learned by: its B is zero.
    pub(super) fn is_fresh(&self) -> bool {
        self.is_new && self.losses.is_empty()
    }
}

/// What a run may not be taken up by another of: the arithmetic, but of the exact engine only the
/// kind of its products, for its bits depend on no machine.
pub(crate) fn rounding(decoder: &Decoder) -> String {
    match (decoder.is_composed(), decoder.products()) {
        (true, _) => decoder.arithmetic(),
        (false, Products::Bf16x3) => "bf16x3".to_owned(),
        (false, Products::F32) => String::new(),
    }
}

/// True if both have the same factors and scale. How A began, what training left out, and the
/// order in which a file lists the targets do not matter to an adapter that exists.
fn same_shape(a: &LoraSpec, b: &LoraSpec) -> bool {
    let shape = |spec: &LoraSpec| {
        let mut targets = spec.targets.clone();
        targets.sort_unstable();
        (spec.r, spec.alpha, spec.use_rslora, targets)
    };
    shape(a) == shape(b)
}

/// Everything that sequences say, as bytes.
fn of_sequences(sequences: &[TrainSequence]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for sequence in sequences {
        bytes.extend((sequence.tokens.len() as u64).to_le_bytes());
        bytes.extend((sequence.part as u64).to_le_bytes());
        bytes.extend(sequence.tokens.iter().flat_map(|token| token.to_le_bytes()));
        bytes.extend(sequence.weights.iter().flat_map(|weight| weight.to_le_bytes()));
    }
    bytes
}
