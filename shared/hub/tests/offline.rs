//! Offline, no socket is made: a process that the kernel ends at the first one carries it out.
//!
//! It starts itself anew under a system call filter, so it brings a `main`.

#![allow(clippy::unwrap_used)]

mod double;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use double::Double;
use seal_hub::{Hub, OfflineBy, Revision, Settings, Watcher};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// Cache, endpoint, model and `offline` of the act, in one variable.
const ACT: &str = "SEAL_HUB_ACT";
/// How the act ends when the model is not there.
const NOT_THERE: i32 = 7;
/// The kernel's word to a process that made a forbidden system call.
const SIGSYS: i32 = 31;

fn main() {
    match std::env::var(ACT) {
        Ok(act) => play(&act),
        Err(_) => offline_makes_no_socket(),
    }
}

fn offline_makes_no_socket() {
    let cache = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let double = runtime.block_on(Double::start(double::model()));
    let hub = Hub::new(settings(cache.path(), &double.endpoint, false));
    let name = "org/m".parse().unwrap();
    runtime.block_on(hub.fetch(&name, &Revision::default(), &Watcher::NONE)).unwrap();
    let act = |name: &str, offline: &str| -> ExitStatus {
        let act = format!("{}\n{}\n{name}\n{offline}", cache.path().display(), double.endpoint);
        let own = std::env::current_exe().unwrap();
        Command::new(own).env(ACT, act).status().unwrap()
    };
    // The filter works: who goes online ends at the first socket.
    assert_eq!(act("org/m", "online").signal(), Some(SIGSYS));
    assert_eq!(act("org/m", "offline").code(), Some(0));
    assert_eq!(act("org/other", "offline").code(), Some(NOT_THERE));
    println!("test offline_makes_no_socket ... ok");
}

fn play(act: &str) {
    let parts: Vec<&str> = act.lines().collect();
    let [cache, endpoint, name, offline] = parts[..] else { panic!("{act}") };
    forbid_sockets();
    let hub = Hub::new(settings(Path::new(cache), endpoint, offline == "offline"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let name = name.parse().unwrap();
    let fetched = runtime.block_on(hub.fetch(&name, &Revision::default(), &Watcher::NONE));
    std::process::exit(fetched.map_or(NOT_THERE, |_| 0));
}

fn forbid_sockets() {
    let forbidden = BTreeMap::from([(libc::SYS_socket, vec![]), (libc::SYS_connect, vec![])]);
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter =
        SeccompFilter::new(forbidden, SeccompAction::Allow, SeccompAction::KillProcess, arch);
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
}

fn settings(cache: &Path, endpoint: &str, offline: bool) -> Settings {
    Settings {
        endpoint: endpoint.to_owned(),
        cache: cache.to_owned(),
        token: None,
        offline: offline.then(|| OfflineBy::Config("run.toml".into())),
        stall: Duration::from_secs(20),
        retries: 0,
    }
}
