//! `seal check …`: our rules beside what others recorded, and a judge beside what it must know.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Subcommand, Debug)]
pub(crate) enum Check {
    /// The paper's selection rule on recorded rewards, beside recorded choices.
    Selection {
        /// JSON Lines of self-edits: `round`, `id`, `k`, `adapter_mean`, perhaps `seed_accuracy` and `text`.
        file: PathBuf,
        /// JSON Lines of choices: `round`, `id`, `selected_k`; default: `selections.jsonl` beside it.
        #[arg(long, value_name = "FILE")]
        selections: Option<PathBuf>,
    },
    /// The sequence builder under both rules, beside recorded sequences.
    Sequences {
        /// JSON Lines of cases: `title`, `context`, `completion`, `split_newlines`, `sequences`.
        file: PathBuf,
    },
    /// How often each text rule speaks on texts of your own, before it refuses anything.
    Rules {
        /// JSON Lines of self-edits: `text`, one training sequence per line of it; perhaps `id`.
        file: PathBuf,
        /// The rules; each is tried on its own examples first.
        #[arg(long, value_name = "FILE")]
        rules: PathBuf,
        /// The auditor's tau, for the rules about it. Who may not read it leaves it out.
        #[arg(long, value_name = "FILE")]
        tau: Option<PathBuf>,
    },
    /// Written policy: its own tests, what it says on inputs, which fields it demands, how long it takes.
    Policy {
        /// Folder of Rego files, tests among them.
        bundle: PathBuf,
        /// An input as the auditor makes it, in JSON; may be given several times. Default: an example,
        /// an edit that every gate passed.
        #[arg(long = "input", value_name = "FILE")]
        inputs: Vec<PathBuf>,
    },
    /// A judge on the cases of its constitution, or on texts of your own, before anything depends on it.
    Judge {
        /// The judge's config.
        #[arg(long, value_name = "FILE", default_value = "judge.toml")]
        config: PathBuf,
        /// JSON Lines of texts: `text`, perhaps `ruling` (`permit` or `forbid`) to compare with; default:
        /// the constitution's cases.
        file: Option<PathBuf>,
    },
    /// How much of a reward is the edit and how much the seed, and what the edits it picks are worth:
    /// ours beside the paper's scheme at equal compute, on the miniature.
    Reward {
        /// Contexts to compare on; the intervals are over them.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..=200))]
        contexts: u32,
        /// Fixes contexts, edits and every run.
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Have all edits begin so, for edits that are alike: `plan_mixed size_12`.
        #[arg(long, default_value = "", value_name = "PLAN SIZE")]
        begin: String,
    },
    /// Every grader beside the verdicts of a recorded judge.
    Graders {
        /// JSON Lines of answers: `id`, `qi`, `base`, `base_ok`, `adapt`, `adapt_ok`, perhaps `cond`, `q`, `gold`.
        file: PathBuf,
        /// JSON Lines of passages, for answers without `q` and `gold`; default: those of the recorded data
        /// that lie beside the file.
        #[arg(long, value_name = "FILE")]
        passages: Option<PathBuf>,
    },
}
