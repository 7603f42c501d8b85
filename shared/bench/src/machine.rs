//! What the figures were measured on.

use crate::target::Target;
use serde::Serialize;
use std::fs;

/// The machine, as far as speed depends on it.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The GPU and the dtype of the weights, where one computes our side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The processor's name.
    pub processor: String,
    /// Threads that both sides use.
    pub threads: usize,
    /// Instruction set of our kernels.
    pub instruction_set: &'static str,
    /// Memory of the machine.
    pub memory_bytes: u64,
}

impl Machine {
    /// This machine, and what of it computes.
    pub(crate) fn with(target: &Target) -> Self {
        Self { device: target.name(), ..Self::here() }
    }

    /// This machine.
    #[must_use]
    pub fn here() -> Self {
        Self {
            device: None,
            processor: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".into()),
            threads: rayon::current_num_threads(),
            instruction_set: seal_model::instruction_set(),
            memory_bytes: kibibytes("/proc/meminfo", "MemTotal").unwrap_or(0),
        }
    }
}

/// The most memory this process has held so far.
pub(crate) fn peak_memory_bytes() -> u64 {
    kibibytes("/proc/self/status", "VmHWM").unwrap_or(0)
}

/// Value of the first line `name : value` of a file.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn kibibytes(path: &str, name: &str) -> Option<u64> {
    let value = field(path, name)?;
    value.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
}
