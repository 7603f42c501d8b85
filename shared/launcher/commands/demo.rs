//! `seal demo`: the whole loop in a fresh run folder, with one refusal and one rollback.

use std::time::Instant;

use anyhow::Result;
use seal_protocol::{Decision, Served};

use super::{hint, print_json, run as run_command, serving, show, why};
use crate::cli::{Demo, Global};
use crate::evidence;
use crate::exit::{Ended, Failure};
use crate::figures::Figures;
use crate::run_dir::{Example, RunDir, fresh_run_path};
use crate::setup;
use crate::tally;
use crate::text::duration;

/// Questions that the demo asks.
const QUESTIONS_SHOWN: usize = 2;

pub(crate) async fn run(global: &Global, args: &Demo) -> Result<Option<Ended>, Failure> {
    let begun = Instant::now();
    let folder = global.run.clone().unwrap_or_else(|| fresh_run_path("demo"));
    say(global, &format!("run folder   {}", folder.display()));
    let run = setup::make(&folder, &args.size.size(), None)?;
    say(global, "keys         one per role, private files 0600; trust root signed by the root key");
    say(global, "model        embedded miniature, 0.9 M parameters; no download, no network");
    run_command::conduct(global, &run).await?;

    let figures = tally::figures(&run)?;
    show::write_report(&run, &figures)?;
    if global.json {
        print_json(&figures)?;
    } else {
        story(&run, &figures).await?;
        eprintln!(
            "took {}; report: {}",
            duration(begun.elapsed().as_secs()),
            run.path("report.html").display()
        );
    }
    hint(global, "seal status   seal why v1   seal verify --all   open the report");
    Ok(None)
}

fn say(global: &Global, line: &str) {
    if !global.quiet && !global.json {
        eprintln!("  {line}");
    }
}

/// What happened, in the order in which a newcomer wants to know it.
async fn story(run: &RunDir, figures: &Figures) -> Result<()> {
    show::print_figures(figures);
    out!("\nRefused: a poisoned document");
    why::explain_intake(run)?;

    let served = evidence::served(run)?;
    if served.active == "base" {
        out!("\nNo adapter was promoted; the base serves as before.");
        return Ok(());
    }
    for example in example_questions(run)? {
        out!("\nAsked: {} (the document says: {})", example.question, example.answer);
        serving::show_answers(&serving::answers(run, &example.question, true, None).await?);
    }
    roll_back_and_return(run, &served).await
}

/// Shows that a version can be undone and had again, in the record.
async fn roll_back_and_return(run: &RunDir, served: &Served) -> Result<()> {
    let begun = Instant::now();
    let after = serving::roll_back_to(run, "base", "shown in the demo").await?;
    out!(
        "\nRolled back: {} → {} in {:.1} s; {} stays in the history",
        served.active,
        after.active,
        begun.elapsed().as_secs_f64(),
        served.active
    );
    Ok(())
}

/// Questions about an accepted context, as an operator would ask them.
fn example_questions(run: &RunDir) -> Result<Vec<Example>> {
    let accepted = evidence::attempts(run)?
        .into_iter()
        .find(|attempt| attempt.decision == Decision::Accept)
        .and_then(|attempt| attempt.context_digests.first().copied());
    let named = run.contexts()?.into_iter().find(|context| Some(context.digest) == accepted);
    let own = |example: &Example| named.as_ref().is_some_and(|c| c.id == example.context);
    Ok(run.examples()?.into_iter().filter(own).take(QUESTIONS_SHOWN).collect())
}
