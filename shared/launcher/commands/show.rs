//! `init`, `status`, `verify`, `report`, and how figures look on a terminal.

use anyhow::{Context, Result, anyhow};
use seal_conductor::driver;
use seal_protocol::{Decision, Role, Served, path};
use seal_service::endpoint::Endpoint;
use seal_service::tls::Party;
use serde::Serialize;

use super::{hint, print_json};
use crate::cli::{Global, Init, Verify};
use crate::evidence;
use crate::exit::{Ended, Failure, OrEnd};
use crate::figures::{Figures, Forgetting, Sequence, VOTED};
use crate::run_dir::RunDir;
use crate::text::{percent, printable, table};
use crate::{report, setup, tally};

pub(crate) fn init(global: &Global, args: &Init) -> Result<Option<Ended>, Failure> {
    let judge = args.judge.as_deref();
    let (Some(configs), Some(base_model)) = (&args.from, &args.base_model) else {
        let run = setup::make(&args.folder, &args.size.size(), judge)?;
        out!("{}", run.root().display());
        hint(global, &format!("seal run --config {}", run.path("run.toml").display()));
        return Ok(None);
    };
    let run = setup::make_from(&args.folder, configs, base_model, &args.size, judge)
        .or_end(Ended::BadConfig)?;
    out!("{}", run.root().display());
    hint(global, &format!("seal import … --into {}, then seal run", run.root().display()));
    Ok(None)
}

/// `seal status --json`. What only another host knows is null.
#[derive(Serialize)]
struct Status {
    run: String,
    complete: Option<bool>,
    active: Option<String>,
    versions: Vec<String>,
    attempts: usize,
    accepted: usize,
}

pub(crate) async fn status(global: &Global, run: &RunDir) -> Result<Option<Ended>, Failure> {
    if let Some(auditor) = run.host_elsewhere(Role::Auditor)? {
        return remote_status(global, run, &auditor).await;
    }
    let attempts = evidence::attempts(run)?;
    let served = served(run).await;
    let served = served.inspect_err(|error| eprintln!("warning: {error:#}")).ok();
    let status = Status {
        run: run.root().display().to_string(),
        complete: complete(run)?,
        active: served.as_ref().map(|served| served.active.clone()),
        versions: served.into_iter().flat_map(|served| served.versions.into_keys()).collect(),
        attempts: attempts.len(),
        accepted: attempts.iter().filter(|a| a.decision == Decision::Accept).count(),
    };
    if global.json {
        print_json(&status)?;
        return Ok(None);
    }
    out!("run       {}", status.run);
    out!("state     {}", state_of(status.complete));
    out!(
        "serving   {}",
        status.active.as_deref().map_or("the student's host knows".into(), printable)
    );
    out!(
        "versions  {}",
        if status.versions.is_empty() { "none".into() } else { status.versions.join(", ") }
    );
    out!("audited   {} candidates, {} accepted", status.attempts, status.accepted);
    print_figures(&tally::figures(run)?);
    hint(global, next_of(&status));
    Ok(None)
}

fn next_of(status: &Status) -> &'static str {
    match status {
        Status { complete: Some(false), .. } => "seal run",
        Status { versions, .. } if versions.is_empty() => "seal report   seal verify --all",
        _ => "seal why v1   seal verify --all   seal rollback base",
    }
}

fn state_of(complete: Option<bool>) -> &'static str {
    match complete {
        Some(true) => "complete",
        Some(false) => "unfinished; `seal run` goes on",
        None => "the conductor's host knows",
    }
}

/// Whether the run is done, if its conductor works in this folder.
fn complete(run: &RunDir) -> Result<Option<bool>> {
    if !run.progress_file().exists() && run.endpoint(Role::Student)?.is_remote() {
        return Ok(None);
    }
    let settings = run.run_config()?.run;
    Ok(Some(driver::is_complete(&settings, &run.contexts()?, &run.progress_file())?))
}

/// What serves, from the student's files or, where these are elsewhere, from itself.
async fn served(run: &RunDir) -> Result<Served> {
    match run.host_elsewhere(Role::Student)? {
        None => evidence::served(run),
        Some(_) => Ok(run.client(Role::Student, Party::Operator)?.get(path::VERSIONS).await?),
    }
}

/// `seal status --json` where the auditor's files are on another host.
#[derive(Serialize)]
struct RemoteStatus {
    run: String,
    complete: Option<bool>,
    active: String,
    versions: Vec<String>,
    groups_judged: usize,
    groups_accepted: usize,
}

async fn remote_status(
    global: &Global,
    run: &RunDir,
    auditor: &Endpoint,
) -> Result<Option<Ended>, Failure> {
    let (served, outcome) = (served(run).await?, run.outcome()?);
    let status = RemoteStatus {
        run: run.root().display().to_string(),
        complete: complete(run)?,
        active: served.active,
        versions: served.versions.into_keys().collect(),
        groups_judged: outcome.judged,
        groups_accepted: outcome.accepted,
    };
    if global.json {
        print_json(&status)?;
        return Ok(None);
    }
    out!("run       {}", status.run);
    out!("state     {}; {} of {} tasks", state_of(status.complete), outcome.done, outcome.tasks);
    out!("serving   {}", printable(&status.active));
    out!(
        "audited   {} groups, {} with an accepted candidate",
        status.groups_judged,
        status.groups_accepted
    );
    hint(
        global,
        &format!(
            "measurements and reasons lie on the auditor's host ({auditor}): seal status there"
        ),
    );
    Ok(None)
}

pub(crate) fn verify(
    global: &Global,
    run: &RunDir,
    args: &Verify,
) -> Result<Option<Ended>, Failure> {
    if !run.has_begun() && run.host_elsewhere(Role::Auditor)?.is_none() {
        let error = anyhow!("nothing ran in `{}` yet; begin with `seal run`", run.root().display());
        return Err(Failure { ended: Ended::BadConfig, error });
    }
    let summary = match (&args.version, args.all) {
        (Some(version), false) => evidence::verify_version(run, version),
        _ => evidence::verify_all(run),
    }
    .or_end(Ended::Unverified)?;
    if global.json {
        print_json(&summary)?;
    } else {
        out!("verified  {}", run.root().display());
        for line in &summary.lines {
            out!("  {}", printable(line));
        }
    }
    hint(global, "docs/VERIFYING.md verifies a verdict without this program");
    Ok(None)
}

pub(crate) fn report(global: &Global, run: &RunDir) -> Result<Option<Ended>, Failure> {
    let figures = tally::figures(run)?;
    write_report(run, &figures)?;
    if global.json {
        print_json(&figures)?;
        return Ok(None);
    }
    out!("{}", run.path("report.html").display());
    print_labels(&figures);
    print_sequences(&figures);
    hint(global, "open it in a browser; it loads nothing");
    Ok(None)
}

pub(crate) fn write_report(run: &RunDir, figures: &Figures) -> Result<()> {
    let page = report::html(figures);
    seal_service::store::write_atomic(&run.path("report.html"), page.as_bytes())
        .context("cannot write report.html")
}

/// The final table.
pub(crate) fn print_figures(figures: &Figures) {
    print_labels(figures);
    if !figures.conditions.is_empty() {
        out!("\nAccuracy on unseen contexts (answers without the context)");
        out!("{}", table(&condition_rows(figures)).trim_end());
    }
    let likelihood = likelihood_rows(figures);
    if likelihood.len() > 1 {
        out!("\nGold answers above the base, nats per token");
        out!("{}", table(&likelihood).trim_end());
    }
    if !figures.differences.is_empty() {
        out!("\nPaired differences, points");
        out!("{}", table(&difference_rows(figures)).trim_end());
    }
    if !figures.funnels.is_empty() {
        out!("\nSelf-edits");
        out!("{}", table(&funnel_rows(figures)).trim_end());
        for funnel in &figures.funnels {
            if let Some(said) = funnel.signal.said() {
                out!("  {}: {said}", printable(&funnel.stage));
            }
        }
    }
    print_sequences(figures);
    if let Some(consolidation) = &figures.consolidation {
        let verdict = if consolidation.accepted { "accepted" } else { "refused" };
        out!(
            "\nOne adapter for {} accepted contexts: {verdict}; accuracy {} → {} [{}], retention {} → {}",
            consolidation.contexts,
            percent(consolidation.base_accuracy),
            percent(consolidation.accuracy.mean),
            consolidation.accuracy.shares(),
            percent(consolidation.base_retention),
            percent(consolidation.retention),
        );
        consolidation.reasons.iter().for_each(|rule| out!("  against it: {}", printable(rule)));
    }
}

/// That edits were accepted by a vote, where they were.
fn print_labels(figures: &Figures) {
    if !figures.labels.is_gold() {
        out!("\n{VOTED}");
    }
}

/// Forgetting matrices and what they come to.
fn print_sequences(figures: &Figures) {
    for sequence in &figures.sequences {
        out!("\n{}: accuracy on each context after each edit", printable(&sequence.stage));
        out!("{}", table(&matrix_rows(sequence)).trim_end());
        if !sequence.left_out.is_empty() {
            out!("  no edit was accepted on {}", printable(&sequence.left_out.join(", ")));
        }
    }
    if let Some(forgetting) = &figures.forgetting {
        out!("\nForgetting, by edits since a context's own");
        out!("{}", table(&age_rows(forgetting)).trim_end());
        out!("\nAll contexts learned so far, beside the same without any edit");
        out!("{}", table(&after_rows(forgetting)).trim_end());
    }
}

fn matrix_rows(sequence: &Sequence) -> Vec<Vec<String>> {
    let mut head = row(&["edits"]);
    head.extend(sequence.contexts.iter().map(|context| printable(context)));
    head.push("retention".to_owned());
    let width = sequence.contexts.len();
    let line = |label: String, shares: &[f64], retention: Option<f64>| {
        let cell = |place: usize| shares.get(place).map_or_else(String::new, |own| percent(*own));
        let mut cells = vec![label];
        cells.extend((0..width).map(cell));
        cells.push(retention.map_or_else(|| "–".into(), percent));
        cells
    };
    let unedited = line("none".to_owned(), &sequence.unedited, sequence.unedited_retention);
    let steps = sequence.steps.iter();
    let steps = steps.map(|step| line(step.edits.to_string(), &step.accuracy, step.retention));
    [head, unedited].into_iter().chain(steps).collect()
}

fn age_rows(forgetting: &Forgetting) -> Vec<Vec<String>> {
    let mut rows = vec![row(&["edits since", "accuracy", "95 % interval", "n"])];
    for (age, accuracy) in forgetting.by_age.iter().enumerate() {
        let (mean, interval) = (percent(accuracy.mean), accuracy.shares());
        rows.push(vec![age.to_string(), mean, interval, accuracy.n.to_string()]);
    }
    rows
}

fn after_rows(forgetting: &Forgetting) -> Vec<Vec<String>> {
    let head = ["edits", "accuracy", "no edit", "difference", "95 % interval", "n"];
    let mut rows = vec![row(&head)];
    for after in &forgetting.by_edits {
        rows.push(vec![
            after.edits.to_string(),
            percent(after.accuracy.mean),
            percent(after.unedited.mean),
            format!("{:+.1}", after.gain.mean * 100.0),
            after.gain.points(),
            after.gain.n.to_string(),
        ]);
    }
    rows
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

fn condition_rows(figures: &Figures) -> Vec<Vec<String>> {
    let mut rows =
        vec![row(&["condition", "accuracy", "95 % interval", "n", "retention", "lines"])];
    for arm in &figures.conditions {
        rows.push(vec![
            printable(&arm.label),
            percent(arm.accuracy.mean),
            arm.accuracy.shares(),
            arm.accuracy.n.to_string(),
            arm.retention.map_or_else(|| "–".into(), percent),
            format!("{:.1}", arm.lines_per_edit),
        ]);
    }
    rows
}

fn likelihood_rows(figures: &Figures) -> Vec<Vec<String>> {
    let mut rows = vec![row(&["condition", "gain", "95 % interval", "n", "empty answers"])];
    for arm in &figures.conditions {
        let Some(gain) = tally::dense_estimate(arm) else { continue };
        rows.push(vec![
            printable(&arm.label),
            format!("{:+.3}", gain.mean),
            gain.plain(),
            gain.n.to_string(),
            arm.empty_answers.to_string(),
        ]);
    }
    rows
}

fn difference_rows(figures: &Figures) -> Vec<Vec<String>> {
    let mut rows = vec![row(&["", "gain", "95 % interval", "n"])];
    for difference in &figures.differences {
        rows.push(vec![
            printable(&difference.label),
            format!("{:+.1}", difference.gain.mean * 100.0),
            difference.gain.points(),
            difference.gain.n.to_string(),
        ]);
    }
    rows
}

/// Columns of the funnel. The last two are on questions that selection never saw.
const FUNNEL: [&str; 9] = [
    "stage",
    "proposed",
    "accepted",
    "not best",
    "refused",
    "mean reward",
    "best of group",
    "accepted, confirmed",
    "random, confirmed",
];

fn funnel_rows(figures: &Figures) -> Vec<Vec<String>> {
    let share = |share: Option<f64>| share.map_or_else(|| "–".into(), percent);
    let mut rows = vec![row(&FUNNEL)];
    for funnel in &figures.funnels {
        let refused: usize = funnel.refused.iter().map(|(_, count)| count).sum();
        rows.push(vec![
            printable(&funnel.stage),
            funnel.proposed.to_string(),
            funnel.accepted.to_string(),
            funnel.not_selected.to_string(),
            refused.to_string(),
            percent(funnel.mean_reward),
            percent(funnel.best_reward),
            share(funnel.accepted_confirmation),
            share(funnel.random_confirmation),
        ]);
    }
    rows
}

/// The pooled table and one line per seed, for `docs/`.
pub(crate) fn markdown(pooled: &Figures, runs: &[Figures]) -> String {
    let mut text = experiment_head(runs);
    text.push_str(&markdown_table(&condition_rows(pooled)));
    text.push_str("\n\n### Paired differences, points\n\n");
    text.push_str(&markdown_table(&difference_rows(pooled)));
    text.push_str("\n\n## Each seed\n\n");
    let mut rows = vec![row(&["condition"])];
    rows[0].extend(runs.iter().map(|run| format!("seed {}", run.seed)));
    for arm in &pooled.conditions {
        let mut cells = vec![arm.label.clone()];
        cells.extend(runs.iter().map(|run| {
            let own = run.conditions.iter().find(|own| own.stage == arm.stage);
            own.map_or_else(|| "–".into(), |own| percent(own.accuracy.mean))
        }));
        rows.push(cells);
    }
    text.push_str(&markdown_table(&rows));
    text.push_str("\n\n## Self-edits of each seed\n");
    for run in runs {
        text.push_str(&format!("\nSeed {}\n\n", run.seed));
        text.push_str(&markdown_table(&funnel_rows(run)));
        text.push('\n');
        if let Some(consolidation) = &run.consolidation {
            text.push_str(&format!(
                "\nConsolidated: {} contexts, accuracy {} → {}, retention {} → {}, {}.\n",
                consolidation.contexts,
                percent(consolidation.base_accuracy),
                percent(consolidation.accuracy.mean),
                percent(consolidation.base_retention),
                percent(consolidation.retention),
                if consolidation.accepted { "accepted" } else { "refused" },
            ));
        }
    }
    text
}

/// What was run and how to read it.
fn experiment_head(runs: &[Figures]) -> String {
    let seeds: Vec<String> = runs.iter().map(|run| run.seed.to_string()).collect();
    format!(
        "# Experiment\n\n\
         `seal experiment` with the embedded miniature, seeds {}; machine: {} cores, {}. Every figure \
         below was printed by that command.\n\n\
         Each seed has its own contexts, replay lines, sampling and initialisation; the base model is \
         the same. Accuracy is the share of questions about unseen contexts answered right without \
         the context, one self-edit per context; intervals are 95 %, bootstrap over contexts (over \
         groups in the last difference, which is measured on questions that selection never saw). \
         *Length-matched*: of eight untrained edits the one whose length comes closest to the trained \
         policy's on the same context. *Best fixed plan*: the untrained policy with the plan and size \
         forced that a search by hand found best; it needs a human who knows the answer.\n\n\
         ## All seeds together\n\n",
        seeds.join(", "),
        std::thread::available_parallelism().map_or(1, usize::from),
        seal_model::instruction_set(),
    )
}

fn markdown_table(rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let Some((head, body)) = rows.split_first() else { return String::new() };
    let rule = format!("|{}", "---|".repeat(head.len()));
    let body = body.iter().map(|cells| line(cells));
    [line(head), rule].into_iter().chain(body).collect::<Vec<_>>().join("\n")
}
