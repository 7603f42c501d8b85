//! `seal ledger …` and `seal audit …`: what an auditor of the auditor asks for.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Subcommand, Debug)]
pub(crate) enum Ledger {
    /// What the auditor's ledger claims, and what each role remembers of it.
    Heads,
    /// Let a role forget what it saw of a ledger that was lost and restored from a copy; stays on
    /// record.
    Acknowledge(Acknowledge),
}

#[derive(Args, Debug)]
pub(crate) struct Acknowledge {
    /// teacher or student.
    #[arg(value_parser = ["teacher", "student"])]
    pub(crate) role: String,
    /// The ledger's name in its checkpoints.
    #[arg(long, default_value = seal_auditor::config::DEFAULT_ORIGIN)]
    pub(crate) origin: String,
    /// What happened, in your words.
    #[arg(long)]
    pub(crate) reason: String,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Audit {
    /// Write a part of the ledger with all that proves it, for readers without this run folder.
    Export(Export),
    /// What another written policy would have decided, from the measurements that were kept.
    Rejudge(Rejudge),
    /// How often each tau was asked, by context, and what is left of its budget.
    Tau,
    /// Put new questions in the place of tau; the auditor takes them over at its next start.
    Rotate(RotateTau),
}

#[derive(Args, Debug)]
pub(crate) struct RotateTau {
    /// New questions, one context a line, in the form of the vault's tau.jsonl: as `seal import` writes
    /// it into another folder. Every context in it gets them.
    pub(crate) file: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct Export {
    /// Folder to write; must be empty or absent.
    pub(crate) folder: PathBuf,
    /// First row, or a day or moment (`2026-11-27`, `2026-11-27T12:00:00Z`); default: the first row.
    #[arg(long, value_name = "ROW|TIME")]
    pub(crate) from: Option<String>,
    /// The row after the last, or the moment after it; default: everything.
    #[arg(long, value_name = "ROW|TIME")]
    pub(crate) to: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Rejudge {
    /// Folder of Rego files with their tests; without it: under no written policy.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) policy: Option<PathBuf>,
}
