//! A model comes whole, once, checked and from where it broke off; what the hub does wrong ends in an
//! error that names the mend.

#![allow(clippy::unwrap_used)]

mod double;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use double::{Behaviour, COMMIT, Double, Fault, Seen};
use seal_hub::{
    Event, Fetched, Hub, HubError, OfflineBy, RepoName, Revision, Settings, Token, Watcher,
};

const WEIGHTS: &str = "model.safetensors";

/// A hub, and a cache of its own before it.
struct Stage {
    double: Double,
    cache: tempfile::TempDir,
    settings: Settings,
}

impl Stage {
    async fn new(behaviour: Behaviour) -> Self {
        let double = Double::start(behaviour).await;
        let cache = tempfile::tempdir().unwrap();
        let settings = Settings {
            endpoint: double.endpoint.clone(),
            cache: cache.path().join("hub"),
            token: Token::new("hf_secret"),
            offline: None,
            stall: Duration::from_secs(20),
            retries: 0,
        };
        Self { double, cache, settings }
    }

    fn hub(&self) -> Hub {
        Hub::new(self.settings.clone())
    }

    async fn fetch(&self, revision: &str) -> Result<Fetched, HubError> {
        self.hub().fetch(&name(), &revision.parse().unwrap(), &Watcher::NONE).await
    }

    async fn refused(&self) -> HubError {
        let error = self.fetch("main").await.unwrap_err();
        let told = format!("{error} {error:?}");
        assert!(!told.contains("hf_secret"), "the token is told: {told}");
        assert!(!told.contains("Signature"), "a signed address is told: {told}");
        assert!(!self.repo().join("refs").exists(), "nothing may be found after {error}");
        error
    }

    fn repo(&self) -> std::path::PathBuf {
        self.settings.cache.join("models--org--m")
    }

    fn blobs(&self) -> BTreeSet<String> {
        let blobs = fs::read_dir(self.repo().join("blobs")).into_iter().flatten().flatten();
        blobs.map(|blob| blob.file_name().into_string().unwrap()).collect()
    }

    /// Requests for the bytes of a file.
    fn gets(&self, file: &str) -> Vec<Seen> {
        let seen = self.double.seen();
        seen.into_iter().filter(|seen| seen.method == "GET" && seen.path.ends_with(file)).collect()
    }
}

fn name() -> RepoName {
    "org/m".parse().unwrap()
}

/// The folder holds exactly what is needed, byte for byte.
fn assert_whole(folder: &Path, behaviour: &Behaviour) {
    let found: BTreeSet<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(found, double::names(behaviour));
    for file in found {
        assert!(fs::read(folder.join(&file)).unwrap() == behaviour.files[&file], "{file}");
    }
}

#[tokio::test]
async fn what_a_decoder_needs_comes_whole_and_nothing_else() {
    for behaviour in [double::model(), double::sharded()] {
        let stage = Stage::new(behaviour.clone()).await;
        let fetched = stage.fetch("main").await.unwrap();
        assert_eq!(fetched.commit, COMMIT);
        assert_eq!(fetched.folder, stage.repo().join("snapshots").join(COMMIT));
        assert_whole(&fetched.folder, &behaviour);
        let expected = double::names(&behaviour);
        let expected = expected.iter().map(|file| double::etag(file, &behaviour.files[file]));
        assert_eq!(stage.blobs(), expected.collect());
        let sum: usize = double::names(&behaviour).iter().map(|f| behaviour.files[f].len()).sum();
        assert_eq!(fetched.downloaded_bytes, sum as u64);
        assert_eq!(fs::read_to_string(stage.repo().join("refs/main")).unwrap(), COMMIT);
        let asked = stage.double.seen();
        let needless =
            ["README", ".py", ".bin", "consolidated", "adapter_model"].map(|part| part.to_owned());
        assert!(asked.iter().all(|seen| !needless.iter().any(|part| seen.path.contains(part))));
    }
}

#[tokio::test]
async fn a_revision_is_resolved_once_and_every_file_is_asked_for_by_commit() {
    let stage = Stage::new(double::model()).await;
    for revision in ["v1", "refs/pr/1"] {
        stage.fetch(revision).await.unwrap();
        let seen = stage.double.seen();
        let (listings, files): (Vec<_>, Vec<_>) =
            seen.iter().partition(|seen| seen.path.starts_with("/api/"));
        assert_eq!(listings.len(), 1, "{listings:?}");
        assert!(files.iter().all(|seen| seen.path.contains(&format!("/resolve/{COMMIT}/"))));
        let reference = stage.repo().join("refs").join(revision);
        assert_eq!(fs::read_to_string(reference).unwrap(), COMMIT);
    }
}

#[tokio::test]
async fn what_is_there_is_not_fetched_again() {
    let stage = Stage::new(double::model()).await;
    let first = stage.fetch("main").await.unwrap();
    stage.double.seen();
    let second = stage.fetch("main").await.unwrap();
    assert_eq!(second, Fetched { downloaded_bytes: 0, ..first.clone() });
    assert!(
        stage.double.seen().iter().all(|seen| seen.method == "HEAD" || seen.path.contains("api"))
    );
    // A commit never changes, so nobody is asked.
    assert_eq!(stage.fetch(COMMIT).await.unwrap(), second);
    assert_eq!(stage.double.seen(), []);
}

#[tokio::test]
async fn a_stream_that_breaks_is_continued_where_it_broke() {
    let stage = Stage::new(double::model()).await;
    let faults = vec![Fault::Cut(150_000), Fault::Cut(100_000)];
    stage.double.change(|hub| drop(hub.faults.insert(WEIGHTS.into(), faults)));
    let fetched = stage.fetch("main").await.unwrap();
    assert_whole(&fetched.folder, &double::model());
    let gets = stage.gets(WEIGHTS);
    let starts: Vec<u64> = gets.iter().map(begins_at).collect();
    assert!(starts.len() == 3 && starts[0] == 0, "{starts:?}");
    assert!(starts[1] > 0 && starts[2] > starts[1], "{starts:?}");
}

/// Where a request for bytes begins.
fn begins_at(seen: &Seen) -> u64 {
    let Some(range) = &seen.range else { return 0 };
    range.trim_start_matches("bytes=").split('-').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_download_that_gave_up_goes_on_with_the_next_command() {
    let stage = Stage::new(double::model()).await;
    let faults = vec![Fault::Cut(0), Fault::Cut(100_000)];
    stage.double.change(|hub| drop(hub.faults.insert(WEIGHTS.into(), faults)));
    let error = stage.refused().await;
    let HubError::BrokenOff { at, of, .. } = error else { panic!("{error}") };
    assert!(at > 0 && of == 300_000, "{at} of {of}");
    assert!(error.to_string().contains("goes on from there"), "{error}");
    stage.double.seen();
    let mut told = Mutex::new(Vec::new());
    let report = |event| told.lock().unwrap().push(event);
    let watcher = Watcher { report: &report, ..Watcher::NONE };
    let fetched = stage.hub().fetch(&name(), &Revision::default(), &watcher).await.unwrap();
    assert_whole(&fetched.folder, &double::model());
    assert_eq!(fetched.downloaded_bytes, of - at);
    assert_eq!(stage.gets(WEIGHTS).iter().map(begins_at).collect::<Vec<_>>(), [at]);
    let told = told.get_mut().unwrap();
    assert_eq!(told[0], Event::Resolved(COMMIT.into()));
    assert!(matches!(told[1], Event::Planned { bytes, present } if bytes == present), "{told:?}");
    let Event::Planned { bytes, present } = told[2] else { panic!("{told:?}") };
    assert_eq!(bytes - present, of - at);
    assert_eq!(told.last(), Some(&Event::Progress(bytes)));
}

#[tokio::test]
async fn a_partial_file_of_other_bytes_is_thrown_away_and_fetched_anew() {
    for (left, fault) in
        [(1000, None), (1000, Some(Fault::NoRange)), (400_000, None), (300_000, None)]
    {
        let stage = Stage::new(double::model()).await;
        let etag = double::etag(WEIGHTS, &double::model().files[WEIGHTS]);
        let blobs = stage.repo().join("blobs");
        fs::create_dir_all(&blobs).unwrap();
        fs::write(blobs.join(format!("{etag}.incomplete")), double::noise(9, left)).unwrap();
        let faults = fault.clone().into_iter().collect();
        stage.double.change(|hub| drop(hub.faults.insert(WEIGHTS.into(), faults)));
        let fetched = stage.fetch("main").await.unwrap();
        assert_whole(&fetched.folder, &double::model());
        assert!(stage.blobs().iter().all(|blob| !blob.ends_with("incomplete")), "{left} {fault:?}");
    }
}

#[tokio::test]
async fn contents_that_the_hub_did_not_announce_get_no_name() {
    let wrong = Stage::new(double::model()).await;
    wrong.double.change(|hub| drop(hub.faults.insert(WEIGHTS.into(), vec![Fault::Wrong])));
    let error = wrong.refused().await;
    assert!(matches!(&error, HubError::Content { file, .. } if file == WEIGHTS), "{error}");
    assert!(error.to_string().contains("SHA-256"), "{error}");
    let small = Stage::new(double::model()).await;
    small.double.change(|hub| drop(hub.faults.insert("tokenizer.json".into(), vec![Fault::Wrong])));
    assert!(matches!(small.refused().await, HubError::Content { .. }));
    // Announced shorter than it is: what exceeds it is no part of the file.
    let longer = Stage::new(double::model()).await;
    longer.double.change(|hub| drop(hub.headers.insert("x-linked-size", "12".into())));
    assert!(matches!(longer.refused().await, HubError::Content { .. }));
    let etag = double::etag(WEIGHTS, &double::model().files[WEIGHTS]);
    assert!(wrong.blobs().iter().all(|blob| !blob.starts_with(&etag)), "{:?}", wrong.blobs());
    assert!(longer.blobs().iter().all(|blob| blob.ends_with("incomplete")), "{:?}", longer.blobs());
}

#[tokio::test]
async fn a_refused_body_is_never_taken_for_the_file() {
    let stage = Stage::new(double::model()).await;
    let faults = vec![Fault::Status(418, None)];
    stage.double.change(|hub| drop(hub.faults.insert("config.json".into(), faults)));
    let error = stage.refused().await;
    assert!(
        error.to_string().contains("418") && error.to_string().contains("config.json"),
        "{error}"
    );
    assert_eq!(stage.fetch("main").await.unwrap().commit, COMMIT);
}

#[tokio::test]
async fn large_files_come_from_another_host_which_is_told_no_token() {
    let mut stage = Stage::new(double::sharded()).await;
    let store = stage.double.second_address().await;
    stage.double.change(|hub| hub.store = Some(store.clone()));
    let fetched = stage.fetch("main").await.unwrap();
    assert_whole(&fetched.folder, &double::sharded());
    let (there, here): (Vec<_>, Vec<_>) =
        stage.double.seen().into_iter().partition(|seen| store.ends_with(&seen.host));
    assert!(there.iter().any(|seen| seen.path.starts_with("/store/")));
    assert!(there.iter().all(|seen| seen.authorization.is_none()), "{there:?}");
    let sent = Some("Bearer hf_secret".to_owned());
    assert!(here.iter().all(|seen| seen.authorization == sent), "{here:?}");
    // Without a token nobody is told one.
    stage.settings.token = None;
    stage.settings.cache = stage.cache.path().join("second");
    stage.fetch("main").await.unwrap();
    assert!(stage.double.seen().iter().all(|seen| seen.authorization.is_none()));
}

#[tokio::test]
async fn each_refusal_of_the_hub_has_its_own_error_and_mend() {
    let cases = [
        (401, Some("RepoNotFound"), true, "has no model `org/m` that this token may see"),
        (401, Some("RepoNotFound"), false, "for a private one set HF_TOKEN"),
        (404, Some("RepoNotFound"), true, "has no model `org/m`"),
        (401, None, true, "rejects the token; make a new one at"),
        (401, None, false, "asks for a token; make one at"),
        (403, Some("GatedRepo"), true, "accept its terms at"),
        (403, Some("GatedRepo"), false, ", then set HF_TOKEN"),
        (404, Some("RevisionNotFound"), true, "has no revision `main`"),
        (429, None, true, "takes no more requests for now; try again in 7 s"),
        (429, None, false, "or set HF_TOKEN for a higher limit"),
        (500, None, true, "500 Internal Server Error (because)"),
    ];
    for (status, code, with_token, expected) in cases {
        let mut stage = Stage::new(double::model()).await;
        stage.settings.token = Token::new("hf_secret").filter(|_| with_token);
        stage.double.change(|hub| hub.refuse = Some((status, code, "because".into())));
        let error = stage.refused().await.to_string();
        assert!(error.contains(expected), "{status} {code:?}: {error}");
    }
    // What everybody may list and only some may have.
    let gated = Stage::new(double::model()).await;
    gated.double.change(|hub| hub.refuse_files = Some((403, Some("GatedRepo"))));
    assert!(matches!(gated.refused().await, HubError::Gated { with_token: true, .. }));
    let stage = Stage::new(double::model()).await;
    let error = stage.fetch("nowhere").await.unwrap_err();
    assert!(matches!(&error, HubError::NoRevision { revision, .. } if revision == "nowhere"));
    let other =
        stage.hub().fetch(&"org/n".parse().unwrap(), &Revision::default(), &Watcher::NONE).await;
    assert!(matches!(other.unwrap_err(), HubError::NoRepository { .. }));
}

#[tokio::test]
async fn a_hub_that_sends_the_token_back_cannot_have_it_shown() {
    let stage = Stage::new(double::model()).await;
    stage.double.change(|hub| {
        hub.refuse = Some((500, None, "you sent ".into()));
        hub.echoes = true;
    });
    let error = stage.refused().await.to_string();
    assert!(error.contains("you sent Bearer <token>"), "{error}");
}

#[tokio::test]
async fn names_that_lead_out_of_the_cache_are_refused() {
    type Spoil = fn(&mut Behaviour);
    let cases: [(Spoil, &str); 5] = [
        (
            |hub| drop(hub.headers.insert("x-linked-etag", "\"../../../x\"".into())),
            "no usable ETag",
        ),
        (|hub| drop(hub.headers.insert("etag", "\"/etc/x\"".into())), "no usable ETag"),
        (|hub| drop(hub.headers.insert("x-repo-commit", "f".repeat(40))), "another commit"),
        (|hub| hub.commit = Some("../../../x".into()), "no commit"),
        (
            |hub| {
                hub.files.remove(WEIGHTS);
                let index = b"{\"weight_map\": {\"a\": \"../../../x.safetensors\"}}".to_vec();
                hub.files.insert("model.safetensors.index.json".into(), index);
                hub.files.insert("../../../x.safetensors".into(), Vec::new());
            },
            "no plain safetensors file",
        ),
    ];
    for (spoil, expected) in cases {
        let stage = Stage::new(double::model()).await;
        stage.double.change(spoil);
        let error = stage.refused().await.to_string();
        assert!(error.contains(expected), "{expected}: {error}");
        let outside = fs::read_dir(stage.cache.path()).unwrap().flatten();
        assert!(outside.map(|entry| entry.file_name()).all(|name| name == "hub"));
    }
}

#[tokio::test]
async fn a_repository_without_safetensors_is_refused_before_a_byte_comes() {
    let stage = Stage::new(double::model()).await;
    stage.double.change(|hub| drop(hub.files.remove(WEIGHTS)));
    let error = stage.refused().await.to_string();
    assert!(error.contains("only pickles (`pytorch_model.bin`)"), "{error}");
    assert_eq!(stage.double.seen().len(), 1);
    assert!(!stage.repo().exists());
}

#[tokio::test]
async fn weights_of_a_model_that_is_of_no_use_are_not_fetched() {
    let stage = Stage::new(double::sharded()).await;
    let usable = |folder: &Path| {
        let config = fs::read_to_string(folder.join("config.json")).unwrap();
        Err(format!("not this one: {config}"))
    };
    let watcher = Watcher { usable: &usable, ..Watcher::NONE };
    let error = stage.hub().fetch(&name(), &Revision::default(), &watcher).await.unwrap_err();
    assert!(matches!(error, HubError::Unusable { .. }), "{error}");
    assert!(error.to_string().contains("LlamaForCausalLM"), "{error}");
    assert_eq!(stage.double.count("HEAD", "of-00002.safetensors"), 0);
    assert!(!stage.repo().join("refs").exists());
}

#[tokio::test]
async fn a_file_that_no_disk_holds_is_refused_before_a_byte_comes() {
    let stage = Stage::new(double::model()).await;
    stage.double.change(|hub| drop(hub.headers.insert("x-linked-size", (1u64 << 60).to_string())));
    let error = stage.refused().await;
    assert!(matches!(error, HubError::Disk { .. }), "{error}");
    assert!(error.to_string().contains("HF_HOME"), "{error}");
    assert_eq!(stage.gets("/config.json"), []);
}

#[tokio::test]
async fn a_hub_that_falls_silent_or_is_not_there_is_an_error_in_time() {
    let mut stage = Stage::new(double::model()).await;
    stage.settings.stall = Duration::from_millis(300);
    stage.double.change(|hub| drop(hub.faults.insert(WEIGHTS.into(), vec![Fault::Silent])));
    let error = stage.refused().await;
    assert!(matches!(error, HubError::BrokenOff { at: 0, .. }), "{error}");
    assert!(error.to_string().contains("nothing came for 0.3 s"), "{error}");
    stage.settings.endpoint = "http://127.0.0.1:1".into();
    let error = stage.refused().await;
    assert!(matches!(error, HubError::Unreachable { .. }), "{error}");
    let told = error.to_string();
    assert!(told.contains("refused") && told.contains("HF_HUB_OFFLINE=1"), "{told}");
}

#[tokio::test]
async fn two_at_once_fetch_each_file_once() {
    let stage = Stage::new(double::sharded()).await;
    let (first, second) = tokio::join!(stage.fetch("main"), stage.fetch("main"));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!((&first.folder, &first.commit), (&second.folder, &second.commit));
    assert_whole(&first.folder, &double::sharded());
    for file in ["/model-00001-of-00002.safetensors", "/config.json"] {
        assert_eq!(stage.double.count("GET", file), 1, "{file}");
    }
}

#[tokio::test]
async fn offline_finds_what_is_there_and_asks_nobody() {
    let mut stage = Stage::new(double::sharded()).await;
    let online = stage.fetch("main").await.unwrap();
    stage.double.seen();
    stage.settings.offline = Some(OfflineBy::Variable("HF_HUB_OFFLINE"));
    for revision in ["main", COMMIT] {
        let found = stage.fetch(revision).await.unwrap();
        assert_eq!(found, Fetched { downloaded_bytes: 0, ..online.clone() });
    }
    let error = stage.fetch("v1").await.unwrap_err();
    assert!(matches!(error, HubError::Offline { .. }), "{error}");
    for part in ["`org/m` at `v1`", "HF_HUB_OFFLINE", "copy the folder `models--org--m`"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    let weights = online.folder.join("model-00002-of-00002.safetensors");
    fs::remove_file(weights.canonicalize().unwrap()).unwrap();
    let error = stage.fetch("main").await.unwrap_err();
    assert!(matches!(&error, HubError::Incomplete { missing, .. } if missing.contains("00002")));
    assert_eq!(stage.double.seen(), []);
}
