//! One cache for both: what we fetch is found by Python's huggingface_hub, what it fetches by us.

#![allow(clippy::unwrap_used)]

mod double;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use double::{COMMIT, Double};
use seal_hub::{Hub, OfflineBy, RepoName, Revision, Settings, Watcher};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/peers/hub_cache.py");

/// An interpreter with huggingface_hub; `SEAL_PYTHON` names another one than `python3`.
fn python() -> Option<String> {
    let python = std::env::var("SEAL_PYTHON").unwrap_or_else(|_| "python3".into());
    let tried = Command::new(&python).args(["-c", "import huggingface_hub"]).output();
    if tried.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    println!("skipped: {python} has no huggingface_hub; SEAL_PYTHON names another interpreter");
    None
}

/// Runs the script to its end on another thread, so that the double can answer.
async fn ask(python: &str, act: &'static str, hub: &Settings, revision: &str) -> PathBuf {
    let mut command = Command::new(python);
    command.arg(SCRIPT).arg(act).arg(&hub.cache).args(["org/m", revision]);
    command.env("HF_ENDPOINT", &hub.endpoint).env("HF_HOME", hub.cache.join("home"));
    command.env("HF_HUB_DISABLE_XET", "1").env("HF_HUB_DISABLE_TELEMETRY", "1");
    command.env_remove("HF_TOKEN").env_remove("HF_HUB_OFFLINE");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{act}: {told}");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

fn settings(double: &Double, cache: &Path) -> Settings {
    Settings {
        endpoint: double.endpoint.clone(),
        cache: cache.to_owned(),
        token: None,
        offline: None,
        stall: Duration::from_secs(20),
        retries: 0,
    }
}

fn name() -> RepoName {
    "org/m".parse().unwrap()
}

#[tokio::test]
async fn python_finds_what_we_fetched() {
    let Some(python) = python() else { return };
    let (double, cache) = (Double::start(double::sharded()).await, tempfile::tempdir().unwrap());
    let settings = settings(&double, cache.path());
    let hub = Hub::new(settings.clone());
    let ours = hub.fetch(&name(), &Revision::default(), &Watcher::NONE).await.unwrap();
    double.seen();
    for revision in ["main", COMMIT] {
        assert_eq!(ask(&python, "find", &settings, revision).await, ours.folder);
    }
    assert_eq!(double.seen(), [], "nobody is asked for what is there");
}

#[tokio::test]
async fn we_find_what_python_fetched() {
    let Some(python) = python() else { return };
    let behaviour = double::sharded();
    let (double, cache) = (Double::start(behaviour.clone()).await, tempfile::tempdir().unwrap());
    let settings = settings(&double, cache.path());
    for revision in ["main", "refs/pr/1"] {
        let theirs = ask(&python, "fetch", &settings, revision).await;
        let offline = Some(OfflineBy::Option);
        let hub = Hub::new(Settings { offline, ..settings.clone() });
        let ours = hub.find(&name(), &revision.parse().unwrap()).unwrap();
        assert_eq!((&ours.folder, ours.commit.as_str()), (&theirs, COMMIT));
    }
    // And we take its contents for ours: names and bytes are the same, so nothing comes again.
    let hub = Hub::new(settings);
    let ours = hub.fetch(&name(), &Revision::default(), &Watcher::NONE).await.unwrap();
    assert_eq!(ours.downloaded_bytes, 0);
    for file in double::names(&behaviour) {
        assert!(fs::read(ours.folder.join(&file)).unwrap() == behaviour.files[&file], "{file}");
    }
}
