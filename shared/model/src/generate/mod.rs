//! Text generation with a key/value cache, many prompts and adapters at once.
//!
//! **Invariant:** what a prompt gets depends on its tokens, adapter and seed alone; neither the
//! other prompts nor the threads change a token.

mod cache;
mod generated;
mod sampler;

pub use generated::{Finish, Generated};
pub use sampler::SamplingConfig;

use crate::batch::Batch;
use crate::decoder::{Decoder, DecoderConfig};
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
/// Texts come in the order of their prompts. The token that ended a text (one of `sampling.stop` or
/// of the model's end tokens) is part of it.
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
) -> Result<Vec<Generated>> {
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
    let groups: Vec<Vec<Generated>> = order
        .par_chunks(GROUP)
        .map(|group| {
            let group: Vec<(usize, &Prompt)> = group.iter().map(|&i| (i, &prompts[i])).collect();
            let texts = Group::new(decoder, adapters, &group, sampling)?.run()?;
            finished(group.len() as u64);
            Ok(texts)
        })
        .collect::<Result<_>>()?;
    let mut texts: Vec<(usize, Generated)> =
        order.into_iter().zip(groups.into_iter().flatten()).collect();
    texts.sort_by_key(|&(index, _)| index);
    Ok(texts.into_iter().map(|(_, text)| text).collect())
}

/// One prompt's state.
struct Writer {
    index: usize,
    adapter: Option<usize>,
    position: usize,
    rng: ChaCha8Rng,
    text: Vec<u32>,
    finish: Option<Finish>,
}

impl Writer {
    fn why_ended(
        &self,
        token: u32,
        sampling: &SamplingConfig,
        config: &DecoderConfig,
    ) -> Option<Finish> {
        if config.is_end(token) {
            Some(Finish::EndToken(token))
        } else if sampling.stop.contains(&token) {
            Some(Finish::StopToken(token))
        } else if self.text.len() >= sampling.max_new_tokens {
            Some(Finish::Length)
        } else if self.position > config.max_position_embeddings {
            Some(Finish::Positions)
        } else {
            None
        }
    }

    fn finished(self) -> Generated {
        Generated { tokens: self.text, finish: self.finish.unwrap_or(Finish::Length) }
    }
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
                finish: (sampling.max_new_tokens == 0).then_some(Finish::Length),
            });
        }
        let pasts = group.iter().map(|_| Past::new(decoder.config().num_hidden_layers)).collect();
        Ok(Self { decoder, adapters, sampling, writers, pasts, prompts })
    }

    fn run(mut self) -> Result<Vec<Generated>> {
        let logits = self.read_prompts()?;
        self.choose(&logits, (0..self.writers.len()).collect())?;
        loop {
            let active: Vec<usize> =
                (0..self.writers.len()).filter(|&i| self.writers[i].finish.is_none()).collect();
            if active.is_empty() {
                return Ok(self.writers.into_iter().map(Writer::finished).collect());
            }
            let logits = self.next_logits(&active)?;
            self.choose(&logits, active)?;
        }
    }

    /// Logits of each prompt's last token.
    fn read_prompts(&mut self) -> Result<Tensor> {
        let last: Vec<usize> = self.prompts.spans.iter().map(|s| s.start + s.len - 1).collect();
        let mut prefill = Prefill { spans: &self.prompts.spans, pasts: &mut self.pasts };
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
            .filter(|(_, w)| w.finish.is_none())
            .map(|(past, _)| past)
            .collect();
        let mut decode = Decode { pasts };
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
            if writer.finish.is_some() {
                continue;
            }
            let token = sampler::sample(row, self.sampling, &mut writer.rng).ok_or_else(|| {
                ModelError::NotFinite { what: format!("prompt {}", writer.index) }
            })?;
            writer.text.push(token);
            writer.position += 1;
            writer.finish = writer.why_ended(token, self.sampling, config);
        }
        Ok(())
    }
}
