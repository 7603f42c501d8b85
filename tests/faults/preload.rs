//! Puts `shim.rs` between one process and its disk.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::common::Preloaded;
use super::recording::{self, Line};
use super::steps::{Fault, Step, Victim, read_trace};

/// The built library.
pub(crate) struct Shim(Preloaded);

impl Shim {
    pub(crate) fn build() -> Self {
        Self(Preloaded::build("tests/faults/shim.rs"))
    }

    /// Makes `command`, or what it starts, the victim of a fault; without one its steps are counted.
    pub(crate) fn load(
        &self,
        command: &mut Command,
        run: &Path,
        victim: Victim,
        fault: Option<(Fault, u64)>,
    ) {
        let root = run.join(victim.folder());
        command
            .env("LD_PRELOAD", self.0.path())
            .env("SEAL_FAULT_ROLE", victim.word())
            .env("SEAL_FAULT_ROOT", root.canonicalize().unwrap_or(root))
            .env("SEAL_FAULT_TRACE", trace_file(run));
        if let Some((fault, step)) = fault {
            command.env("SEAL_FAULT", format!("{}@{step}", fault.word()));
        }
        if fault.is_none_or(|(fault, _)| fault.survives().is_some()) {
            let disk = run.join(victim.disk());
            command
                .env("SEAL_FAULT_RECORD", record_file(run))
                .env("SEAL_FAULT_DISK", disk.canonicalize().unwrap_or(disk));
        }
    }
}

/// What was counted in a run folder: every step, and those at which a fault fired.
pub(crate) fn trace(run: &Path) -> (Vec<Step>, Vec<Step>) {
    read_trace(&std::fs::read_to_string(trace_file(run)).unwrap_or_default())
}

/// What the victim did to its disk in a run folder.
pub(crate) fn record(run: &Path) -> Vec<Line> {
    recording::read(&std::fs::read(record_file(run)).unwrap())
}

fn record_file(run: &Path) -> PathBuf {
    run.join("record")
}

fn trace_file(run: &Path) -> PathBuf {
    run.join("trace")
}
