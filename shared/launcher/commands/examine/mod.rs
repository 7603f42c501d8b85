//! `seal doctor --model`: what a model folder or a GGUF file holds, whether it fits, and what to change.
//! Headers and configs are read, no weight is.

mod findings;
mod jobs;

use std::path::{Path, PathBuf};

use seal_hub::{Hub, Settings};
use seal_model::fit::{Engine, available_on, human};
use seal_model::gguf::{GgufFile, is_gguf};
use seal_model::{DecoderConfig, ModelFolder};
use serde::Serialize;

use super::doctor::{Finding, Level};
use super::{fetch, hint, print_json};
use crate::cli::{Global, Plan};
use crate::exit::{Ended, Failure, OrEnd};
use jobs::Job;

#[derive(Serialize)]
struct Report {
    /// What was named.
    model: String,
    folder: PathBuf,
    /// Whether it is one GGUF file, which only a teacher's policy may be.
    gguf: bool,
    /// The commit, of a folder in the hub's cache.
    commit: Option<String>,
    findings: Vec<Finding>,
    device: String,
    /// Bytes that the device has free, if it says so.
    available_bytes: Option<u64>,
    jobs: Vec<Job>,
    fits: bool,
}

pub(crate) fn model(global: &Global, named: &str, plan: &Plan) -> Result<Option<Ended>, Failure> {
    let folder = locate(global, named, plan)?;
    // A refusal names the file, the field and the mend; it goes where errors go.
    let opened = Opened::at(&folder).or_end(Ended::BadConfig)?;
    let device = plan.device.open().or_end(Ended::Environment)?;
    let available = available_on(&device.device);
    let jobs =
        jobs::all(opened.config(), Engine::of(&device.device), plan, available, is_gguf(&folder));
    let mut findings = opened.findings();
    findings.push(findings::device(&device, available));
    let report = Report {
        model: named.to_owned(),
        commit: seal_model::folder::hub_revision(&folder).map(str::to_owned),
        findings,
        device: plan.device.to_string(),
        available_bytes: available,
        fits: jobs.iter().all(|job| job.fits),
        jobs,
        gguf: is_gguf(&folder),
        folder,
    };
    match global.json {
        true => print_json(&report)?,
        false => print(&report),
    }
    hint(global, &next(&report));
    let failed = report.findings.iter().any(|finding| finding.level == Level::Fail);
    Ok((failed || !report.fits).then_some(Ended::Environment))
}

/// A model whose headers were read.
enum Opened {
    Folder(ModelFolder),
    File(GgufFile),
}

impl Opened {
    fn at(path: &Path) -> seal_model::Result<Self> {
        Ok(match is_gguf(path) {
            true => Self::File(GgufFile::open(path)?),
            false => Self::Folder(ModelFolder::open(path)?),
        })
    }

    fn config(&self) -> &DecoderConfig {
        match self {
            Self::Folder(folder) => folder.config(),
            Self::File(file) => file.config(),
        }
    }

    fn findings(&self) -> Vec<Finding> {
        match self {
            Self::Folder(folder) => findings::of(folder),
            Self::File(file) => findings::of_file(file),
        }
    }
}

/// A folder by its path, or by its name in the cache. The hub is never asked.
fn locate(global: &Global, named: &str, plan: &Plan) -> Result<PathBuf, Failure> {
    let path = Path::new(named);
    let is_path = path.exists() || named.starts_with(['.', '/', '~']) || named.ends_with('/');
    if is_path && plan.revision.is_none() {
        // Absolute, for the line that goes into a config; what is not there is told as it was named.
        return Ok(path.canonicalize().unwrap_or_else(|_| path.to_owned()));
    }
    let (name, revision) = fetch::parse(named, plan.revision.as_deref())?;
    let mut settings = Settings::from_env().map_err(fetch::hub_failure)?;
    settings.offline = fetch::forbidden_by(global)?.or(settings.offline);
    let found = Hub::new(settings).find(&name, &revision).map_err(fetch::hub_failure)?;
    Ok(found.folder)
}

fn print(report: &Report) {
    let commit =
        report.commit.as_ref().map_or_else(String::new, |commit| format!(", commit {commit}"));
    let folder = report.folder.display().to_string();
    let what = if report.gguf { "file" } else { "folder" };
    Finding { what, level: Level::Ok, text: format!("{folder}{commit}") }.print();
    report.findings.iter().for_each(Finding::print);
    out!("");
    match report.available_bytes {
        Some(bytes) => out!("Does it fit? {} are free.", human(bytes)),
        None => out!("Does it fit? The device does not say what is free."),
    }
    out!("{}", jobs::table(&report.jobs).trim_end_matches('\n'));
    for job in &report.jobs {
        match job.fits {
            true => out!("ok    {:<12} {}", job.name, job.what),
            false => {
                out!("FAIL  {:<12} {} takes {}", job.name, job.what, human(job.total_bytes));
                job.mends.iter().for_each(|mend| out!("      {:<12} - {mend}", ""));
            }
        }
    }
}

fn next(report: &Report) -> String {
    match report.fits {
        true if report.gguf => {
            format!("set `policy = \"{}\"` in teacher.toml", report.folder.display())
        }
        true => format!(
            "set `base_model = \"{}\"` in student.toml and auditor.toml",
            report.folder.display()
        ),
        false => "change what the lines marked FAIL name, with the options of `seal doctor --help`"
            .into(),
    }
}
