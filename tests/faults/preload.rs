//! Puts `shim.rs` between one process and its disk.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::steps::{Fault, Step, Victim, read_trace};

/// The built library.
pub(crate) struct Shim {
    folder: tempfile::TempDir,
}

impl Shim {
    /// Builds it with the compiler that built this test.
    pub(crate) fn build() -> Self {
        let folder = tempfile::Builder::new().prefix("seal-shim-").tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/shim.rs");
        let beside_cargo = Path::new(env!("CARGO")).with_file_name("rustc");
        let compiler = if beside_cargo.is_file() { beside_cargo } else { PathBuf::from("rustc") };
        let built = Command::new(compiler)
            .args(["--edition", "2024", "--crate-type", "cdylib", "-D", "warnings"])
            .args(["-C", "panic=abort", "-C", "opt-level=1", "-o"])
            .arg(folder.path().join("libshim.so"))
            .arg(source)
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Self { folder }
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
            .env("LD_PRELOAD", self.folder.path().join("libshim.so"))
            .env("SEAL_FAULT_ROLE", victim.word())
            .env("SEAL_FAULT_ROOT", root.canonicalize().unwrap_or(root))
            .env("SEAL_FAULT_TRACE", trace_file(run));
        if let Some((fault, step)) = fault {
            command.env("SEAL_FAULT", format!("{}@{step}", fault.word()));
        }
    }
}

/// What was counted in a run folder: every step, and those at which a fault fired.
pub(crate) fn trace(run: &Path) -> (Vec<Step>, Vec<Step>) {
    read_trace(&std::fs::read_to_string(trace_file(run)).unwrap_or_default())
}

fn trace_file(run: &Path) -> PathBuf {
    run.join("trace")
}
