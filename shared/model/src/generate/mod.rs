//! Text generation: many prompts and adapters at once, over keys and values that are shared where
//! texts begin alike.
//!
//! **Invariant:** what a prompt gets depends on its tokens, adapter, seed and settings alone; neither
//! the other prompts nor the threads nor the memory change a token. The engine of [`crate::device`]
//! holds this up to the rounding of its logits.
//! Absent: what a text means. Stop strings and grammars see it through a tokenizer.

mod cohort;
mod constraint;
mod filters;
mod generated;
mod generator;
mod layout;
mod live;
mod request;
mod sampler;
mod schedule;
mod settings;
mod transcript;
mod writer;

pub use constraint::{TokenConstraint, TokenMask};
pub(crate) use filters::largest;
pub use generated::{Finish, Generated};
pub use generator::Generator;
pub use request::{Event, Limits, Request, Statistics, Ticket};
pub(crate) use schedule::{MIN_SHARED, WORTH_WAITING};
pub use settings::SamplingConfig;

use crate::decoder::Decoder;
use crate::error::{ModelError, Result};
use crate::lora::Adapter;
use std::sync::Arc;

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
/// of the model's end tokens) is part of it. A [`Generator`] can do more: stop strings, constraints,
/// tokens as they come, what is remembered from call to call.
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
    let adapters: Vec<Arc<Adapter>> = adapters.iter().map(|&a| Arc::new(a.clone())).collect();
    let sampling = Arc::new(sampling.clone());
    let mut generator = Generator::new(decoder, Limits::of(decoder));
    for prompt in prompts {
        let adapter = prompt.adapter.map(|index| {
            let missing = format!("adapter {index} of {} does not exist", adapters.len());
            adapters.get(index).cloned().ok_or(ModelError::Input(missing))
        });
        generator.submit(Request {
            prompt: prompt.tokens.clone(),
            adapter: adapter.transpose()?,
            seed: prompt.seed,
            sampling: sampling.clone(),
            constraint: None,
        })?;
    }
    generator.write_all(&mut |done| progress(done, prompts.len() as u64))
}
