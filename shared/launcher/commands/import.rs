//! `seal import`: text with questions in, contexts and τ out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use seal_conductor::plan::{ContextRef, ContextUse};
use serde::Serialize;

use super::{hint, print_json};
use crate::cli::{Destination, Global, Import};
use crate::exit::{Ended, Failure, OrEnd};
use crate::import::run_folder::{self, Ready};
use crate::import::{LeftOut, Parts, Shares, part, read_folder, read_jsonl, read_squad, write};
use crate::text::{printable, table};

/// Passages held out where nobody says how many: one in so many.
const HELD_OUT_ONE_IN: usize = 5;
/// Rounds where neither the user nor the folder's `run.toml` says how many.
const ROUNDS: u32 = 2;
/// Left-out things that are printed; the record has them all.
const SHOWN: usize = 20;

/// What was written.
#[derive(Serialize)]
struct Report<'a> {
    contexts: usize,
    reward_questions: usize,
    confirmation_questions: usize,
    retention_questions: usize,
    left_out: &'a [LeftOut],
    files: Vec<PathBuf>,
}

pub(crate) fn import(global: &Global, import: &Import) -> Result<Option<Ended>, Failure> {
    let (source, into) = match import {
        Import::Squad { files, into } => (read_squad(files), into),
        Import::Jsonl { files, into } => (read_jsonl(files), into),
        Import::Folder { folder, questions, into } => (read_folder(folder, questions), into),
        Import::LmEval { .. }
        | Import::Promptfoo { .. }
        | Import::Inspect { .. }
        | Import::Arc { .. } => {
            return super::import_suite::import(global, import);
        }
    };
    let source = source.or_end(Ended::BadConfig)?;
    let shares = shares(into, source.passages.len())?;
    let sources = source.files.clone();
    let parts = part(source, &shares);
    if parts.contexts.is_empty() {
        let what = "no passage with at least two questions is left; nothing was written";
        show(global, &parts.left_out);
        return Err(Failure { ended: Ended::BadConfig, error: anyhow!(what) });
    }
    shared_out(into, &parts)?;
    tell_empty_rounds(global, &parts, shares.rounds);
    let files = write(&into.into, &parts, &sources, &shares, into.replace)?;
    report(global, &into.into, &parts, files)?;
    Ok(None)
}

/// Whoever asks for shares gets them, or is told why not: passages whose round the source names keep
/// it, so that none may be left.
fn shared_out(into: &Destination, parts: &Parts) -> Result<(), Failure> {
    let measured = |one: &ContextRef| one.usage == ContextUse::Evaluation;
    let missing = if into.retention > 0 && parts.retention.is_empty() {
        "--retention"
    } else if into.held_out.is_some_and(|n| n > 0) && !parts.refs.iter().any(measured) {
        "--held-out"
    } else {
        return Ok(());
    };
    let error = anyhow!(
        "no passage is left for {missing}: those that name their `round` keep it; remove `round` from \
         the rows that are to be shared out, or leave the option out"
    );
    Err(Failure { ended: Ended::BadConfig, error })
}

/// A run refuses rounds without a passage; whoever imports can still share them out otherwise.
fn tell_empty_rounds(global: &Global, parts: &Parts, rounds: u32) {
    let learns = |round| parts.refs.iter().any(|one| one.usage == ContextUse::Round(round));
    let with_one = (1..=rounds).filter(|&round| learns(round)).count();
    if with_one < rounds as usize && !global.quiet && !global.json {
        eprintln!(
            "warning: of {rounds} rounds only {with_one} have a passage to learn from; set `rounds` in \
             run.toml to what there is, or import more"
        );
    }
}

fn shares(into: &Destination, passages: usize) -> Result<Shares, Failure> {
    if !(0.0..1.0).contains(&into.confirmation) {
        let what =
            format!("--confirmation {} must lie from 0 up to, not including, 1", into.confirmation);
        return Err(Failure { ended: Ended::BadConfig, error: anyhow!(what) });
    }
    Ok(Shares {
        seed: into.seed,
        confirmation: into.confirmation,
        rounds: into.rounds.or_else(|| run_folder::rounds(&into.into)).unwrap_or(ROUNDS),
        held_out: into.held_out.unwrap_or(passages / HELD_OUT_ONE_IN),
        retention: into.retention,
        longest_passage_chars: into.longest_passage,
    })
}

fn report(
    global: &Global,
    folder: &Path,
    parts: &Parts,
    files: Vec<PathBuf>,
) -> anyhow::Result<()> {
    let count = |pick: fn(&seal_auditor::vault::Tau) -> usize| parts.tau.iter().map(pick).sum();
    let report = Report {
        contexts: parts.contexts.len(),
        reward_questions: count(|tau| tau.reward.len()),
        confirmation_questions: count(|tau| tau.confirmation.len()),
        retention_questions: parts.retention.len(),
        left_out: &parts.left_out,
        files,
    };
    if global.json {
        return print_json(&report);
    }
    let row = |name: &str, count: usize| vec![name.to_owned(), count.to_string()];
    let rows = [
        row("contexts, for the teacher", report.contexts),
        row("questions that drive the reward, for the auditor", report.reward_questions),
        row("questions that prove a gain, for the auditor", report.confirmation_questions),
        row("questions of the retention suite, for the auditor", report.retention_questions),
        row("left out", report.left_out.len()),
    ];
    out!("{}", table(&rows));
    show(global, report.left_out);
    for file in &report.files {
        out!("{}", file.display());
    }
    let next = match run_folder::ready(folder, &report.files) {
        Ready::Yes => format!("seal run --config {}", folder.display()),
        Ready::Missing(file) => format!(
            "put `{}` there, which auditor.toml names (docs/SUITES.md), or take it out; then seal run",
            file.display()
        ),
        Ready::Unnamed => "name these files in teacher.toml and auditor.toml of the run".to_owned(),
    };
    hint(global, &next);
    Ok(())
}

/// Why what was left out, with the first places of each reason.
pub(super) fn show(global: &Global, left_out: &[LeftOut]) {
    if global.json || global.quiet {
        return;
    }
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for left in left_out {
        reasons.entry(&left.reason).or_default().push(&left.place);
    }
    for (reason, places) in reasons.iter().take(SHOWN) {
        let first = places.iter().take(3).map(|place| printable(place));
        let first = first.collect::<Vec<_>>().join(", ");
        let more = if places.len() > 3 { ", …" } else { "" };
        eprintln!("left out: {} × {} ({first}{more})", places.len(), printable(reason));
    }
    if reasons.len() > SHOWN {
        eprintln!(
            "left out: {} further reasons; auditor/import.json has them all",
            reasons.len() - SHOWN
        );
    }
}
