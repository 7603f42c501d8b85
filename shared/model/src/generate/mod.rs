//! Text generation with a key/value cache, many prompts and adapters at once.
//!
//! **Invariant:** what a prompt gets depends on its tokens, adapter and seed alone; neither the
//! other prompts nor the threads change a token.

mod cache;
mod sampler;

pub use sampler::SamplingConfig;

use crate::batch::Batch;
use crate::decoder::Decoder;
use crate::error::{ModelError, Result};
use crate::lora::Adapter;
use crate::ops::elementwise::gather_rows;
use crate::ops::values;
use cache::{Decode, Past, Prefill};
use candle_core::Tensor;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::sync::Mutex;

/// Prompts decoded together.
const GROUP: usize = 32;

/// A text to continue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Index into the adapters; none: the base.
    pub adapter: Option<usize>,
    /// At least one token.
    pub tokens: Vec<u32>,
    /// Fixes the sample.
    pub seed: u64,
}

/// Continues every prompt; `progress` hears of finished and of all prompts.
///
/// A text ends with the token that stopped it (one of `sampling.stop` or of the model's end
/// tokens), which is part of the result, or without one at `max_new_tokens` or the model's last
/// position.
///
/// # Errors
/// An empty or too long prompt, unknown tokens or adapter, settings out of range, a model whose
/// output is not finite.
pub fn generate(
    decoder: &Decoder,
    adapters: &[&Adapter],
    prompts: &[Prompt],
    sampling: &SamplingConfig,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Vec<Vec<u32>>> {
    if let Some(problem) = sampling.problem() {
        return Err(ModelError::Input(problem.into()));
    }
    prompts.iter().try_for_each(|prompt| decoder.check_tokens(&prompt.tokens))?;
    let mut order: Vec<usize> = (0..prompts.len()).collect();
    order.sort_by_key(|&i| prompts[i].adapter);
    let progress = Mutex::new((0, progress));
    let finished = |texts: u64| {
        if let Ok(mut progress) = progress.lock() {
            progress.0 += texts;
            let done = progress.0;
            (progress.1)(done, prompts.len() as u64);
        }
    };
    let groups: Vec<Vec<Vec<u32>>> = order
        .par_chunks(GROUP)
        .map(|group| {
            let group: Vec<(usize, &Prompt)> = group.iter().map(|&i| (i, &prompts[i])).collect();
            let texts = Group::new(decoder, adapters, &group, sampling)?.run()?;
            finished(group.len() as u64);
            Ok(texts)
        })
        .collect::<Result<_>>()?;
    let mut texts = vec![Vec::new(); prompts.len()];
    for (&index, text) in order.iter().zip(groups.into_iter().flatten()) {
        texts[index] = text;
    }
    Ok(texts)
}

/// One prompt's state.
struct Writer {
    index: usize,
    adapter: Option<usize>,
    position: usize,
    rng: ChaCha8Rng,
    text: Vec<u32>,
    ended: bool,
}

struct Group<'a> {
    decoder: &'a Decoder,
    adapters: &'a [&'a Adapter],
    sampling: &'a SamplingConfig,
    writers: Vec<Writer>,
    pasts: Vec<Past>,
    prompts: Batch,
}

impl<'a> Group<'a> {
    fn new(
        decoder: &'a Decoder,
        adapters: &'a [&'a Adapter],
        group: &[(usize, &Prompt)],
        sampling: &'a SamplingConfig,
    ) -> Result<Self> {
        let mut prompts = Batch::default();
        let mut writers = Vec::with_capacity(group.len());
        for &(index, prompt) in group {
            prompts.push(&prompt.tokens, prompt.adapter);
            writers.push(Writer {
                index,
                adapter: prompt.adapter,
                position: prompt.tokens.len(),
                rng: ChaCha8Rng::seed_from_u64(prompt.seed),
                text: Vec::new(),
                ended: sampling.max_new_tokens == 0,
            });
        }
        let pasts = group.iter().map(|_| Past::new(decoder.config().num_hidden_layers)).collect();
        Ok(Self { decoder, adapters, sampling, writers, pasts, prompts })
    }

    fn run(mut self) -> Result<Vec<Vec<u32>>> {
        let logits = self.read_prompts()?;
        self.choose(&logits, (0..self.writers.len()).collect())?;
        loop {
            let active: Vec<usize> =
                (0..self.writers.len()).filter(|&i| !self.writers[i].ended).collect();
            if active.is_empty() {
                return Ok(self.writers.into_iter().map(|w| w.text).collect());
            }
            let logits = self.next_logits(&active)?;
            self.choose(&logits, active)?;
        }
    }

    /// Logits of each prompt's last token.
    fn read_prompts(&mut self) -> Result<Tensor> {
        let heads = self.decoder.config().heads();
        let last: Vec<usize> = self.prompts.spans.iter().map(|s| s.start + s.len - 1).collect();
        let mut prefill = Prefill { spans: &self.prompts.spans, heads, pasts: &mut self.pasts };
        let hidden = self.decoder.forward(&self.prompts, self.adapters, &mut prefill, &mut drop)?;
        self.head(&gather_rows(&hidden, &last)?)
    }

    /// Logits after each active writer's last token.
    #[allow(clippy::cast_possible_truncation)]
    fn next_logits(&mut self, active: &[usize]) -> Result<Tensor> {
        let mut batch = Batch::default();
        for writer in active.iter().map(|&i| &self.writers[i]) {
            let token = writer.text.last().copied().unwrap_or(0);
            batch.push_next(token, writer.position as u32 - 1, writer.adapter);
        }
        let writers = &self.writers;
        let pasts = self
            .pasts
            .iter_mut()
            .zip(writers)
            .filter(|(_, w)| !w.ended)
            .map(|(past, _)| past)
            .collect();
        let mut decode = Decode { heads: self.decoder.config().heads(), pasts };
        let hidden = self.decoder.forward(&batch, self.adapters, &mut decode, &mut drop)?;
        self.head(&hidden)
    }

    fn head(&self, hidden: &Tensor) -> Result<Tensor> {
        self.decoder.weights().head.forward(&self.decoder.final_norm(hidden)?.0)
    }

    fn choose(&mut self, logits: &Tensor, active: Vec<usize>) -> Result<()> {
        let config = self.decoder.config();
        let mut logits = values(logits)?.to_vec();
        for (&i, row) in active.iter().zip(logits.chunks_exact_mut(config.vocab_size)) {
            let writer = &mut self.writers[i];
            if writer.ended {
                continue;
            }
            let token = sampler::sample(row, self.sampling, &mut writer.rng).ok_or_else(|| {
                ModelError::NotFinite { what: format!("prompt {}", writer.index) }
            })?;
            writer.text.push(token);
            writer.position += 1;
            writer.ended = writer.text.len() >= self.sampling.max_new_tokens
                || writer.position > config.max_position_embeddings
                || config.is_end(token)
                || self.sampling.stop.contains(&token);
        }
        Ok(())
    }
}
