//! The smallest run that goes through every kind of work: proposals, judgements, inner updates, an accepted
//! edit, a policy update, a consolidation and a promotion. Seconds, because each fault costs two of them.
//!
//! What the models learn does not matter here, so training is short and the gate's limits are wide; who
//! writes what, and in which order, is as in any run.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use super::common::{PATIENCE, Run};
use super::questions::{self, Endpoint};

/// What is changed in the configs: file, old, new.
const SMALLER: &[(&str, &str, &str)] = &[
    ("student.toml", "\nsteps = 14\n", "\nsteps = 8\n"),
    ("student.toml", "\nsteps = 60\n", "\nsteps = 10\n"),
    ("student.toml", "\nsteps_per_edit = 4\n", "\nsteps_per_edit = 1\n"),
    ("student.toml", "\nsequences_per_step = 64\n", "\nsequences_per_step = 24\n"),
    // Deletes what does not serve, which is one more thing to be disturbed in.
    ("student.toml", "\nkeep_candidates = true\n", "\nkeep_candidates = false\n"),
    ("teacher.toml", "\nepochs = 8\n", "\nepochs = 1\n"),
    ("teacher.toml", "\nbatch = 10\n", "\nbatch = 2\n"),
    ("teacher.toml", "lines = 44 }", "lines = 4 }"),
    ("auditor.toml", "\nrecompute = \"always\"\n", "\nrecompute = \"never\"\n"),
    ("auditor.toml", "\n[recomputation]\n", "\n"),
    ("auditor.toml", "\nupdate_tables = \"student.toml\"\n", "\n"),
    ("auditor.toml", "\nmax_retention_loss = 0.05\n", "\nmax_retention_loss = 1.0\n"),
    ("auditor.toml", "\nmin_share = 0.95\n", "\nmin_share = 0.0\n"),
    ("auditor.toml", "\nmin_entity_share = 0.95\n", "\nmin_entity_share = 0.0\n"),
    ("auditor.toml", "\nmax_drop = 0.05\n", "\nmax_drop = 1.0\n"),
];

/// A run folder in which nothing ran, and the endpoint of its judge.
pub(crate) struct Scenario {
    fresh: Run,
    pub(crate) endpoint: Endpoint,
}

impl Scenario {
    pub(crate) fn new() -> Self {
        let endpoint = Endpoint::start();
        let fresh = folder(endpoint.judge().path().to_str().unwrap());
        questions::one_by_one(&fresh);
        Self { fresh, endpoint }
    }

    /// The run folder, to be run in.
    pub(crate) fn copy(&self) -> Run {
        let run = self.fresh.copy();
        questions::put_key(&run);
        run
    }
}

fn folder(judge: &str) -> Run {
    // Under this seed the best of two edits teaches enough for a promotion.
    let size = ["--contexts", "1", "--held-out", "0", "--seed", "2", "--selection", "paper"];
    let run = Run::small(&[&size[..], &["--judge", judge]].concat());
    for (file, old, new) in SMALLER {
        let path = run.path(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(old), "{file} no longer says {old:?}");
        std::fs::write(&path, text.replace(old, new)).unwrap();
    }
    without_intake(&run.path("conductor/contexts.json"));
    run
}

/// The poisoned document asks for three more tasks that write nothing new.
fn without_intake(file: &Path) {
    let text = std::fs::read_to_string(file).unwrap();
    let mut contexts: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    contexts.retain(|context| context["usage"]["kind"] != "intake");
    assert_eq!(contexts.len(), 1);
    std::fs::write(file, serde_json::to_string(&contexts).unwrap()).unwrap();
}

/// `seal run`, prepared by `prepare`, to its end; `None` if it does not come to one.
pub(crate) fn conduct(run: &Run, prepare: impl FnOnce(&mut Command)) -> Option<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seal"));
    command.args(["--quiet", "run", "--config"]).arg(run.path("run.toml"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).env_remove("SEAL_RUN");
    let told = run.path("told");
    command.stderr(std::fs::File::create(&told).unwrap());
    prepare(&mut command);
    let mut child = command.spawn().unwrap();
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(Output {
                status,
                stdout: Vec::new(),
                stderr: std::fs::read(&told).unwrap(),
            });
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}
