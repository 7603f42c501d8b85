//! `seal ledger heads` and `seal ledger acknowledge`.

use anyhow::{Context, Result, ensure};
use seal_auditor::offline;
use seal_protocol::{LedgerHead, LedgerQuestion, Role};
use seal_service::clock::{Clock, SystemClock};
use seal_witness::{HEADS_FILE, Heads};
use serde::Serialize;

use super::serving::confirm;
use super::{hint, print_json};
use crate::cli::{Acknowledge, Global, Ledger};
use crate::exit::{Ended, Failure};
use crate::run_dir::RunDir;
use crate::text::printable;

/// Roles that remember heads.
const READERS: [Role; 2] = [Role::Teacher, Role::Student];

pub(crate) fn ledger(
    global: &Global,
    run: &RunDir,
    command: &Ledger,
) -> Result<Option<Ended>, Failure> {
    match command {
        Ledger::Heads => heads(global, run)?,
        Ledger::Acknowledge(args) => acknowledge(global, run, args)?,
    }
    Ok(None)
}

/// `seal ledger heads --json`.
#[derive(Serialize)]
struct Shown {
    checkpoint: String,
    remembered: Vec<(Role, Vec<LedgerHead>)>,
}

fn heads(global: &Global, run: &RunDir) -> Result<()> {
    let question = LedgerQuestion::default();
    let shown = offline::show(&run.state_here(Role::Auditor)?, &question)?;
    // What another host's role remembers is asked there.
    let here = |role: &Role| run.host_elsewhere(*role).is_ok_and(|elsewhere| elsewhere.is_none());
    let known = |role: Role| Ok((role, memory(run, role)?.map_or(Ok(Vec::new()), |m| m.known())?));
    let remembered = READERS.into_iter().filter(here).map(known).collect::<Result<Vec<_>>>()?;
    let shown = Shown { checkpoint: shown.checkpoint, remembered };
    if global.json {
        return print_json(&shown);
    }
    out!("the auditor's ledger claims");
    shown.checkpoint.lines().for_each(|line| out!("  {}", printable(line)));
    for (role, heads) in &shown.remembered {
        if heads.is_empty() {
            out!("{:<8} remembers no ledger", role.name());
        }
        for LedgerHead { origin, size, root } in heads {
            out!(
                "{:<8} remembers {}: {size} rows, root {}",
                role.name(),
                printable(origin),
                root.short()
            );
        }
    }
    hint(global, "seal verify --all derives the root from the rows");
    Ok(())
}

fn acknowledge(global: &Global, run: &RunDir, args: &Acknowledge) -> Result<()> {
    let role = if args.role == "teacher" { Role::Teacher } else { Role::Student };
    ensure!(!args.reason.trim().is_empty(), "say with --reason what happened; it stays on record");
    let memory = memory(run, role)?
        .with_context(|| format!("the {role} of this run has not been shown a ledger yet"))?;
    confirm(
        global,
        &format!("let the {role} forget what it saw of the ledger {}", printable(&args.origin)),
    )?;
    let lost = memory.acknowledge(&args.origin, &args.reason, SystemClock.now())?;
    if global.json {
        return print_json(&lost);
    }
    out!(
        "the {role} forgot {} rows of {}, root {}",
        lost.size,
        printable(&lost.origin),
        lost.root.short()
    );
    hint(global, "the next showing counts as a first look; `seal run` goes on");
    Ok(())
}

fn memory(run: &RunDir, role: Role) -> Result<Option<Heads>> {
    let state = run.state_here(role)?;
    match state.join(HEADS_FILE).exists() {
        true => Ok(Some(Heads::open(&state)?)),
        false => Ok(None),
    }
}
