//! Our side: blocks of training and answering through the public API, and the kernel's peak.

use crate::flops::to_f64;
use crate::work;
use anyhow::Result;
use seal_model::ops::bf16x3;
use seal_model::ops::matmul::{Lhs, Packed, Rhs, matmul};
use seal_model::{Adapter, Decoder, Products, generate};
use seal_training::{InnerJob, inner_updates};
use std::time::{Duration, Instant};

/// How long the kernel's peak is looked for.
const PEAK_TIME: Duration = Duration::from_millis(400);

/// Seconds of one block, for all its candidates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockTime {
    /// Of all [`work::STEPS`]; those that the block left out last as long as its later ones did.
    pub(crate) training_s: f64,
    pub(crate) answering_s: f64,
}

/// Trains `candidates` candidates for `steps` steps, at least two, and asks each its questions.
pub(crate) fn block(decoder: &Decoder, candidates: usize, steps: u64) -> Result<BlockTime> {
    let config = decoder.config();
    let jobs = work::jobs(config, candidates);
    let recipe = work::recipe(steps, Some(1))?;
    let begun = Instant::now();
    let mut marks = Vec::new();
    let trained = inner_updates(decoder, &jobs, &recipe, &mut |done, _| {
        if done >= (marks.len() as u64 + 1) * candidates as u64 {
            marks.push(begun.elapsed().as_secs_f64());
        }
    })?;
    let training_s = work::of_all_steps(begun.elapsed().as_secs_f64(), later_step(&marks), steps);
    let trained = trained.into_iter().collect::<Result<Vec<_>, _>>()?;
    let adapters: Vec<&Adapter> = trained.iter().map(|t| &t.adapter).collect();
    let prompts = work::prompts(config, candidates);
    let begun = Instant::now();
    generate(decoder, &adapters, &prompts, &work::greedy(), &mut |_, _| {})?;
    Ok(BlockTime { training_s, answering_s: begun.elapsed().as_secs_f64() })
}

/// Seconds of a step after the first, by the moments at which steps ended.
fn later_step(marks: &[f64]) -> f64 {
    match marks {
        [first, .., last] => (last - first) / to_f64(marks.len() - 1),
        _ => 0.0,
    }
}

/// Losses of `steps` steps on all sequences of candidate 0 at once, from `start`.
pub(crate) fn losses(decoder: &Decoder, start: Adapter, steps: u64) -> Result<Vec<f32>> {
    let [mut job]: [InnerJob; 1] = work::jobs(decoder.config(), 1)
        .try_into()
        .map_err(|_| anyhow::anyhow!("one candidate makes one job"))?;
    job.start = Some(start);
    let trained = inner_updates(decoder, &[job], &work::recipe(steps, None)?, &mut |_, _| {})?;
    let trained = trained.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(trained.into_iter().flat_map(|t| t.losses).collect())
}

/// Greedy answer of the adapter to the first question of candidate 0.
pub(crate) fn first_answer(decoder: &Decoder, adapter: &Adapter) -> Result<Vec<u32>> {
    let prompts = work::prompts(decoder.config(), 1);
    let answers = generate(decoder, &[adapter], &prompts[..1], &work::greedy(), &mut |_, _| {})?;
    Ok(answers.into_iter().next().map_or_else(Vec::new, |answer| answer.tokens))
}

/// Operations per second of the matrix kernel on operands that stay in cache, over all threads.
pub(crate) fn peak_flops(products: Products) -> f64 {
    const M: usize = 192;
    // The left operand is split for every product: one as wide as those of a model's layers.
    let (n, k) = match products {
        Products::F32 => (256, 256),
        Products::Bf16x3 => (1024, 512),
    };
    let rates = rayon::broadcast(|_| {
        let (a, b, mut c) = (vec![0.5; M * k], vec![0.25; n * k], vec![0.0; M * n]);
        let mut product: Box<dyn FnMut()> = match products {
            Products::F32 => {
                let packed = Packed::columns(&b, n, k);
                Box::new(move || {
                    matmul(&mut c, Lhs::Rows(&a), Rhs::Packed(&packed), (M, n, k), false);
                })
            }
            Products::Bf16x3 => {
                let weight = bf16x3::Weight::columns(&b, n, k);
                Box::new(move || bf16x3::matmul(&mut c, &a, &weight, M, false))
            }
        };
        let (begun, mut done, mut best) = (Instant::now(), 0, f64::MAX);
        while begun.elapsed() < PEAK_TIME || done < 3 {
            let one = Instant::now();
            product();
            best = best.min(one.elapsed().as_secs_f64());
            done += 1;
        }
        2.0 * to_f64(M * n * k) / best
    });
    rates.iter().sum()
}
