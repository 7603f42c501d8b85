//! `seal run`: carries out the run of a folder, or goes on where it stopped.

use std::path::Path;

use anyhow::Result;
use seal_conductor::plan::plan;

use super::{hint, print_json, show};
use crate::cli::{Global, Run};
use crate::exit::{Ended, Failure, OrEnd};
use crate::progress::{self, Style};
use crate::run_dir::RunDir;
use crate::session::{self, Session};
use crate::tally;

/// Process ids of the daemons of a run under way.
const PIDS: &str = "logs/pids.json";

pub(crate) async fn run(global: &Global, args: &Run) -> Result<Option<Ended>, Failure> {
    let named: Option<&Path> = args.config.as_deref().or(global.run.as_deref());
    let run = RunDir::find(named).or_end(Ended::BadConfig)?;
    conduct(global, &run).await?;
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

/// Starts the daemons, carries out what is left, stops them.
pub(crate) async fn conduct(global: &Global, run: &RunDir) -> Result<()> {
    let _ = std::fs::remove_file(run.path(PIDS));
    let mut session = Session::start(run).await?;
    if !global.quiet && !global.json {
        session.health().for_each(|health| eprintln!("  {}", session::describe(health)));
    }
    write_pids(run, &session)?;
    let tasks = plan(&run.run_config()?.run, &run.contexts()?);
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
