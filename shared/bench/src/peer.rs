//! The other side: `bench_peft.py` in a process that is kept alive and told when to work.

use crate::target::Target;
use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The script, so that an installed program can write it out.
const SCRIPT: &str = include_str!("../../../tests/peers/bench_peft.py");

/// Versions and settings of the other side.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Versions {
    /// PyTorch.
    pub torch: String,
    /// transformers.
    pub transformers: String,
    /// PEFT.
    pub peft: String,
    /// Threads PyTorch uses.
    pub threads: usize,
    /// Instruction set PyTorch's own kernels use; its matrix library chooses for itself.
    pub capability: String,
    /// Trained weights of one candidate.
    pub trainable: usize,
}

#[derive(Deserialize)]
pub(crate) struct Training {
    /// Of everything.
    pub(crate) seconds: f64,
    /// Of a step after the first; 0 if there was only one.
    pub(crate) later_step_s: f64,
}

#[derive(Deserialize)]
pub(crate) struct Answers {
    pub(crate) seconds: f64,
    pub(crate) tokens: usize,
    pub(crate) first: Vec<u32>,
}

#[derive(Deserialize)]
struct Losses {
    losses: Vec<f32>,
}

/// How the other side answers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answering {
    /// One prompt after another, adapter beside the base.
    OneAfterAnother,
    /// All prompts of a candidate as one batch, adapter merged into the base for that time.
    BatchedAndMerged,
}

/// The running process.
pub(crate) struct Peer {
    process: Child,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts `python` with the script, written into `folder`.
    pub(crate) fn start(python: &Path, folder: &Path) -> Result<Self> {
        let script = folder.join("bench_peft.py");
        std::fs::write(&script, SCRIPT)
            .with_context(|| format!("cannot write `{}`", script.display()))?;
        let mut process = Command::new(python)
            .arg(&script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{}`", python.display()))?;
        let pipes = (process.stdin.take(), process.stdout.take());
        let (Some(requests), Some(replies)) = pipes else { bail!("the peer has no pipes") };
        Ok(Self { process, requests, replies: BufReader::new(replies) })
    }

    /// Loads the base and the adapter that both sides begin with.
    pub(crate) fn load(
        &mut self,
        folder: &Path,
        adapter: &Path,
        threads: usize,
        (learning_rate, steps): (f64, u64),
        target: &Target,
    ) -> Result<Versions> {
        let (device, dtype) = target.torch();
        self.ask(json!({
            "do": "load", "folder": folder, "adapter": adapter, "threads": threads,
            "learning_rate": learning_rate, "steps": steps, "device": device, "dtype": dtype,
        }))
    }

    /// Losses of `steps` steps on all `sequences` at once.
    pub(crate) fn losses(&mut self, sequences: &[Vec<u32>], steps: u64) -> Result<Vec<f32>> {
        let reply: Losses =
            self.ask(json!({"do": "check", "sequences": sequences, "steps": steps}))?;
        Ok(reply.losses)
    }

    /// Trains one candidate for `steps` steps of one sequence.
    pub(crate) fn train(
        &mut self,
        sequences: &[Vec<u32>],
        steps: u64,
        padded_to: Option<usize>,
    ) -> Result<Training> {
        self.ask(json!({
            "do": "train", "sequences": sequences, "steps": steps, "padded_to": padded_to,
        }))
    }

    /// Answers `prompts` greedily.
    pub(crate) fn answer(
        &mut self,
        prompts: &[Vec<u32>],
        new_tokens: usize,
        how: Answering,
    ) -> Result<Answers> {
        let together = matches!(how, Answering::BatchedAndMerged);
        self.ask(json!({
            "do": "answer", "prompts": prompts, "new_tokens": new_tokens,
            "batched": together, "merged": together,
        }))
    }

    fn ask<T: DeserializeOwned>(&mut self, request: Value) -> Result<T> {
        writeln!(self.requests, "{request}").context("the peer has ended")?;
        self.requests.flush().context("the peer has ended")?;
        let mut reply = String::new();
        if self.replies.read_line(&mut reply).context("cannot hear the peer")? == 0 {
            bail!("the peer ended without an answer; what it printed is above");
        }
        serde_json::from_str(&reply).context("the peer's answer")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Its standard input closes with this value; a process that hangs must not outlive us.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
