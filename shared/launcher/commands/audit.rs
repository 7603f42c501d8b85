//! `seal audit export` and `seal audit rejudge`.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use seal_auditor::offline::{self, Rejudged};
use seal_auditor::policy::{Bundle, Policy};
use seal_protocol::{LedgerEntry, Role};

use super::{hint, print_json};
use crate::cli::{Audit, Export, Global, Rejudge};
use crate::evidence;
use crate::exit::{Ended, Failure, OrEnd};
use crate::run_dir::RunDir;
use crate::text::{printable, table, wire_name};

/// A reader has time.
const TIME_LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn audit(
    global: &Global,
    run: &RunDir,
    command: &Audit,
) -> Result<Option<Ended>, Failure> {
    match command {
        Audit::Export(args) => export(global, run, args)?,
        Audit::Rejudge(args) => rejudge(global, run, args)?,
        Audit::Tau => super::rotate::tau(global, run)?,
        Audit::Rotate(args) => super::rotate::rotate(global, run, args)?,
    }
    Ok(None)
}

fn export(global: &Global, run: &RunDir, args: &Export) -> Result<(), Failure> {
    let state = run.state_here(Role::Auditor)?;
    let rows = offline::ledger(&state).or_end(Ended::Unverified)?;
    let bound = |text: &Option<String>, default: u64| {
        text.as_deref().map_or(Ok(default), |text| row_of(&rows, text))
    };
    let range = bound(&args.from, 0).or_end(Ended::BadConfig)?
        ..bound(&args.to, rows.len() as u64).or_end(Ended::BadConfig)?;
    let roots = evidence::trust_roots(run).or_end(Ended::Unverified)?;
    let digest = offline::export(&state, &roots, range.clone(), &args.folder)
        .map_err(anyhow::Error::from)?;
    let root = roots.newest().digest();
    if global.json {
        print_json(&serde_json::json!({
            "folder": args.folder, "from": range.start, "to": range.end,
            "index_digest": digest, "trust_root_digest": root,
        }))?;
        return Ok(());
    }
    out!("rows      {} to {}", range.start, range.end);
    out!("bundle    {}", args.folder.display());
    out!("index     {digest}");
    out!("root      {root}");
    hint(
        global,
        &format!(
            "tell the reader both digests on another way than the files; \
             seal verify {} --trust-root-sha256 {root}",
            args.folder.display()
        ),
    );
    Ok(())
}

/// A row's number, or the first row at or after a moment.
fn row_of(rows: &[LedgerEntry], text: &str) -> Result<u64> {
    if let Ok(row) = text.parse() {
        return Ok(row);
    }
    let moment = moment(text).with_context(|| {
        format!("`{text}` is no row and no time; write 17, 2026-11-27 or 2026-11-27T12:00:00Z")
    })?;
    let place = rows.iter().position(|row| row.at.0 >= moment).unwrap_or(rows.len());
    Ok(place as u64)
}

fn moment(text: &str) -> Result<u64> {
    let moment = match text.parse::<jiff::Timestamp>() {
        Ok(moment) => moment,
        Err(_) => text.parse::<jiff::civil::Date>()?.to_zoned(jiff::tz::TimeZone::UTC)?.timestamp(),
    };
    u64::try_from(moment.as_second()).context("it lies before 1970")
}

fn rejudge(global: &Global, run: &RunDir, args: &Rejudge) -> Result<(), Failure> {
    let policy = args.policy.as_deref().map(|folder| {
        Policy::new(Bundle::read(folder)?, TIME_LIMIT)
            .with_context(|| format!("the written policy `{}`", folder.display()))
    });
    let policy = policy.transpose().or_end(Ended::BadConfig)?;
    let rejudged = offline::rejudge(&run.state_here(Role::Auditor)?, policy.as_ref())
        .or_end(Ended::Unverified)?;
    if global.json {
        print_json(&rejudged)?;
    } else {
        print_rejudged(&rejudged);
    }
    hint(
        global,
        "nothing was changed; name the policy under [policy] in auditor.toml to put it in force, which \
         becomes a row of the ledger",
    );
    Ok(())
}

fn print_rejudged(rejudged: &Rejudged) {
    let Rejudged { policy, attempts, evaluations, changed } = rejudged;
    match policy {
        Some(digest) => out!("policy    {digest}"),
        None => out!("policy    none"),
    }
    out!(
        "attempts  {attempts} judged again from their measurements, {} would be decided differently \
         ({evaluations} evaluations ask for nothing)",
        changed.len()
    );
    if changed.is_empty() {
        return;
    }
    let head = ["row", "stage", "edit", "was", "would be", "because of"].map(str::to_owned);
    let mut rows = vec![head.to_vec()];
    for one in changed {
        let edit = one.edit_digests.first().map_or_else(String::new, |edit| edit.short());
        let reasons =
            if one.reasons_would_be.is_empty() { &one.reasons_were } else { &one.reasons_would_be };
        rows.push(vec![
            one.row.to_string(),
            printable(&one.stage),
            edit,
            wire_name(&one.was),
            wire_name(&one.would_be),
            printable(&reasons.join(", ")),
        ]);
    }
    out!("{}", table(&rows).trim_end());
}

/// `seal verify FOLDER` on a bundle.
pub(crate) fn verify_bundle(
    global: &Global,
    folder: &std::path::Path,
    pinned: Option<seal_protocol::Digest>,
) -> Result<Option<Ended>, Failure> {
    let now = seal_service::clock::Clock::now(&seal_service::clock::SystemClock);
    let shown = offline::verify_bundle(folder, pinned, now).or_end(Ended::Unverified)?;
    if global.json {
        print_json(&shown)?;
        return Ok(None);
    }
    out!("verified  {}", folder.display());
    out!("  rows         {} to {} of {}", shown.from, shown.to, shown.ledger_rows);
    out!("  verdicts     {}, other attempts {}", shown.verdicts, shown.other_attempts);
    let witnesses = if shown.witnesses.is_empty() {
        "none".to_owned()
    } else {
        printable(&shown.witnesses.join(", "))
    };
    out!("  cosigned by  {witnesses}");
    out!("  index        {}", shown.index);
    out!("  trust root   {}", shown.trust_root);
    if pinned.is_none() {
        hint(
            global,
            "it agrees with itself; compare both digests with what the exporter told you, or give \
             --trust-root-sha256",
        );
    }
    Ok(None)
}

/// A bundle has an index; a version's name does not lead to one.
pub(crate) fn bundle_named(named: Option<&str>) -> Option<std::path::PathBuf> {
    let folder = std::path::PathBuf::from(named?);
    folder.join(offline::BUNDLE_INDEX).is_file().then_some(folder)
}

/// A name that is a folder, but no bundle and no version, deserves its own words.
pub(crate) fn refuse_other_folder(named: Option<&str>) -> Result<()> {
    match named {
        Some(name) if std::path::Path::new(name).is_dir() => bail!(
            "`{name}` holds no {}: it is no exported bundle (for a run folder: seal --run {name} verify --all)",
            offline::BUNDLE_INDEX
        ),
        _ => Ok(()),
    }
}
