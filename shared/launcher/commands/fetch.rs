//! `seal model fetch`: a model from a hub into the cache that Python shares.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use seal_hub::{Hub, HubError, OfflineBy, RepoName, Revision, Settings, Watcher};
use seal_model::fit::human;
use seal_protocol::Role;
use serde::Serialize;

use super::{hint, print_json};
use crate::cli::{Fetch, Global};
use crate::exit::{Ended, Failure, OrEnd};
use crate::progress::Style;
use crate::progress::bytes::ByteProgress;
use crate::run_dir::RunDir;

#[derive(Serialize)]
struct Report {
    name: String,
    revision: String,
    commit: String,
    folder: PathBuf,
    /// SHA-256 over the files that decide what the model computes, as roles name it.
    digest: String,
    downloaded_bytes: u64,
}

pub(crate) async fn fetch(global: &Global, args: &Fetch) -> Result<Option<Ended>, Failure> {
    let (name, revision) = parse(&args.name, args.revision.as_deref())?;
    let settings = Settings::from_env().map_err(hub_failure)?;
    let forbidden = if args.offline { Some(OfflineBy::Option) } else { forbidden_by(global)? };
    let hub = Hub::new(Settings { offline: forbidden.or(settings.offline.clone()), ..settings });
    let progress = ByteProgress::new(Style::choose(global.quiet || global.json), args.name.clone());
    let watcher =
        Watcher { report: &|event| progress.tell(event), usable: &|folder| usable(folder) };
    let fetched = hub.fetch(&name, &revision, &watcher).await.map_err(hub_failure)?;
    progress.done();
    progress.say("checking the folder and its digest");
    // Whatever the config promised, the weights must keep it.
    seal_model::ModelFolder::open(&fetched.folder).or_end(Ended::BadConfig)?;
    let digest = seal_model::folder_digest(&fetched.folder).or_end(Ended::Environment)?;
    let report = Report {
        name: name.to_string(),
        revision: revision.to_string(),
        commit: fetched.commit,
        folder: fetched.folder,
        digest: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        downloaded_bytes: fetched.downloaded_bytes,
    };
    match global.json {
        true => print_json(&report)?,
        false => print(&report),
    }
    hint(global, &next(&report));
    Ok(None)
}

fn print(report: &Report) {
    out!("folder   {}", report.folder.display());
    out!("commit   {}", report.commit);
    out!("digest   {}", report.digest);
    match report.downloaded_bytes {
        0 => out!("fetched  nothing; all of it was there"),
        bytes => out!("fetched  {}", human(bytes)),
    }
}

fn next(report: &Report) -> String {
    let revision = match report.revision == Revision::default().as_str() {
        true => String::new(),
        false => format!(" --revision {}", report.revision),
    };
    format!("seal doctor --model {}{revision}", report.name)
}

/// Name and revision of the command line.
pub(super) fn parse(name: &str, revision: Option<&str>) -> Result<(RepoName, Revision), Failure> {
    let name = name.parse().map_err(hub_failure)?;
    let revision = revision.map_or(Ok(Revision::default()), str::parse).map_err(hub_failure)?;
    Ok((name, revision))
}

/// The code of an error of the hub: what the user named, or what the machine and the network give.
pub(super) fn hub_failure(error: HubError) -> Failure {
    let ended = if error.is_environment() { Ended::Environment } else { Ended::BadConfig };
    Failure { ended, error: error.into() }
}

/// Refuses by its config what could not be used, before its weights are fetched.
fn usable(folder: &Path) -> Result<(), String> {
    let checked = seal_model::folder::read_config(folder);
    checked.map(drop).map_err(|error| format!("{:#}", anyhow::Error::from(error)))
}

/// The setting of the run folder that forbids connections. A folder that nobody named need not exist.
pub(super) fn forbidden_by(global: &Global) -> Result<Option<OfflineBy>, Failure> {
    let named = global.run.as_deref();
    let run = match RunDir::find(named) {
        Ok(run) => run,
        Err(_) if named.is_none() => return Ok(None),
        Err(error) => return Err(Failure { ended: Ended::BadConfig, error }),
    };
    let settings = run.path("run.toml");
    if run.run_config()?.offline {
        return Ok(Some(OfflineBy::Config(settings)));
    }
    let teacher = run.config_file(Role::Teacher);
    let forbids = says_offline(&teacher).or_end(Ended::BadConfig)?;
    Ok(forbids.then_some(OfflineBy::Config(teacher)))
}

/// `offline = true` under `[egress]`: whoever forbids it to the teacher means the whole run.
fn says_offline(config: &Path) -> Result<bool> {
    let named = || format!("cannot read `{}`", config.display());
    let text = match std::fs::read_to_string(config) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        text => text.with_context(named)?,
    };
    let document: toml_edit::DocumentMut = text.parse().with_context(named)?;
    let offline = document.get("egress").and_then(|egress| egress.get("offline"));
    Ok(offline.and_then(toml_edit::Item::as_bool) == Some(true))
}
