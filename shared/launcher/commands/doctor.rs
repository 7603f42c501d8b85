//! `seal doctor`: each line `ok`, `warn` or `FAIL` with the mend.

use std::path::Path;

use serde::Serialize;

use super::{devices, hint, print_json};
use crate::cli::Global;
use crate::exit::{Ended, Failure};
use crate::run_dir::RunDir;
use crate::text::printable;

/// What the demo needs at most, summed over its processes.
const MEMORY_NEEDED_BYTES: u64 = 2 << 30;
/// What a demo's run folder takes.
const DISK_NEEDED_BYTES: u64 = 2 << 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Ok,
    Warn,
    Fail,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    pub(super) what: &'static str,
    pub(super) level: Level,
    pub(super) text: String,
}

pub(crate) fn doctor(global: &Global) -> Result<Option<Ended>, Failure> {
    let mut findings = vec![
        cores(),
        devices::gpu(),
        memory(),
        disk(),
        confinement(),
        network(),
        run_folder(global),
    ];
    if let Ok(run) = RunDir::find(global.run.as_deref()) {
        findings.extend(devices::of_run(&run));
    }
    match global.json {
        true => print_json(&findings)?,
        false => findings.iter().for_each(Finding::print),
    }
    hint(global, "seal demo");
    let failed = findings.iter().any(|finding| finding.level == Level::Fail);
    Ok(failed.then_some(Ended::Environment))
}

impl Finding {
    pub(super) fn print(&self) {
        let level = match self.level {
            Level::Ok => "ok  ",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        out!("{level}  {:<12} {}", self.what, printable(&self.text));
    }
}

fn cores() -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let set = seal_model::instruction_set();
    Finding { what: "processor", level: Level::Ok, text: format!("{cores} cores, {set}") }
}

fn memory() -> Finding {
    let available = meminfo("MemAvailable:");
    let (level, text) = match available {
        Some(bytes) if bytes < MEMORY_NEEDED_BYTES => (
            Level::Warn,
            format!("{} MiB free, the demo takes up to 2048; close other programs", bytes >> 20),
        ),
        Some(bytes) => (Level::Ok, format!("{} MiB free", bytes >> 20)),
        None => (Level::Warn, "cannot read /proc/meminfo; make sure that 2 GiB are free".into()),
    };
    Finding { what: "memory", level, text }
}

fn meminfo(field: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with(field))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes << 10)
}

fn disk() -> Finding {
    let (level, text) = match rustix::fs::statvfs(".") {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let text = format!("{} MiB free here", free >> 20);
            if free < DISK_NEEDED_BYTES {
                (
                    Level::Warn,
                    format!("{text}, a demo takes up to 2048; run it on another disk with --run"),
                )
            } else {
                (Level::Ok, text)
            }
        }
        Err(error) => (Level::Warn, format!("cannot tell free space here: {error}")),
    };
    Finding { what: "disk", level, text }
}

fn confinement() -> Finding {
    let abi = seal_service::confine::landlock_abi();
    let (level, text) = match abi {
        0 => (
            Level::Fail,
            "no Landlock; use Linux 6.12 or newer, or set confinement.profile = \"off\" and accept the risk".into(),
        ),
        1..=5 => (Level::Warn, format!("Landlock ABI {abi}; strict confinement wants 6 (Linux 6.12)")),
        _ => (Level::Ok, format!("Landlock ABI {abi} and seccomp")),
    };
    Finding { what: "confinement", level, text }
}

fn network() -> Finding {
    let text =
        "OFFLINE: daemons listen on unix sockets and connect to nothing; no telemetry".into();
    Finding { what: "network", level: Level::Ok, text }
}

fn run_folder(global: &Global) -> Finding {
    let named = global.run.as_deref();
    let (level, text) = match RunDir::find(named) {
        Ok(run) => (Level::Ok, describe(run.root())),
        Err(_) if named.is_none() => (Level::Ok, "none yet; `seal demo` makes one".into()),
        Err(error) => (Level::Fail, error.to_string()),
    };
    Finding { what: "run folder", level, text }
}

fn describe(root: &Path) -> String {
    let keys = root.join("keys");
    let offline_hint = if keys.join("root.pem").exists() {
        "; keys/root.pem lies here: move it to an offline medium for real use"
    } else {
        ""
    };
    format!("{}{offline_hint}", root.display())
}
