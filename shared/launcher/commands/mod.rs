//! One file per command, or per family of small ones.

mod audit;
mod bench;
mod check;
mod demo;
mod devices;
mod doctor;
mod egress;
mod examine;
mod experiment;
mod fetch;
mod import;
mod import_suite;
mod ledger;
mod miniature;
mod rotate;
mod run;
mod serving;
mod show;
mod tls;
mod trust;
mod why;

use std::process::ExitCode;

use anyhow::Result;
use clap::CommandFactory;
use seal_miniature::bytes::BytesRecipe;

use crate::cli::{Cli, Command, Doctor, Global, Miniature, Model};
use crate::exit::{Ended, Failure};
use crate::run_dir::RunDir;

/// Carries out a command. `Some`: a regular end that is not plain success.
pub(crate) async fn run(global: Global, command: Command) -> Result<Option<Ended>, Failure> {
    match command {
        Command::Demo(args) => demo::run(&global, &args).await,
        Command::Init(args) => show::init(&global, &args),
        Command::Run(args) => run::run(&global, &args).await,
        Command::Status => show::status(&global, &find(&global)?).await,
        Command::Ask(args) => serving::ask(&global, &find(&global)?, &args).await,
        Command::Why(args) => why::why(&global, &find(&global)?, &args.subject),
        Command::Verify(args) => match audit::bundle_named(args.version.as_deref()) {
            Some(folder) => audit::verify_bundle(&global, &folder, args.trust_root_sha256),
            None => {
                audit::refuse_other_folder(args.version.as_deref())?;
                show::verify(&global, &find(&global)?, &args)
            }
        },
        Command::Promote(args) => serving::promote(&global, &find(&global)?, &args.version).await,
        Command::Rollback(args) => serving::roll_back(&global, &find(&global)?, &args).await,
        Command::Egress(args) => egress::egress(&global, &find(&global)?, &args),
        Command::Trust(command) => trust::trust(&global, &command),
        Command::Ledger(command) => ledger::ledger(&global, &find(&global)?, &command),
        Command::Audit(command) => audit::audit(&global, &find(&global)?, &command),
        Command::Report => show::report(&global, &find(&global)?),
        Command::Doctor(Doctor { model: Some(model), plan }) => {
            examine::model(&global, &model, &plan)
        }
        Command::Doctor(_) => doctor::doctor(&global),
        Command::Model(Model::Fetch(args)) => fetch::fetch(&global, &args).await,
        Command::Tls(command) => tls::tls(&global, &command),
        Command::Bench(args) => bench::bench(&global, &args),
        Command::Import(args) => import::import(&global, &args),
        Command::Check(args) => check::check(&global, &args).await,
        Command::Experiment(args) => experiment::run(&global, &args).await,
        Command::Miniature(Miniature::Pretrain { out }) => miniature::again(&global, &out),
        Command::Miniature(Miniature::Bytes { passages, out, prompt, steps, seed }) => {
            let recipe = BytesRecipe { steps, seed, ..BytesRecipe::default() };
            miniature::bytes(&global, &passages, &prompt, &recipe, &out)
        }
        Command::Miniature(Miniature::Export { out }) => miniature::export(&global, &out),
        Command::Teacher(_)
        | Command::Student(_)
        | Command::Auditor(_)
        | Command::Judge(_)
        | Command::Completions { .. } => unreachable!("carried out before the runtime was built"),
    }
}

fn find(global: &Global) -> Result<RunDir, Failure> {
    use crate::exit::OrEnd;
    RunDir::find(global.run.as_deref()).or_end(Ended::BadConfig)
}

/// Prints a completion script.
pub(crate) fn completions(shell: clap_complete::Shell) -> ExitCode {
    clap_complete::generate(shell, &mut Cli::command(), "seal", &mut std::io::stdout());
    ExitCode::SUCCESS
}

/// One JSON document on stdout.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    out!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// The next useful command, on stderr, unless quiet.
fn hint(global: &Global, text: &str) {
    if !global.quiet && !global.json {
        eprintln!("next: {text}");
    }
}
