//! The inner update of SEAL: θ' = SFT(θ, SE), for many self-edits at once.
//!
//! Trains one fresh LoRA adapter for each job over the same frozen base.
//!
//! **Invariant:** on the CPU base, sequences, recipe and seed fix an adapter's bytes; the other
//! jobs, those among them that diverge, the number of threads, the vector unit and the options do
//! not change a bit. On other devices they change it by rounding alone.
//! **Invariant:** τ never enters this module; scoring θ' is the caller's job.
//!
//! Source: arXiv:2506.10943, Algorithm 1.

mod candidate;
mod group;
mod on_device;

use crate::error::Result;
use crate::options::TrainOptions;
use crate::recipe::InnerRecipe;
use crate::sequence::{TrainSequence, check};
use crate::watchdog::Diverged;
use candidate::Candidate;
pub(crate) use candidate::rounding;
use group::Group;
use rayon::prelude::*;
use seal_model::{Adapter, Decoder, forward_tokens};
use std::sync::Mutex;

/// One inner update to do.
#[derive(Clone, Debug)]
pub struct InnerJob {
    /// What to train on.
    pub sequences: Vec<TrainSequence>,
    /// Fixes the start of A, the order of minibatches and the masks of the dropout.
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

/// What became of one job: one that diverges stops no other.
pub type Outcome = Result<Trained, Diverged>;

/// Trains every job's adapter; `progress` hears of finished and of all optimizer steps.
///
/// # Errors
/// A recipe or sequence that cannot be trained.
pub fn inner_updates(
    decoder: &Decoder,
    jobs: &[InnerJob],
    recipe: &InnerRecipe,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Vec<Outcome>> {
    inner_updates_with(decoder, jobs, recipe, &TrainOptions::default(), progress)
}

/// [`inner_updates`] with settings that change no result.
///
/// # Errors
/// As [`inner_updates`], and a save that cannot be written.
pub fn inner_updates_with(
    decoder: &Decoder,
    jobs: &[InnerJob],
    recipe: &InnerRecipe,
    options: &TrainOptions<'_>,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Vec<Outcome>> {
    recipe.check()?;
    jobs.iter().enumerate().try_for_each(|(index, job)| check(decoder, index, &job.sequences))?;
    let candidates = jobs
        .par_iter()
        .enumerate()
        .map(|(index, job)| Candidate::new(decoder, index, job, recipe, options))
        .collect::<Result<Vec<_>>>()?;
    let total = recipe.steps * jobs.len() as u64;
    let progress = Mutex::new((0, progress));
    let stepped = |steps: u64| {
        if let Ok(mut progress) = progress.lock() {
            progress.0 += steps;
            let done = progress.0;
            (progress.1)(done, total);
        }
    };
    if decoder.is_composed() {
        return on_device::train(decoder, candidates, recipe, options, &stepped);
    }
    let trained: Vec<Vec<Outcome>> = groups(decoder, candidates, recipe)
        .into_par_iter()
        .map(|candidates| Group::new(decoder, recipe, options, candidates).run(&stepped))
        .collect::<Result<_>>()?;
    Ok(trained.into_iter().flatten().collect())
}

/// Consecutive candidates whose steps share a forward. No candidate's result depends on who shares
/// it. Those that go on from a save are as far as each other within a group.
fn groups<'a>(
    decoder: &Decoder,
    candidates: Vec<Candidate<'a>>,
    recipe: &InnerRecipe,
) -> Vec<Vec<Candidate<'a>>> {
    let total = candidates.iter().map(|candidate| candidate.step_tokens(recipe)).sum();
    let budget = forward_tokens(decoder, total);
    let mut groups: Vec<Vec<Candidate<'a>>> = Vec::new();
    let mut tokens = 0;
    for candidate in candidates {
        let len = candidate.step_tokens(recipe);
        let fits = |group: &&mut Vec<Candidate<'a>>| {
            tokens + len <= budget && group[0].steps_done() == candidate.steps_done()
        };
        match groups.last_mut().filter(fits) {
            Some(group) => group.push(candidate),
            None => {
                groups.push(vec![candidate]);
                tokens = 0;
            }
        }
        tokens += len;
    }
    groups
}
