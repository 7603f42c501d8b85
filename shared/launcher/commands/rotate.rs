//! `seal audit tau` and `seal audit rotate`: how often τ was asked, and new questions in its place.
//!
//! The vault's file is the operator's; whether a rotation counts is the auditor's to say. It takes the
//! file over at its next start and holds it against its ledger, however the file came about.

use std::collections::BTreeMap;

use anyhow::anyhow;
use seal_auditor::config::AuditorConfig;
use seal_auditor::items::read_rows;
use seal_auditor::offline::{self, TauUse};
use seal_auditor::vault::{self, Changed, Tau};
use seal_protocol::{Digest, Role};
use seal_service::store::write_atomic;
use serde::Serialize;

use super::serving::confirm;
use super::{hint, print_json};
use crate::cli::{Global, RotateTau};
use crate::evidence;
use crate::exit::{Ended, Failure, OrEnd};
use crate::import::json_lines;
use crate::run_dir::RunDir;
use crate::text::{printable, table};

/// `seal audit tau --json`.
#[derive(Serialize)]
struct Shown {
    budget: u64,
    tau: Vec<TauUse>,
}

pub(crate) fn tau(global: &Global, run: &RunDir) -> Result<(), Failure> {
    let state = run.state_here(Role::Auditor)?;
    let tau = offline::tau_use(&state).or_end(Ended::Unverified)?;
    let roots = evidence::trust_roots(run).or_end(Ended::Unverified)?;
    let budget = roots.newest().root().limits.tau_query_budget;
    if global.json {
        print_json(&Shown { budget, tau })?;
        return Ok(());
    }
    let names = names(run)?;
    let head = ["context", "tau", "number", "in force", "edits", "promotions"].map(str::to_owned);
    let mut rows = vec![head.to_vec()];
    for one in &tau {
        let named = names.get(&one.context_digest).cloned();
        rows.push(vec![
            printable(&named.unwrap_or_else(|| one.context_digest.short())),
            one.tau.map_or_else(|| "not named".to_owned(), |tau| tau.short()),
            one.number.to_string(),
            if one.in_force { "yes" } else { "no" }.to_owned(),
            format!("{} of {budget}", one.edits),
            format!("{} of {budget}", one.promotions),
        ]);
    }
    out!("{}", table(&rows).trim_end());
    if tau.iter().any(|one| one.in_force && u64::from(one.edits.max(one.promotions)) >= budget) {
        hint(
            global,
            "a context without a rest is closed until it gets new questions: seal audit rotate",
        );
    }
    Ok(())
}

/// Names of contexts, where the vault can be read.
fn names(run: &RunDir) -> Result<BTreeMap<Digest, String>, Failure> {
    let config = AuditorConfig::load(&run.config_file(Role::Auditor)).or_end(Ended::BadConfig)?;
    let rows = read_rows::<Tau>(&config.vault.tau).unwrap_or_default();
    Ok(rows.into_iter().map(|row| (row.context_digest, row.context_id)).collect())
}

pub(crate) fn rotate(global: &Global, run: &RunDir, args: &RotateTau) -> Result<(), Failure> {
    run.state_here(Role::Auditor)?;
    let config = AuditorConfig::load(&run.config_file(Role::Auditor)).or_end(Ended::BadConfig)?;
    if config.gate.rotation_share == 0.0 {
        let what = "[gate] rotation_share = 0 in auditor.toml keeps no level for another τ, and the \
                    auditor would not start with one; set it first (0.5 halves the level with each τ)";
        return Err(Failure { ended: Ended::BadConfig, error: anyhow!(what) });
    }
    let file = &config.vault.tau;
    let read = |path| read_rows::<Tau>(path).or_end(Ended::BadConfig);
    let rotated = vault::rotate(read(file)?, read(&args.file)?, config.gate.labels)
        .or_end(Ended::BadConfig)?;
    let contexts = rotated.changed.len();
    confirm(global, &format!("ask {contexts} contexts other questions from the next start on"))?;
    let bytes = json_lines(&rotated.rows)?;
    write_atomic(file, &bytes)
        .map_err(|error| {
            let named = file.display();
            anyhow!("cannot write `{named}`: {error}; the earlier questions stay in force")
        })
        .or_end(Ended::BadConfig)?;
    show(global, &rotated.changed)?;
    Ok(())
}

fn show(global: &Global, changed: &[Changed]) -> anyhow::Result<()> {
    if global.json {
        return print_json(&changed);
    }
    let head = ["context", "reward", "confirmation", ""].map(str::to_owned);
    let mut rows = vec![head.to_vec()];
    rows.extend(changed.iter().map(|one| {
        let back = if one.back { "in force before: goes on where it stood" } else { "new" };
        vec![
            printable(&one.context_id),
            one.reward.to_string(),
            one.confirmation.to_string(),
            back.to_owned(),
        ]
    }));
    out!("{}", table(&rows).trim_end());
    hint(global, "the auditor takes this over at its next start, as rows of its ledger: seal run");
    Ok(())
}
