//! "Will it fit?", answered from the config and the headers before any weight is read.
//!
//! Parameters, optimizer state, gradients and the key/value cache are counted exactly as the engines
//! hold them. Activations and working buffers follow what the engines keep for each token; there
//! the estimate is an upper one, and [`Need::total`] adds [`MARGIN_PERCENT`] to everything.
//!
//! **Invariant:** [`estimate`] is a pure function; what the machine has is asked in `machine` alone.

mod count;
mod machine;
mod mend;

pub use machine::available_bytes;

use crate::decoder::{Decoder, DecoderConfig};
use crate::device::free_bytes;
use crate::error::{ModelError, Result};
use crate::lora::LoraSpec;
use candle_core::Device;
use count::Counts;
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// Added to every estimate for what is not counted: the allocator's gaps, code, other buffers.
pub const MARGIN_PERCENT: u64 = 10;

/// What will be done with the model.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// Texts are written side by side.
    Serve {
        /// How many.
        texts: usize,
        /// Longest of them, in tokens, with its prompt.
        tokens: usize,
    },
    /// Known answers are scored.
    Score {
        /// Longest item, in tokens.
        tokens: usize,
        /// Adapters loaded beside each other.
        adapters: usize,
        /// Their shape.
        lora: LoraSpec,
    },
    /// Adapters are trained side by side.
    InnerUpdate {
        /// How many.
        candidates: usize,
        /// Tokens of one candidate's optimizer step.
        step_tokens: usize,
        /// Their shape.
        lora: LoraSpec,
        /// Only layer inputs are kept for the backward.
        checkpointing: bool,
    },
    /// Every weight is trained.
    FineTune {
        /// Tokens of one optimizer step.
        step_tokens: usize,
        /// Only layer inputs are kept for the backward.
        checkpointing: bool,
    },
    /// Other work, on a decoder that an adapter was merged into ([`crate::Decoder::merged`]): the base
    /// stays, and a copy of each adapted matrix lies beside it.
    Merged {
        /// Says which matrices are adapted.
        lora: LoraSpec,
        /// The work.
        work: Box<Work>,
    },
}

/// What computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// The exact engine: f32, so many threads.
    Cpu {
        /// Forwards that may run at once.
        threads: usize,
    },
    /// The engine of [`crate::device`]: bf16 weights, one forward at a time.
    Cuda,
}

impl Engine {
    /// The engine that computes on `device` in this process.
    #[must_use]
    pub fn of(device: &Device) -> Self {
        if device.is_cpu() {
            Self::Cpu { threads: rayon::current_num_threads() }
        } else {
            Self::Cuda
        }
    }
}

/// Bytes that a piece of work takes, by what they hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Need {
    /// The model's weights, and copies of them that the work keeps. Exact.
    pub parameters: u64,
    /// Factors of all adapters, and copies of them. Exact.
    pub adapters: u64,
    /// Gradients of what is trained. Exact.
    pub gradients: u64,
    /// Both means of AdamW. Exact.
    pub optimizer: u64,
    /// Keys and values of all texts. Exact.
    pub cache: u64,
    /// What forwards keep for the backward.
    pub activations: u64,
    /// What one layer, the logits and the rearranged weights take on the way.
    pub working: u64,
}

impl Need {
    /// Each part under its name, in the order of the table.
    #[must_use]
    pub fn parts(&self) -> [(&'static str, u64); 7] {
        [
            ("weights", self.parameters),
            ("adapters", self.adapters),
            ("gradients", self.gradients),
            ("optimizer", self.optimizer),
            ("key/value cache", self.cache),
            ("activations", self.activations),
            ("working buffers", self.working),
        ]
    }

    /// Everything, with the margin.
    #[must_use]
    pub fn total(&self) -> u64 {
        let sum = self.parts().iter().fold(0u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
        sum.saturating_add(sum / 100 * MARGIN_PERCENT)
    }
}

impl fmt::Display for Need {
    /// A table, one part a line; parts without bytes are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, bytes) in self.parts().into_iter().filter(|(_, bytes)| *bytes > 0) {
            writeln!(f, "{name:<16} {:>10}", human(bytes))?;
        }
        write!(f, "{:<16} {:>10}", format!("with {MARGIN_PERCENT} % more"), human(self.total()))
    }
}

/// Bytes for people: `1.5 GiB`.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// What `work` takes on a model of `config`.
#[must_use]
pub fn estimate(config: &DecoderConfig, engine: Engine, work: &Work) -> Need {
    Counts::new(config, engine).need(work)
}

/// Whether a piece of work fits.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// What it takes.
    pub need: Need,
    /// What there is, in bytes; unknown is none.
    pub available: Option<u64>,
    /// What would make it fit, the mildest first; empty if it fits.
    pub mends: Vec<String>,
}

impl Fit {
    /// Compares `work` with `available` bytes.
    #[must_use]
    pub fn new(
        config: &DecoderConfig,
        engine: Engine,
        work: &Work,
        available: Option<u64>,
    ) -> Self {
        let need = estimate(config, engine, work);
        let short = available.filter(|&available| need.total() > available);
        let mends =
            short.map_or_else(Vec::new, |available| mend::mends(config, engine, work, available));
        Self { need, available, mends }
    }

    /// True if it fits, or nobody can tell.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.available.is_none_or(|available| self.need.total() <= available)
    }
}

/// A model that does not fit, and what would help.
#[derive(Debug)]
pub struct Misfit {
    /// The model folder, or the file.
    pub path: PathBuf,
    /// What was to be done.
    pub work: Work,
    /// Figures and mends.
    pub fit: Fit,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (need, path) = (&self.fit.need, self.path.display());
        let what = what(&self.work);
        let parts: Vec<String> = need
            .parts()
            .into_iter()
            .filter(|(_, bytes)| *bytes > 0)
            .map(|(name, bytes)| format!("{name} {}", human(bytes)))
            .collect();
        write!(
            f,
            "`{path}` does not fit: {what} takes {} ({}, and {MARGIN_PERCENT} % more), {} are free; {}",
            human(need.total()),
            parts.join(", "),
            human(self.fit.available.unwrap_or(0)),
            self.fit.mends.join(", or ")
        )
    }
}

/// The work in words.
#[must_use]
pub fn what(work: &Work) -> String {
    match work {
        Work::Serve { texts, tokens } => {
            format!("writing {} of {tokens} tokens", counted(*texts, "text"))
        }
        Work::Score { tokens, adapters, .. } => {
            format!("scoring items of {tokens} tokens under {}", counted(*adapters, "adapter"))
        }
        Work::InnerUpdate { candidates, step_tokens, lora, .. } => format!(
            "training {} of rank {} side by side, {step_tokens} tokens a step each",
            counted(*candidates, "adapter"),
            lora.r
        ),
        Work::FineTune { step_tokens, .. } => {
            format!("training every weight on {step_tokens} tokens a step")
        }
        Work::Merged { work, .. } => format!("{}, with earlier ones merged", what(work)),
    }
}

/// `1 text`, `2 texts`.
fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Bytes that work on `device` may still take; `None` if nobody can tell.
#[must_use]
pub fn available_on(device: &Device) -> Option<u64> {
    if device.is_cpu() { available_bytes() } else { free_bytes(device) }
}

/// Refuses work on the model of `path` that does not fit on `device`, before any weight is read.
///
/// # Errors
/// [`ModelError::DoesNotFit`] with the figures and what would help.
pub fn require(path: &Path, config: &DecoderConfig, device: &Device, work: &Work) -> Result<()> {
    let fit = Fit::new(config, Engine::of(device), work, available_on(device));
    refuse_misfit(path, work, fit)
}

/// Refuses work that does not fit beside the weights of `base`, which are loaded already, from the
/// folder `path`.
///
/// # Errors
/// As [`require`].
pub fn require_beside(base: &Decoder, path: &Path, work: &Work) -> Result<()> {
    let (config, engine) = (base.config(), Engine::of(base.device()));
    let loaded = Counts::new(config, engine).weights();
    let available = available_on(base.device()).map(|free| free.saturating_add(loaded));
    refuse_misfit(path, work, Fit::new(config, engine, work, available))
}

fn refuse_misfit(path: &Path, work: &Work, fit: Fit) -> Result<()> {
    if fit.fits() {
        return Ok(());
    }
    let misfit = Misfit { path: path.to_path_buf(), work: work.clone(), fit };
    Err(ModelError::DoesNotFit(Box::new(misfit)))
}

#[cfg(test)]
mod tests;
