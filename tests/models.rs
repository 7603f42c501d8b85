//! `seal model fetch` and `seal doctor --model`: from a name to a folder that the roles run on.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "../shared/hub/tests/double/mod.rs"]
mod double;
#[path = "../shared/model/tests/huge/mod.rs"]
mod huge;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{Run, stderr, stdout};
use double::{Behaviour, COMMIT, Double};
use seal_protocol::Role;
use serde_json::Value;

const BAD_CONFIG: i32 = 3;
const ENVIRONMENT: i32 = 4;
const TOKEN: &str = "hf_0123456789secret";
/// Reading hundreds of GiB takes minutes; refusing them does not.
const AT_ONCE: Duration = Duration::from_secs(30);

/// A hub that has the miniature, and a home for the cache and the token.
struct Stage {
    double: Double,
    home: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        seal_miniature::base::write_base(base.path()).unwrap();
        let file = |entry: fs::DirEntry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        };
        let files = fs::read_dir(base.path()).unwrap().flatten().map(file).collect();
        let double = Double::start(Behaviour { files, ..Behaviour::default() }).await;
        Self { double, home: tempfile::tempdir().unwrap() }
    }

    fn hf_home(&self) -> PathBuf {
        self.home.path().join("hf")
    }

    fn snapshot(&self) -> PathBuf {
        self.hf_home().join("hub/models--org--m/snapshots").join(COMMIT)
    }

    /// `seal …` in an empty folder with this hub and these variables, while the double answers.
    async fn seal(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_seal"));
        command.args(arguments).current_dir(self.home.path()).stdin(Stdio::null());
        for inherited in ["SEAL_RUN", "HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE", "HF_HUB_OFFLINE"]
        {
            command.env_remove(inherited);
        }
        command.env("HF_HOME", self.hf_home()).env("HF_ENDPOINT", &self.double.endpoint);
        command.envs(variables.iter().copied());
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }
}

#[tokio::test]
async fn a_model_is_fetched_by_name_and_its_folder_commit_and_digest_are_told() {
    let stage = Stage::new().await;
    let output = stage.seal(&["model", "fetch", "org/m", "--json"], &[]).await;
    assert!(output.status.success(), "{}", stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let digest = seal_model::folder_digest(&stage.snapshot()).unwrap();
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(report["folder"], stage.snapshot().to_str().unwrap());
    assert_eq!((&report["commit"], &report["digest"]), (&COMMIT.into(), &digest.as_str().into()));
    assert!(report["downloaded_bytes"].as_u64().unwrap() > 1_000_000);
    let again = stage.seal(&["model", "fetch", "org/m", "--revision", "v1"], &[]).await;
    let told = stdout(&again);
    assert!(told.contains(COMMIT) && told.contains(&digest), "{told}");
    assert!(told.contains("nothing; all of it was there"), "{told}");
    assert!(
        stderr(&again).contains("next: seal doctor --model org/m --revision v1"),
        "{}",
        stderr(&again)
    );
}

#[tokio::test]
async fn the_token_of_the_right_source_is_sent_and_none_is_ever_told() {
    let stage = Stage::new().await;
    let home = stage.hf_home();
    fs::create_dir_all(&home).unwrap();
    fs::write(home.join("token"), format!("{TOKEN}\n")).unwrap();
    let absent = home.join("absent");
    let cases = [
        (vec![], true),
        (vec![("HF_TOKEN_PATH", absent.to_str().unwrap())], false),
        (vec![("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")], false),
        (vec![("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"), ("HF_TOKEN", TOKEN)], false),
        (vec![("HF_TOKEN", TOKEN), ("RUST_LOG", "trace")], true),
    ];
    stage.double.change(|hub| {
        hub.refuse = Some((500, None, "you sent ".into()));
        hub.echoes = true;
    });
    for (variables, sent) in cases {
        // A status that is not tried again keeps the test short.
        stage.double.change(|hub| hub.refuse.as_mut().unwrap().0 = 418);
        let output = stage.seal(&["model", "fetch", "org/m"], &variables).await;
        let told = stderr(&output) + &stdout(&output);
        assert_eq!(output.status.code(), Some(ENVIRONMENT), "{told}");
        assert!(told.contains("418") && !told.contains(TOKEN), "{variables:?}: {told}");
        assert_eq!(told.contains("you sent Bearer <token>"), sent, "{variables:?}: {told}");
        let seen = stage.double.seen();
        let expected = sent.then(|| format!("Bearer {TOKEN}"));
        assert!(seen.len() == 1 && seen[0].authorization == expected, "{variables:?}: {seen:?}");
    }
}

#[tokio::test]
async fn offline_is_obeyed_whoever_says_it() {
    let stage = Stage::new().await;
    let run = Run::small(&[]);
    let folder = run.folder.to_str().unwrap();
    let settings = fs::read_to_string(run.path("run.toml")).unwrap();
    let teacher = fs::read_to_string(run.path("teacher.toml")).unwrap();
    let fetch = ["--run", folder, "model", "fetch", "org/m"];
    let refused = async |arguments: &[&str], variables: &[(&str, &str)], by: &str| {
        let output = stage.seal(arguments, variables).await;
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(ENVIRONMENT), "{told}");
        assert!(told.contains(by) && told.contains("copy the folder `models--org--m`"), "{told}");
        assert_eq!(stage.double.seen(), []);
    };
    refused(&["model", "fetch", "org/m", "--offline"], &[], "--offline forbids").await;
    refused(&fetch, &[("HF_HUB_OFFLINE", "1")], "the variable HF_HUB_OFFLINE forbids").await;
    let forbidding = settings.replace("offline = false", "offline = true");
    assert_ne!(forbidding, settings);
    fs::write(run.path("run.toml"), forbidding).unwrap();
    refused(&fetch, &[], "run.toml` forbids").await;
    fs::write(run.path("run.toml"), settings).unwrap();
    fs::write(run.path("teacher.toml"), format!("{teacher}\n[egress]\noffline = true\n")).unwrap();
    refused(&fetch, &[], "teacher.toml` forbids").await;
    fs::write(run.path("teacher.toml"), teacher).unwrap();
    let output = stage.seal(&fetch, &[]).await;
    assert!(output.status.success(), "{}", stderr(&output));
    // What is there may be used offline.
    let output = stage.seal(&["model", "fetch", "org/m", "--offline"], &[]).await;
    assert!(output.status.success(), "{}", stderr(&output));
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_before_its_weights_are_fetched() {
    let stage = Stage::new().await;
    let spoil = |from: &'static str, to: &'static str| {
        stage.double.change(|hub| {
            let config = String::from_utf8(hub.files["config.json"].clone()).unwrap();
            assert!(config.contains(from), "{config}");
            hub.files.insert("config.json".into(), config.replacen(from, to, 1).into_bytes());
        });
    };
    spoil("{", "{\"quantization_config\": {\"quant_method\": \"awq\"},");
    let output = stage.seal(&["model", "fetch", "org/m"], &[]).await;
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(BAD_CONFIG), "{told}");
    assert!(told.contains("weights were not fetched") && told.contains("awq"), "{told}");
    assert_eq!(stage.double.count("GET", "model.safetensors"), 0);
    for name in ["org/other", "../m", "a/b/c"] {
        let output = stage.seal(&["model", "fetch", name], &[]).await;
        assert_eq!(output.status.code(), Some(BAD_CONFIG), "{}", stderr(&output));
    }
}

#[tokio::test]
async fn doctor_says_what_a_model_is_and_that_it_fits() {
    let stage = Stage::new().await;
    let output = stage.seal(&["doctor", "--model", "org/m"], &[]).await;
    assert_eq!(output.status.code(), Some(BAD_CONFIG));
    assert!(stderr(&output).contains("`seal model fetch org/m`"), "{}", stderr(&output));
    assert!(stage.seal(&["model", "fetch", "org/m"], &[]).await.status.success());
    stage.double.seen();
    let by_name =
        stage.seal(&["doctor", "--model", "org/m", "--device", "cpu", "--json"], &[]).await;
    assert!(by_name.status.success(), "{}", stderr(&by_name));
    let report: Value = serde_json::from_slice(&by_name.stdout).unwrap();
    assert_eq!((&report["commit"], &report["fits"]), (&COMMIT.into(), &true.into()));
    let jobs = report["jobs"].as_array().unwrap();
    let names: Vec<&str> = jobs.iter().map(|job| job["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["inner update", "step of a sequence", "M-step", "answering"]);
    // Five adapters of rank 32, two means each, and no cache; a cache, and no optimizer.
    let bytes = |job: &Value, part: &str| job["need"][part].as_u64().unwrap();
    assert!(bytes(&jobs[0], "optimizer") > 0 && bytes(&jobs[0], "cache") == 0);
    assert!(bytes(&jobs[3], "cache") > 0 && bytes(&jobs[3], "optimizer") == 0);
    assert_eq!(bytes(&jobs[2], "parameters"), 3 * bytes(&jobs[3], "parameters"));
    // A copy of what is adapted, which is not the whole of it.
    let (step, base) = (bytes(&jobs[1], "parameters"), bytes(&jobs[3], "parameters"));
    assert!(base < step && step < 2 * base, "{step} {base}");
    let snapshot = stage.snapshot();
    let folder = snapshot.to_str().unwrap();
    let more = ["doctor", "--model", folder, "--device", "cpu", "--candidates", "10", "--json"];
    let by_path: Value = serde_json::from_slice(&stage.seal(&more, &[]).await.stdout).unwrap();
    assert_eq!(bytes(&by_path["jobs"][0], "optimizer"), 2 * bytes(&jobs[0], "optimizer"));
    let told = stdout(&stage.seal(&["doctor", "--model", folder, "--device", "cpu"], &[]).await);
    for part in ["Llama", "parameters", "F32", "<bos>", "with 10 % more", "fits", COMMIT] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(stage.double.seen(), [], "doctor asks no hub");
}

#[tokio::test]
async fn doctor_refuses_a_bad_folder_by_file_field_and_mend() {
    let stage = Stage::new().await;
    let folder = stage.home.path().join("bad");
    seal_miniature::base::write_base(&folder).unwrap();
    fs::rename(folder.join("model.safetensors"), folder.join("pytorch_model.bin")).unwrap();
    let doctor = async || stage.seal(&["doctor", "--model", "./bad"], &[]).await;
    let output = doctor().await;
    assert_eq!(output.status.code(), Some(BAD_CONFIG));
    assert!(
        stderr(&output).contains("pytorch_model.bin") && stderr(&output).contains("is a pickle")
    );
    fs::remove_dir_all(&folder).unwrap();
    assert!(stderr(&doctor().await).contains("`seal model fetch ORG/NAME`"));
}

/// A folder whose weights are hundreds of GiB, with the miniature's tokenizer.
fn make_huge(folder: &Path) {
    seal_miniature::base::write_base(folder).unwrap();
    fs::remove_file(folder.join("model.safetensors")).unwrap();
    huge::write(folder);
}

#[tokio::test]
async fn doctor_says_what_to_change_where_a_model_does_not_fit() {
    let stage = Stage::new().await;
    make_huge(&stage.home.path().join("huge"));
    let begun = Instant::now();
    let output = stage.seal(&["doctor", "--model", "./huge", "--device", "cpu"], &[]).await;
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    let told = stdout(&output);
    assert_eq!(output.status.code(), Some(ENVIRONMENT), "{told}");
    for part in ["FAIL  inner update", "FAIL  M-step", "FAIL  answering", "take a smaller model"] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn a_role_refuses_a_model_that_does_not_fit_before_it_reads_a_weight() {
    for role in ["student", "teacher", "auditor"] {
        let run = Run::small(&[]);
        make_huge(&run.path("base"));
        let config = run.path(&format!("{role}.toml"));
        let begun = Instant::now();
        let output = common::seal(&[role, "--config", config.to_str().unwrap()]);
        let told = stderr(&output) + &stdout(&output);
        assert!(begun.elapsed() < AT_ONCE, "{role}: {:?}", begun.elapsed());
        assert_eq!(output.status.code(), Some(BAD_CONFIG), "{role}: {told}");
        assert!(told.contains("base` does not fit"), "{role}: {told}");
        assert!(told.contains("take a smaller model"), "{role}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confined_roles_run_on_a_folder_of_the_cache_whose_files_are_links() {
    let stage = Stage::new().await;
    assert!(stage.seal(&["model", "fetch", "org/m"], &[]).await.status.success());
    let run = Run::small(&[]);
    let base = format!("base_model = {:?}", stage.snapshot());
    for role in [Role::Teacher, Role::Student, Role::Auditor] {
        let file = run.path(&format!("{role}.toml"));
        let config = fs::read_to_string(&file).unwrap();
        fs::write(&file, config.replace("base_model = \"base\"", &base)).unwrap();
        run.daemon(role).await;
    }
}
