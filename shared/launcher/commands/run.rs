//! `seal run`: carries out the run of a folder, or goes on where it stopped.

use std::path::Path;

use anyhow::{Context, Result};
use seal_conductor::outcome::Outcome;
use seal_conductor::plan::plan;
use seal_protocol::Role;
use seal_service::endpoint::Endpoint;
use serde::Serialize;

use super::{hint, print_json, show};
use crate::cli::{Global, Run};
use crate::exit::{Ended, Failure, OrEnd};
use crate::progress::{self, Style};
use crate::run_dir::RunDir;
use crate::session::Session;
use crate::tally;
use crate::text::printable;

/// Process ids of the daemons of a run under way.
const PIDS: &str = "logs/pids.json";

pub(crate) async fn run(global: &Global, args: &Run) -> Result<Option<Ended>, Failure> {
    let named: Option<&Path> = args.config.as_deref().or(global.run.as_deref());
    let run = RunDir::find(named).or_end(Ended::BadConfig)?;
    conduct(global, &run).await?;
    if let Some(endpoint) = run.host_elsewhere(Role::Auditor)? {
        return told_by_conductor(global, &run, &endpoint);
    }
    let figures = tally::figures(&run)?;
    show::write_report(&run, &figures)?;
    if global.json {
        print_json(&figures)?;
    } else {
        show::print_figures(&figures);
        eprintln!("report: {}", run.path("report.html").display());
    }
    hint(global, "seal status, seal why VERSION, seal verify --all");
    Ok(None)
}

/// `seal run --json` where the auditor's files are on another host.
#[derive(Serialize)]
struct Told {
    tasks: usize,
    judged: usize,
    accepted: usize,
    serving: String,
}

/// The measurements lie with the auditor; here is what its messages said.
fn told_by_conductor(
    global: &Global,
    run: &RunDir,
    auditor: &Endpoint,
) -> Result<Option<Ended>, Failure> {
    let outcome = run.outcome()?;
    let serving = outcome.served.map_or_else(|| "base".to_owned(), |served| served.active);
    let Outcome { tasks, judged, accepted, .. } = outcome;
    if global.json {
        print_json(&Told { tasks, judged, accepted, serving })?;
        return Ok(None);
    }
    out!("audited   {judged} groups, {accepted} with an accepted candidate");
    out!("serving   {}", printable(&serving));
    hint(
        global,
        &format!(
            "seal report, seal why, seal verify --all on the auditor's host ({auditor}), where the measurements lie"
        ),
    );
    Ok(None)
}

/// Starts the daemons, carries out what is left, stops them.
pub(crate) async fn conduct(global: &Global, run: &RunDir) -> Result<()> {
    let (settings, contexts) = (run.run_config()?.run, run.contexts()?);
    settings
        .check_contexts(&contexts)
        .with_context(|| format!("`{}`", run.path("run.toml").display()))?;
    let left_over = settings.left_over(&contexts);
    if left_over > 0 && !global.quiet && !global.json {
        eprintln!(
            "  {left_over} contexts belong to later rounds than `rounds` in run.toml and are left alone"
        );
    }
    let _ = std::fs::remove_file(run.path(PIDS));
    let mut session = Session::start(run).await?;
    if !global.quiet && !global.json {
        session.lines().for_each(|line| eprintln!("  {line}"));
    }
    write_pids(run, &session)?;
    let tasks = plan(&settings, &contexts);
    let watcher = progress::watcher(Style::choose(global.quiet || global.json), &tasks);
    let outcome = session.conduct(run, watcher).await;
    session.stop().await;
    let _ = std::fs::remove_file(run.path(PIDS));
    outcome
}

/// Who is who, for operators and fault tests.
fn write_pids(run: &RunDir, session: &Session) -> Result<()> {
    let pids: std::collections::BTreeMap<&str, u32> =
        session.pids().map(|(role, pid)| (role.name(), pid)).collect();
    seal_service::store::write_atomic(&run.path(PIDS), &serde_json::to_vec(&pids)?)?;
    Ok(())
}
