//! A judge in a run folder: its config and constitution, and the lines by which the others know of it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use toml_edit::{DocumentMut, Item, Table, value};

use super::private_folder;
use crate::run_dir::RunDir;
use seal_protocol::Role;

/// The files of a judge's folder, and where the auditor has its own copy of the second.
const CONFIG: &str = "judge.toml";
const CONSTITUTION: &str = "constitution.toml";
const JUDGES_COPY: &str = "judge/constitution.toml";
const AUDITORS_COPY: &str = "auditor/constitution.toml";

/// Adds the judge of `folder` to a run folder that is otherwise complete.
pub(super) fn add(run: &RunDir, folder: &Path, root_digest: &str) -> Result<()> {
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).with_context(|| {
            format!(
                "cannot read `{}`; a judge is a folder with {CONFIG} and {CONSTITUTION}",
                path.display()
            )
        })
    };
    let constitution = read(CONSTITUTION)?;
    let mut config: DocumentMut = read(CONFIG)?.parse().context(CONFIG)?;
    let endpoint =
        config["endpoint"].as_str().context("judge.toml names no `endpoint`")?.to_owned();
    config["trust_root_sha256"] = value(root_digest);
    config["constitution"] = value(JUDGES_COPY);
    private_folder(&run.path("judge"))?;
    fs::write(run.path(JUDGES_COPY), &constitution)?;
    fs::write(run.path(AUDITORS_COPY), &constitution)?;
    fs::write(run.config_file(Role::Judge), config.to_string())?;
    change(run, "run.toml", |run| run["endpoints"]["judge"] = value(endpoint))?;
    change(run, "auditor.toml", |auditor| {
        let mut table = Table::new();
        table["constitution"] = value(AUDITORS_COPY);
        auditor["judge"] = Item::Table(table);
    })
}

/// Changes a config whose comments stay.
fn change(run: &RunDir, name: &str, change: impl FnOnce(&mut DocumentMut)) -> Result<()> {
    let path = run.path(name);
    let mut config: DocumentMut = fs::read_to_string(&path)?.parse().context(name.to_owned())?;
    change(&mut config);
    fs::write(&path, config.to_string())
        .with_context(|| format!("cannot write `{}`", path.display()))
}
