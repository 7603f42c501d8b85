//! The inner update of SEAL: θ' = SFT(θ, SE), for many self-edits at once.
//!
//! Trains one fresh LoRA adapter for each job over the same frozen base.
//!
//! **Invariant:** base, sequences, recipe and seed fix an adapter's bytes; the other jobs, the
//! number of threads and the vector unit do not change a bit.
//! **Invariant:** τ never enters this module; scoring θ' is the caller's job.
//!
//! Source: arXiv:2506.10943, Algorithm 1.

use crate::backward::{AdapterGradients, Gradients, loss_and_gradients};
use crate::batch::{TrainBatch, TrainSequence, check, part_norms};
use crate::error::{Result, TrainError};
use crate::optimizer::{AdamW, OptimRecipe};
use crate::schedule::Schedule;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use seal_model::{Adapter, Decoder, LoraSpec, forward_tokens};
use serde::{Deserialize, Serialize};
use std::sync::Mutex;

/// How one self-edit becomes an adapter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InnerRecipe {
    /// Shape and start of the adapter.
    pub lora: LoraSpec,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Optimizer steps.
    pub steps: u64,
    /// Decay rates of AdamW's running means.
    #[serde(default = "default_betas")]
    pub betas: (f64, f64),
    /// Added to the root of AdamW's second mean.
    #[serde(default = "default_eps")]
    pub eps: f64,
    /// Decoupled weight decay.
    #[serde(default)]
    pub weight_decay: f64,
    /// Largest gradient norm of one candidate.
    #[serde(default)]
    pub clip: Option<f64>,
    /// Shape of the learning rate.
    #[serde(default)]
    pub schedule: Schedule,
    /// Steps in which the rate rises from 0.
    #[serde(default)]
    pub warmup_steps: u64,
    /// Sequences of one step, drawn without repetition until all were seen; absent: all of them.
    #[serde(default)]
    pub sequences_per_step: Option<usize>,
}

fn default_betas() -> (f64, f64) {
    OptimRecipe::default().betas
}

fn default_eps() -> f64 {
    OptimRecipe::default().eps
}

impl InnerRecipe {
    /// The optimizer's part of the recipe.
    #[must_use]
    pub fn optimizer(&self) -> OptimRecipe {
        OptimRecipe {
            learning_rate: self.learning_rate,
            betas: self.betas,
            eps: self.eps,
            weight_decay: self.weight_decay,
            clip: self.clip,
            schedule: self.schedule,
            warmup_steps: self.warmup_steps,
            final_fraction: 0.0,
        }
    }

    /// Refuses values no run can have.
    ///
    /// # Errors
    /// The first field out of range.
    pub fn check(&self) -> Result<()> {
        self.lora.check()?;
        self.optimizer().check()?;
        match self {
            r if r.steps == 0 => {
                Err(TrainError::Recipe { field: "steps", problem: "must be at least 1" })
            }
            r if r.sequences_per_step == Some(0) => Err(TrainError::Recipe {
                field: "sequences_per_step",
                problem: "must be at least 1, or absent",
            }),
            _ => Ok(()),
        }
    }
}

/// One inner update to do.
#[derive(Clone, Debug)]
pub struct InnerJob {
    /// What to train on.
    pub sequences: Vec<TrainSequence>,
    /// Fixes the start of A and the order of minibatches.
    pub seed: u64,
    /// Continue from this adapter instead of a fresh one.
    pub start: Option<Adapter>,
}

/// One inner update done.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The adapter.
    pub adapter: Adapter,
    /// Loss of each step before its update, in nats.
    pub losses: Vec<f32>,
}

/// Trains every job's adapter; `progress` hears of finished and of all optimizer steps.
///
/// # Errors
/// A recipe or sequence that cannot be trained, or the first candidate that diverged.
pub fn inner_updates(
    decoder: &Decoder,
    jobs: &[InnerJob],
    recipe: &InnerRecipe,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Vec<Trained>> {
    recipe.check()?;
    jobs.iter().enumerate().try_for_each(|(index, job)| check(decoder, index, &job.sequences))?;
    let total = recipe.steps * jobs.len() as u64;
    let progress = Mutex::new((0, progress));
    let stepped = |candidates: usize| {
        if let Ok(mut progress) = progress.lock() {
            progress.0 += candidates as u64;
            let done = progress.0;
            (progress.1)(done, total);
        }
    };
    let trained: Vec<Vec<Trained>> = groups(decoder, jobs, recipe)
        .into_par_iter()
        .map(|(first, jobs)| Group::new(decoder, first, jobs, recipe)?.run(&stepped))
        .collect::<Result<_>>()?;
    Ok(trained.into_iter().flatten().collect())
}

/// Consecutive jobs whose steps share a forward. No candidate's result depends on who shares it.
fn groups<'a>(
    decoder: &Decoder,
    jobs: &'a [InnerJob],
    recipe: &InnerRecipe,
) -> Vec<(usize, &'a [InnerJob])> {
    let total = jobs.iter().map(|job| step_tokens(job, recipe)).sum();
    let budget = forward_tokens(decoder, total);
    let (mut groups, mut start, mut tokens) = (Vec::new(), 0, 0);
    for (index, job) in jobs.iter().enumerate() {
        let len = step_tokens(job, recipe);
        if tokens + len > budget && index > start {
            groups.push((start, &jobs[start..index]));
            (start, tokens) = (index, 0);
        }
        tokens += len;
    }
    if start < jobs.len() {
        groups.push((start, &jobs[start..]));
    }
    groups
}

/// About how many tokens one step of `job` computes.
fn step_tokens(job: &InnerJob, recipe: &InnerRecipe) -> usize {
    let all: usize = job.sequences.iter().map(|s| s.tokens.len()).sum();
    let share = recipe.sequences_per_step.map_or(1, |n| (job.sequences.len() / n).max(1));
    all / share
}

/// True if both have the same factors and scale. How A began, and the order in which a file lists
/// the targets, do not matter to an adapter that exists.
fn same_shape(a: &LoraSpec, b: &LoraSpec) -> bool {
    let shape = |spec: &LoraSpec| {
        let mut targets = spec.targets.clone();
        targets.sort_unstable();
        (spec.r, spec.alpha, spec.use_rslora, targets)
    };
    shape(a) == shape(b)
}

/// One candidate in training.
struct Candidate<'a> {
    index: usize,
    sequences: &'a [TrainSequence],
    parameters: Vec<f32>,
    optimizer: AdamW,
    order: Vec<usize>,
    next: usize,
    rng: ChaCha8Rng,
    losses: Vec<f32>,
}

impl<'a> Candidate<'a> {
    fn new(
        decoder: &Decoder,
        index: usize,
        job: &'a InnerJob,
        recipe: &InnerRecipe,
    ) -> Result<Self> {
        let start = match &job.start {
            Some(adapter) if !same_shape(adapter.spec(), &recipe.lora) => {
                return Err(TrainError::Recipe {
                    field: "lora",
                    problem: "differs from the adapter to continue from",
                });
            }
            Some(adapter) => adapter.clone(),
            None => Adapter::init(decoder.config(), &recipe.lora, job.seed)?,
        };
        let parameters = start.flat()?;
        // Stream 1: the order of minibatches is independent of the draw of A.
        let mut rng = ChaCha8Rng::seed_from_u64(job.seed);
        rng.set_stream(1);
        Ok(Self {
            index,
            sequences: &job.sequences,
            optimizer: AdamW::new(parameters.len()),
            parameters,
            order: Vec::new(),
            next: 0,
            rng,
            losses: Vec::with_capacity(usize::try_from(recipe.steps).unwrap_or(0)),
        })
    }

    /// The sequences of the next step that train something.
    fn draw(&mut self, count: usize) -> Vec<&'a TrainSequence> {
        let mut drawn = Vec::with_capacity(count);
        while drawn.len() < count.min(self.sequences.len()) {
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
}

/// Candidates trained in the same forwards.
struct Group<'a> {
    decoder: &'a Decoder,
    recipe: &'a InnerRecipe,
    candidates: Vec<Candidate<'a>>,
}

impl<'a> Group<'a> {
    fn new(
        decoder: &'a Decoder,
        first: usize,
        jobs: &'a [InnerJob],
        recipe: &'a InnerRecipe,
    ) -> Result<Self> {
        let candidate = |(i, job)| Candidate::new(decoder, first + i, job, recipe);
        let candidates = jobs.iter().enumerate().map(candidate).collect::<Result<_>>()?;
        Ok(Self { decoder, recipe, candidates })
    }

    fn run(mut self, stepped: &(dyn Fn(usize) + Sync)) -> Result<Vec<Trained>> {
        let optimizer = self.recipe.optimizer();
        let mut full = None;
        let mut gradients: Vec<Vec<f32>> =
            self.candidates.iter().map(|c| vec![0.0; c.parameters.len()]).collect();
        for step in 0..self.recipe.steps {
            let drawn;
            let batch = match self.recipe.sequences_per_step {
                None => full.get_or_insert_with(|| self.full_batch()),
                Some(count) => {
                    drawn = self.minibatch(count);
                    &drawn
                }
            };
            let losses = self.gradients(batch, &mut gradients)?;
            let rate = optimizer.rate(step, self.recipe.steps);
            for ((candidate, gradient), loss) in
                self.candidates.iter_mut().zip(&mut gradients).zip(losses)
            {
                if !loss.is_finite() {
                    return Err(TrainError::Diverged { candidate: candidate.index, step, loss });
                }
                candidate.learn(gradient, loss, &optimizer, rate);
            }
            stepped(self.candidates.len());
        }
        let (decoder, recipe) = (self.decoder, self.recipe);
        self.candidates.into_iter().map(|c| c.finish(decoder, recipe)).collect()
    }

    fn full_batch(&self) -> TrainBatch {
        let mut batch = TrainBatch::default();
        for (slot, candidate) in self.candidates.iter().enumerate() {
            batch.push(candidate.sequences, slot, Some(slot), &part_norms(candidate.sequences));
        }
        batch
    }

    fn minibatch(&mut self, count: usize) -> TrainBatch {
        let mut batch = TrainBatch::default();
        for (slot, candidate) in self.candidates.iter_mut().enumerate() {
            let drawn = candidate.draw(count);
            let norms = part_norms(drawn.iter().copied());
            batch.push(drawn, slot, Some(slot), &norms);
        }
        batch
    }

    /// Fills `gradients` and returns the losses of one step.
    fn gradients(&self, batch: &TrainBatch, gradients: &mut [Vec<f32>]) -> Result<Vec<f64>> {
        let (config, spec) = (self.decoder.config(), &self.recipe.lora);
        gradients.iter_mut().for_each(|g| g.fill(0.0));
        let adapters: Vec<Adapter> = self
            .candidates
            .iter()
            .map(|c| Adapter::from_flat(config, spec, &c.parameters))
            .collect::<seal_model::Result<_>>()?;
        let adapters: Vec<&Adapter> = adapters.iter().collect();
        let mut sink = Gradients::Adapters(AdapterGradients::new(config, spec, gradients));
        loss_and_gradients(self.decoder, batch, &adapters, self.candidates.len(), &mut sink)
    }
}

impl Candidate<'_> {
    #[allow(clippy::cast_possible_truncation)]
    fn learn(&mut self, gradient: &mut [f32], loss: f64, recipe: &OptimRecipe, rate: f64) {
        let everything = 0..self.parameters.len();
        self.optimizer.step(
            &mut self.parameters,
            gradient,
            recipe,
            rate,
            std::slice::from_ref(&everything),
        );
        self.losses.push(loss as f32);
    }

    fn finish(self, decoder: &Decoder, recipe: &InnerRecipe) -> Result<Trained> {
        let adapter = Adapter::from_flat(decoder.config(), &recipe.lora, &self.parameters)?;
        Ok(Trained { adapter, losses: self.losses })
    }
}
