//! The command line. Data goes to stdout, talk to stderr; `--json` is for machines.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use seal_model::DeviceChoice;

mod check;
mod ledger;
mod tls;
mod trust;

pub(crate) use check::Check;
pub(crate) use ledger::*;
pub(crate) use tls::*;
pub(crate) use trust::*;

/// A language model that adapts its own weights, under independent control.
#[derive(Parser, Debug)]
#[command(name = "seal", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Args, Clone, Debug)]
pub(crate) struct Global {
    /// The run folder; default: the newest one under `seal-runs/`.
    #[arg(long, short = 'r', global = true, env = "SEAL_RUN", value_name = "FOLDER")]
    pub(crate) run: Option<PathBuf>,
    /// Print one JSON document on stdout.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// No progress and no hints.
    #[arg(long, short = 'q', global = true)]
    pub(crate) quiet: bool,
    /// Do not ask before promotion and rollback.
    #[arg(long, short = 'y', global = true)]
    pub(crate) yes: bool,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// The whole loop on the built-in miniature: no download, no account, no GPU.
    Demo(Demo),
    /// Make a run folder: keys, trust root, configs, data of the miniature.
    Init(Init),
    /// Carry out the run of a folder, or go on where it stopped.
    Run(Run),
    /// What serves, what is done, what was lost and why.
    Status,
    /// Ask the served model; with --compare, beside the base.
    Ask(Ask),
    /// Why a version, context or edit was accepted or refused.
    Why(Why),
    /// Check signatures, digests and the ledger offline, from files alone.
    Verify(Verify),
    /// Serve an accepted version again.
    Promote(Promote),
    /// Serve an earlier version, or the base; takes seconds and stays in the history.
    Rollback(Rollback),
    /// What left this machine: each request of teacher or judge to an API, byte for byte.
    Egress(Egress),
    /// Keys and the trust root: make, read, change, sign, install.
    #[command(subcommand)]
    Trust(Trust),
    /// Certificates for daemons on several hosts: make a private CA, issue, read.
    #[command(subcommand)]
    Tls(Tls),
    /// The auditor's ledger as others see it.
    #[command(subcommand)]
    Ledger(Ledger),
    /// Hand the ledger on, or try another policy on it.
    #[command(subcommand)]
    Audit(Audit),
    /// Write report.html from a run folder.
    Report,
    /// Look at this machine, or with --model at a model and whether it fits; each line with its mend.
    Doctor(Doctor),
    /// Models from a Hugging Face hub.
    #[command(subcommand)]
    Model(Model),
    /// How fast this machine trains and asks candidates; with --peer, beside PyTorch and PEFT.
    Bench(Bench),
    /// Split text with questions into contexts for the teacher and tau for the auditor; take over suites
    /// from other tools.
    #[command(subcommand)]
    Import(Import),
    /// Compare the selection rule, the sequence builder, the graders or the text rules with recorded data;
    /// or our reward with the paper's.
    #[command(subcommand)]
    Check(Check),
    /// Several seeds in a row with all controls, for figures that hold.
    Experiment(Experiment),
    /// The embedded world and its base model.
    #[command(subcommand)]
    Miniature(Miniature),
    /// Run the teacher daemon.
    Teacher(Daemon),
    /// Run the student daemon.
    Student(Daemon),
    /// Run the auditor daemon.
    Auditor(Daemon),
    /// Run the judge daemon.
    Judge(Daemon),
    /// Print shell completions.
    Completions {
        /// bash, zsh, fish, elvish or powershell.
        shell: clap_complete::Shell,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Demo {
    #[command(flatten)]
    pub(crate) size: SizeArgs,
}

/// How large a run is, where the user says so.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct SizeArgs {
    /// Seed of everything random; below 2^53, for it is signed [default: 0].
    #[arg(long, value_parser = clap::value_parser!(u64).range(..1 << 53))]
    pub(crate) seed: Option<u64>,
    /// How the contexts of a round are learned: each alone with selection and policy updates, all by one
    /// adapter, or one after another [default: single_passage].
    #[arg(long, value_parser = ["single_passage", "continued_pretraining", "continual"])]
    pub(crate) mode: Option<String>,
    /// ReST^EM rounds; in the other modes so many adapters or sequences [default: 2].
    #[arg(long)]
    pub(crate) rounds: Option<u32>,
    /// Contexts the policy learns from in each round [default: 40].
    #[arg(long)]
    pub(crate) contexts: Option<usize>,
    /// Self-edits per context [default: 5].
    #[arg(long)]
    pub(crate) proposals: Option<u32>,
    /// Held-out contexts that measure each stage [default: 64].
    #[arg(long)]
    pub(crate) held_out: Option<usize>,
    /// Keep the best of each group that passes every gate and has a proven gain (`strict`), or by the
    /// authors' rule, without a threshold on the gain (`paper`) [default: strict].
    #[arg(long, value_parser = ["strict", "paper"])]
    pub(crate) selection: Option<String>,
    /// Also measure the best fixed plan and length-matched untrained edits.
    #[arg(long)]
    pub(crate) controls: bool,
}

/// How large a run is.
#[derive(Clone, Debug)]
pub(crate) struct Size {
    pub(crate) seed: u64,
    pub(crate) mode: String,
    pub(crate) rounds: u32,
    pub(crate) contexts: usize,
    pub(crate) proposals: u32,
    pub(crate) held_out: usize,
    pub(crate) selection: String,
    pub(crate) controls: bool,
}

impl SizeArgs {
    /// What is not said is as in the miniature.
    pub(crate) fn size(&self) -> Size {
        let word = |said: &Option<String>, default: &str| {
            said.clone().unwrap_or_else(|| default.to_owned())
        };
        Size {
            seed: self.seed.unwrap_or(0),
            mode: word(&self.mode, "single_passage"),
            rounds: self.rounds.unwrap_or(2),
            contexts: self.contexts.unwrap_or(40),
            proposals: self.proposals.unwrap_or(5),
            held_out: self.held_out.unwrap_or(64),
            selection: word(&self.selection, "strict"),
            controls: self.controls,
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct Init {
    /// Folder to make; it must not exist.
    pub(crate) folder: PathBuf,
    /// Take the configs from this folder instead of the miniature's; data come by `seal import`. Options
    /// beside it change what they say.
    #[arg(long, value_name = "FOLDER", requires = "base_model",
        conflicts_with_all = ["contexts", "held_out", "controls"])]
    pub(crate) from: Option<PathBuf>,
    /// The base model's folder, in the format of Hugging Face; it is copied.
    #[arg(long, value_name = "FOLDER", requires = "from")]
    pub(crate) base_model: Option<PathBuf>,
    /// Have every edit held against a constitution: a folder with judge.toml and constitution.toml.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) judge: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) size: SizeArgs,
}

#[derive(Args, Debug)]
pub(crate) struct Run {
    /// A `run.toml`, or the folder that holds it; default: the newest run folder.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Ask {
    /// The question, in the words of the model's world.
    pub(crate) question: Vec<String>,
    /// Show the base model's answer beside the active version's.
    #[arg(long)]
    pub(crate) compare: bool,
    /// Ask this version instead of the active one.
    #[arg(long)]
    pub(crate) version: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Why {
    /// A version (`v1`), a context's id (`poison-000`), or the first digits of an edit's digest.
    pub(crate) subject: String,
}

#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// One version, or the folder of an exported bundle; default with --all: everything in the run
    /// folder.
    pub(crate) version: Option<String>,
    /// With a bundle: digest of the newest trust root in it, as you know it from elsewhere.
    #[arg(long, value_name = "DIGEST")]
    pub(crate) trust_root_sha256: Option<seal_protocol::Digest>,
    /// Every file, row and signature.
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Egress {
    /// Print the bytes of this request.
    pub(crate) number: Option<u64>,
    /// Whose requests.
    #[arg(long, default_value = "teacher", value_parser = ["teacher", "judge"])]
    pub(crate) role: String,
}

#[derive(Args, Debug)]
pub(crate) struct Promote {
    /// A version that was accepted.
    pub(crate) version: String,
}

#[derive(Args, Debug)]
pub(crate) struct Rollback {
    /// `base` or an earlier version.
    pub(crate) version: String,
    /// Kept in the history.
    #[arg(long, default_value = "asked for by the operator")]
    pub(crate) reason: String,
}

#[derive(Args, Debug)]
pub(crate) struct Doctor {
    /// A model folder, the name of a model in the cache, or a GGUF file.
    #[arg(long, value_name = "PATH_OR_NAME")]
    pub(crate) model: Option<String>,
    #[command(flatten)]
    pub(crate) plan: Plan,
}

/// What a model is to do.
#[derive(Args, Clone, Debug)]
pub(crate) struct Plan {
    /// Branch, tag or commit of a model that is named.
    #[arg(long, requires = "model")]
    pub(crate) revision: Option<String>,
    /// What computes: cpu, auto, cuda or cuda:N.
    #[arg(long, requires = "model", default_value = "auto")]
    pub(crate) device: seal_model::DeviceChoice,
    /// Self-edits that become adapters side by side.
    #[arg(long, requires = "model", default_value_t = 5, value_parser = positive)]
    pub(crate) candidates: usize,
    /// Tokens of one candidate's training step; a recorded edit has about 9 lines of 50.
    #[arg(long, requires = "model", default_value_t = 512, value_parser = positive)]
    pub(crate) step_tokens: usize,
    /// LoRA rank.
    #[arg(long, requires = "model", default_value_t = 32, value_parser = positive)]
    pub(crate) rank: usize,
    /// Tokens of one step of the M-step, which trains every weight of a local policy.
    #[arg(long, requires = "model", default_value_t = 4096, value_parser = positive)]
    pub(crate) m_step_tokens: usize,
    /// Texts that are written side by side.
    #[arg(long, requires = "model", default_value_t = 8, value_parser = positive)]
    pub(crate) texts: usize,
    /// Longest text with its prompt, in tokens.
    #[arg(long, requires = "model", default_value_t = 1024, value_parser = positive)]
    pub(crate) text_tokens: usize,
    /// Train with `gradient_checkpointing = true`.
    #[arg(long, requires = "model")]
    pub(crate) checkpointing: bool,
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".into()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

#[derive(Subcommand, Debug)]
pub(crate) enum Model {
    /// Bring a model into the cache that Python shares; goes on where it stopped.
    Fetch(Fetch),
}

#[derive(Args, Debug)]
pub(crate) struct Fetch {
    /// The model, as in `Qwen/Qwen2.5-0.5B`.
    pub(crate) name: String,
    /// Branch, tag or commit; default: main.
    #[arg(long)]
    pub(crate) revision: Option<String>,
    /// Only look into the cache; so do HF_HUB_OFFLINE=1 and `offline = true` of the run folder.
    #[arg(long)]
    pub(crate) offline: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Experiment {
    /// Seeds 0, 1, …; one whole run each.
    #[arg(long, default_value_t = 5)]
    pub(crate) seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    pub(crate) first_seed: u64,
    /// ReST^EM rounds.
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: u32,
    /// Where the run folders go; finished seeds are not run again.
    #[arg(long, default_value = "seal-runs/experiment")]
    pub(crate) folder: PathBuf,
    /// Write the table as Markdown to this file as well.
    #[arg(long)]
    pub(crate) markdown: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Bench {
    /// Shape of the model; its weights are random.
    #[arg(long, value_parser = ["miniature", "20m", "qwen2.5-0.5b", "qwen2.5-7b"], default_value = "miniature")]
    pub(crate) shape: String,
    /// What computes: cpu, cpu-bf16x3, auto, cuda or cuda:N; the peer works there too.
    #[arg(long, default_value = "cpu")]
    pub(crate) device: DeviceChoice,
    /// Instead of blocks: the inner updates and answers of a whole round of the paper, or of so
    /// many of its 50 contexts.
    #[arg(long, value_name = "CONTEXTS", num_args = 0..=1, default_missing_value = "50",
        value_parser = clap::value_parser!(u32).range(1..=50), conflicts_with_all = ["peer", "rounds", "quick"])]
    pub(crate) round: Option<u32>,
    /// Candidates trained together; default: as many as suit the shape.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) candidates: Option<u32>,
    /// Rounds of alternating blocks; the median counts.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), default_value_t = 5)]
    pub(crate) rounds: u32,
    /// Threads of both sides; default: one for each core.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) threads: Option<u32>,
    /// A Python with torch, transformers and peft, to compare with in the same run.
    #[arg(long, value_name = "PYTHON")]
    pub(crate) peer: Option<PathBuf>,
    /// With --peer: also one step of the published procedure, padded to 2048 tokens.
    #[arg(long, requires = "peer")]
    pub(crate) published: bool,
    /// Small blocks, for a first look.
    #[arg(long)]
    pub(crate) quick: bool,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Import {
    /// SQuAD 1.1 or 2.0, as published.
    Squad {
        /// One file or several.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        into: Destination,
    },
    /// JSON Lines of passages: `title`, `context`, `questions` of `question` and `answer`; perhaps `id`, `round`.
    Jsonl {
        /// One file or several.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        into: Destination,
    },
    /// A folder of text and Markdown files.
    Folder {
        /// The folder; everything below it is read.
        folder: PathBuf,
        /// JSON Lines of questions: `file`, `question`, `answer`.
        #[arg(long, value_name = "FILE")]
        questions: PathBuf,
        #[command(flatten)]
        into: Destination,
    },
    /// Tasks of lm-evaluation-harness, as a suite of the auditor.
    LmEval {
        /// One YAML file of a task or several. Nothing in them is run.
        #[arg(required = true)]
        tasks: Vec<PathBuf>,
        /// The rows of a task whose data lie on a hub: JSON, JSON Lines, CSV or TSV. Nothing is fetched.
        #[arg(long, value_name = "FILE")]
        data: Option<PathBuf>,
        #[command(flatten)]
        into: SuiteDestination,
    },
    /// Configs of promptfoo, as a suite of the auditor.
    Promptfoo {
        /// One config or several. Nothing in them is run.
        #[arg(required = true)]
        configs: Vec<PathBuf>,
        #[command(flatten)]
        into: SuiteDestination,
    },
    /// ARC as a suite of the auditor: tasks of grids (ARC-AGI), or science questions with choices (AI2).
    Arc {
        /// JSON or JSON Lines; one file or several.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Outputs by task, where the tasks do not hold them.
        #[arg(long, value_name = "FILE")]
        solutions: Option<PathBuf>,
        #[command(flatten)]
        into: SuiteDestination,
    },
    /// Datasets of inspect_ai, as a suite of the auditor.
    Inspect {
        /// JSON, JSON Lines, CSV or TSV; one file or several.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        fields: crate::import::suites::Fields,
        #[command(flatten)]
        into: SuiteDestination,
    },
}

/// Where a suite goes.
#[derive(Args, Clone, Debug)]
pub(crate) struct SuiteDestination {
    /// A run folder, or a new one; the suite goes into `auditor/suites`.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) into: PathBuf,
    /// Its name; default: the first file's.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Replace an earlier import of that name.
    #[arg(long)]
    pub(crate) replace: bool,
    /// Every question must be refused, and its gold answer is the refusal: a suite for `[vault] refusals`.
    #[arg(long)]
    pub(crate) protected: bool,
}

/// Where an import goes and how it is shared out.
#[derive(Args, Clone, Debug)]
pub(crate) struct Destination {
    /// A run folder, or a new one; the files of each role go into its own subfolder.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) into: PathBuf,
    /// Replace an earlier import.
    #[arg(long)]
    pub(crate) replace: bool,
    /// Fixes who gets what.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Share of each passage's questions that prove a gain and never drive the reward.
    #[arg(long, default_value_t = 0.4, value_name = "SHARE")]
    pub(crate) confirmation: f64,
    /// Rounds that learn; the passages are shared out evenly. Default: what the run folder's run.toml
    /// says, else 2.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: Option<u32>,
    /// Passages that are measured and never learned from; default: one in five.
    #[arg(long)]
    pub(crate) held_out: Option<usize>,
    /// Passages that nobody sees, whose questions become the retention suite.
    #[arg(long, default_value_t = 0)]
    pub(crate) retention: usize,
    /// Longest passage that is taken over.
    #[arg(long, default_value_t = 8000, value_name = "CHARACTERS")]
    pub(crate) longest_passage: usize,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Miniature {
    /// Train the base model again from nothing.
    Pretrain {
        /// Where the model folder goes.
        #[arg(long)]
        out: PathBuf,
    },
    /// Train a small model that reads any text byte by byte, on passages of the kind it is to learn.
    Bytes {
        /// JSON Lines of passages with questions, as `seal import jsonl` reads them. None of them should
        /// be in the run that the model is for.
        #[arg(required = true)]
        passages: Vec<PathBuf>,
        /// Where the model folder goes.
        #[arg(long)]
        out: PathBuf,
        /// How a question is asked; `{question}` stands for it under its topic.
        #[arg(
            long,
            default_value = "Give a short, direct answer.\nQuestion: {question}\nAnswer:\n"
        )]
        prompt: String,
        /// Optimizer steps.
        #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..))]
        steps: u64,
        /// Fixes the weights.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Write the embedded model folder, for transformers, PEFT and others.
    Export {
        /// Where the model folder goes.
        #[arg(long)]
        out: PathBuf,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Daemon {
    /// The role's config file.
    #[arg(long)]
    pub(crate) config: PathBuf,
}
