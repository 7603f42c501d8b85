//! `seal`: starts, watches, asks, explains, verifies and undoes.
//!
//! Every role can also run alone, from this file (`seal auditor --config F`) or as its own program.

#![cfg_attr(test, allow(clippy::unwrap_used))]

#[macro_use]
mod text;

mod callers;
mod cli;
mod commands;
mod evidence;
mod exit;
mod figures;
mod import;
mod progress;
mod remote;
mod report;
mod run_dir;
mod session;
mod setup;
mod supervisor;
mod tally;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command, Global};
use crate::exit::{Ended, Failure};

/// Tensors come and go by the megabyte; the system's allocator would hand each page back and fault
/// it in again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Roles confine themselves before any thread exists, so they run before a runtime is built.
fn main() -> ExitCode {
    seal_service::allocator::keep_freed_memory();
    let cli = Cli::parse();
    match cli.command {
        Command::Teacher(role) => seal_teacher::run(&role.config),
        Command::Student(role) => seal_student::run(&role.config),
        Command::Auditor(role) => seal_auditor::run(&role.config),
        Command::Judge(role) => seal_judge::run(&role.config),
        Command::Completions { shell } => commands::completions(shell),
        command => match operate(cli.global, command) {
            Ok(None) => ExitCode::SUCCESS,
            Ok(Some(ended)) => ended.into(),
            Err(failure) => {
                exit::show(&failure);
                failure.ended.into()
            }
        },
    }
}

/// Carries out an operator's command; Ctrl-C stops it and the daemons with it.
fn operate(global: Global, command: Command) -> Result<Option<Ended>, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)?;
    // Daemons end with the thread that started them; this one lives as long as the program.
    runtime.block_on(async {
        tokio::select! {
            ended = commands::run(global, command) => ended,
            _ = tokio::signal::ctrl_c() => {
                eprintln!("interrupted; what was finished is kept, `seal run` goes on from there");
                Ok(Some(Ended::Interrupted))
            }
        }
    })
}
