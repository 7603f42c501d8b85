//! `seal experiment`: several seeds with all controls, so that a claim rests on more than one run.

use anyhow::{Context, Result};

use super::{print_json, run as run_command, show};
use crate::cli::{Experiment, Global, Size};
use crate::exit::{Ended, Failure};
use crate::figures::Figures;
use crate::run_dir::RunDir;
use crate::setup;
use crate::tally;

/// Held-out contexts of each seed.
const HELD_OUT: usize = 64;

pub(crate) async fn run(global: &Global, args: &Experiment) -> Result<Option<Ended>, Failure> {
    let mut runs = Vec::new();
    for seed in args.first_seed..args.first_seed + args.seeds {
        runs.push(one_seed(global, args, seed).await?);
    }
    let pooled = tally::pool(&runs);
    if global.json {
        print_json(&pooled)?;
    } else {
        show::print_figures(&pooled);
    }
    if let Some(file) = &args.markdown {
        let text = show::markdown(&pooled, &runs);
        std::fs::write(file, text).with_context(|| format!("cannot write `{}`", file.display()))?;
    }
    Ok(None)
}

/// Carries out or resumes the run of one seed.
async fn one_seed(global: &Global, args: &Experiment, seed: u64) -> Result<Figures> {
    let folder = args.folder.join(format!("seed-{seed}"));
    let size = Size {
        mode: "single_passage".to_owned(),
        seed,
        rounds: args.rounds,
        contexts: 40,
        proposals: 5,
        held_out: HELD_OUT,
        selection: "strict".into(),
        controls: true,
    };
    let run =
        if folder.exists() { RunDir::open(&folder)? } else { setup::make(&folder, &size, None)? };
    if !global.quiet {
        eprintln!("seed {seed}: {}", folder.display());
    }
    run_command::conduct(global, &run).await?;
    let figures = tally::figures(&run)?;
    show::write_report(&run, &figures)?;
    Ok(figures)
}
