//! The inner-update and answering work of one whole round of the paper, with its recorded lengths.
//!
//! Fifty contexts, five self-edits each, each trained with three seeds: 750 candidates, each of as
//! many sequences as the recorded edit has and ten times as many steps, then asked its context's
//! questions. Proposing, judging and the policy's update are not part of it.
//!
//! Source: `recorded_lengths.json`, made by `tests/peers/make_bench_lengths.py`.

use crate::flops::{self, Flops, to_f64};
use crate::machine::{Machine, peak_memory_bytes};
use crate::shape::Shape;
use crate::target::Target;
use crate::work;
use anyhow::{Context, Result};
use seal_model::{Adapter, Decoder, DecoderConfig, Generator, Limits, Request, SamplingConfig};
use seal_training::{InnerJob, TrainSequence, inner_updates};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

const RECORDED: &str = include_str!("recorded_lengths.json");
/// Inner updates of each self-edit.
const SEEDS: u64 = 3;
/// Passes over the sequences of an edit, one sequence a step.
const EPOCHS: u64 = 10;

/// The lengths of one context, in tokens.
#[derive(Clone, Debug, Deserialize)]
struct Recorded {
    /// Of the sequences of each self-edit.
    edits: Vec<Vec<usize>>,
    /// Of each question with its instruction, and of its answer.
    questions: Vec<(usize, usize)>,
}

/// What to measure.
#[derive(Clone, Debug)]
pub struct RoundSettings {
    /// Which shape.
    pub shape: Shape,
    /// What computes.
    pub target: Target,
    /// Candidates trained together.
    pub candidates: usize,
    /// How many of the fifty contexts, from the first.
    pub contexts: usize,
}

/// What a round took.
#[derive(Clone, Debug, Serialize)]
pub struct RoundReport {
    /// Where.
    pub machine: Machine,
    /// Which shape.
    pub shape: Shape,
    /// Weights of the base.
    pub parameters: usize,
    /// Contexts worked on, of the fifty of a round.
    pub contexts: usize,
    /// Inner updates done.
    pub candidates: usize,
    /// Candidates trained together.
    pub together: usize,
    /// Optimizer steps of all candidates.
    pub steps: u64,
    /// Tokens trained on.
    pub trained_tokens: u64,
    /// Tokens of answers.
    pub written_tokens: u64,
    /// Seconds of all inner updates.
    pub training_s: f64,
    /// Seconds of all answers.
    pub answering_s: f64,
    /// Of both.
    pub minutes: f64,
    /// Inner updates with their answers.
    pub candidates_per_minute: f64,
    /// Trained tokens per second of training.
    pub training_tokens_per_s: f64,
    /// Written tokens per second of answering.
    pub answer_tokens_per_s: f64,
    /// Operations that the training needs.
    pub training_flops: f64,
    /// Operations per second of matrix products at their best.
    pub peak_flops: f64,
    /// Share of that peak which training reaches.
    pub utilisation: f64,
    /// The most memory of the host that this process held.
    pub peak_memory_bytes: u64,
}

/// One inner update to do.
struct Candidate<'a> {
    sequences: &'a [usize],
    questions: &'a [(usize, usize)],
    seed: u64,
}

/// Measures; `tell` hears how far it is.
///
/// # Errors
/// A machine without the memory.
pub fn paper_round(settings: &RoundSettings, tell: &dyn Fn(&str)) -> Result<RoundReport> {
    let config = settings.shape.config()?;
    let recorded: Vec<Recorded> = serde_json::from_str(RECORDED).context("recorded lengths")?;
    let contexts = &recorded[..settings.contexts.min(recorded.len())];
    let groups = by_steps(contexts);
    let all: usize = groups.values().map(Vec::len).sum();
    tell(&format!("{}: drawing random weights", settings.shape.name()));
    let decoder = settings.target.decoder(settings.shape)?;
    let peak_flops = settings.target.peak_flops()?;
    // The first forward of a process pays for kernels, pages and caches.
    let first = Candidate { sequences: &[8, 8], questions: &[(8, 4)], seed: 0 };
    train_and_ask(&decoder, &[first], 1)?;
    let (mut training_s, mut answering_s, mut done, mut written) = (0.0, 0.0, 0, 0);
    let mut flops = Flops { training: 0.0, answering: 0.0 };
    for (&sequences, candidates) in &groups {
        let parts = candidates.len().div_ceil(settings.candidates).max(1);
        for together in candidates.chunks(candidates.len().div_ceil(parts)) {
            let part = train_and_ask(&decoder, together, EPOCHS * sequences as u64)?;
            training_s += part.training_s;
            answering_s += part.answering_s;
            written += part.written;
            flops.training += needed(&config, together);
            done += together.len();
            let minutes = (training_s + answering_s) / 60.0;
            tell(&format!("{done} of {all} candidates after {minutes:.1} minutes"));
        }
    }
    let everyone = groups.values().flatten();
    let trained: u64 = everyone.clone().map(|one| EPOCHS * rows(one.sequences)).sum();
    let seconds = training_s + answering_s;
    Ok(RoundReport {
        machine: Machine::with(&settings.target),
        shape: settings.shape,
        parameters: decoder.parameter_count(),
        contexts: contexts.len(),
        candidates: all,
        together: settings.candidates,
        steps: everyone.map(|one| EPOCHS * one.sequences.len() as u64).sum(),
        trained_tokens: trained,
        written_tokens: written,
        training_s,
        answering_s,
        minutes: seconds / 60.0,
        candidates_per_minute: 60.0 * to_f64(all) / seconds,
        training_tokens_per_s: count(trained) / training_s,
        answer_tokens_per_s: count(written) / answering_s,
        training_flops: flops.training,
        peak_flops,
        utilisation: flops.training / training_s / peak_flops,
        peak_memory_bytes: peak_memory_bytes(),
    })
}

/// Candidates by the number of their sequences, which fixes the number of their steps.
fn by_steps(contexts: &[Recorded]) -> BTreeMap<usize, Vec<Candidate<'_>>> {
    let mut groups: BTreeMap<usize, Vec<Candidate<'_>>> = BTreeMap::new();
    for context in contexts {
        for edit in &context.edits {
            for seed in 0..SEEDS {
                let seed = seed + SEEDS * groups.values().map(Vec::len).sum::<usize>() as u64;
                let one = Candidate { sequences: edit, questions: &context.questions, seed };
                groups.entry(edit.len()).or_default().push(one);
            }
        }
    }
    groups
}

/// Tokens of one pass that are fed to the model: the last of a sequence predicts nothing.
fn rows(sequences: &[usize]) -> u64 {
    sequences.iter().map(|len| len.saturating_sub(1) as u64).sum()
}

/// Operations that training these candidates needs.
fn needed(config: &DecoderConfig, candidates: &[Candidate<'_>]) -> f64 {
    let rows = candidates.iter().flat_map(|one| one.sequences).map(|len| len.saturating_sub(1));
    to_f64(EPOCHS as usize) * flops::training_steps(config, rows)
}

/// What some candidates took.
struct Part {
    training_s: f64,
    answering_s: f64,
    written: u64,
}

/// Trains candidates together for `steps` steps each and asks all of them their questions.
fn train_and_ask(decoder: &Decoder, candidates: &[Candidate<'_>], steps: u64) -> Result<Part> {
    let config = decoder.config();
    let text = |seed: u64, len: usize| work::text(config, seed, len);
    let job = |one: &Candidate<'_>| InnerJob {
        sequences: (0u64..)
            .zip(one.sequences)
            .map(|(at, &len)| TrainSequence::all(text(one.seed * 1000 + at, len), 0))
            .collect(),
        seed: one.seed,
        start: None,
    };
    let jobs: Vec<InnerJob> = candidates.iter().map(job).collect();
    let recipe = work::recipe(steps, Some(1))?;
    let begun = Instant::now();
    let trained = inner_updates(decoder, &jobs, &recipe, &mut |_, _| {})?;
    let training_s = begun.elapsed().as_secs_f64();
    let trained = trained.into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut generator = Generator::new(decoder, Limits::of(decoder));
    for (one, trained) in candidates.iter().zip(trained) {
        let adapter: Arc<Adapter> = Arc::new(trained.adapter);
        for (at, &(asked, answered)) in (500u64..).zip(one.questions) {
            let sampling = SamplingConfig { max_new_tokens: answered, ..work::greedy() };
            generator.submit(Request {
                prompt: text(one.seed * 1000 + at, asked),
                adapter: Some(adapter.clone()),
                seed: 0,
                sampling: Arc::new(sampling),
                constraint: None,
            })?;
        }
    }
    let begun = Instant::now();
    let texts = generator.write_all(&mut |_| {})?;
    let answering_s = begun.elapsed().as_secs_f64();
    Ok(Part { training_s, answering_s, written: texts.iter().map(|t| t.tokens.len() as u64).sum() })
}

#[allow(clippy::cast_precision_loss)]
fn count(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn the_recorded_round_has_the_size_of_the_paper() {
        let recorded: Vec<Recorded> = serde_json::from_str(RECORDED).unwrap();
        let groups = by_steps(&recorded);
        assert_eq!(groups.values().map(Vec::len).sum::<usize>(), 750);
        let lengths: Vec<usize> =
            recorded.iter().flat_map(|c| c.edits.iter().flatten()).copied().collect();
        let mean = to_f64(lengths.iter().sum()) / to_f64(lengths.len());
        assert!((50.0..51.0).contains(&mean), "{mean} tokens a sequence");
        assert_eq!(lengths.len(), 2183);
        assert_eq!(recorded.iter().map(|c| c.questions.len()).sum::<usize>(), 225);
        let mut seeds: Vec<u64> = groups.values().flatten().map(|one| one.seed).collect();
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 750, "every candidate has its own");
    }

    #[test]
    fn a_part_of_the_round_runs_on_the_engine_for_gpus() {
        let target = Target::Device(Device::Cpu, DType::F32);
        let decoder = target.decoder(Shape::Miniature).unwrap();
        let one = |seed| Candidate { sequences: &[6, 9], questions: &[(8, 4), (5, 3)], seed };
        let part = train_and_ask(&decoder, &[one(1), one(2)], 2).unwrap();
        assert_eq!(part.written, 2 * (4 + 3));
        assert!(part.training_s > 0.0 && part.answering_s > 0.0);
    }
}
