//! What goes wrong is said once, with the thing and the mend, and leaves nothing half-written.

#![allow(clippy::unwrap_used)]

mod common;

use std::os::unix::net::UnixListener;
use std::path::Path;

use common::{Run, seal, stderr};

/// Exit codes of bad config or data, and of the environment.
const BAD_CONFIG: i32 = 3;
const ENVIRONMENT: i32 = 4;

/// Runs one daemon to its end and gives its exit code with all it said.
fn daemon(run: &Run, role: &str) -> (Option<i32>, String) {
    let config = run.path(&format!("{role}.toml"));
    let output = seal(&[role, "--config", config.to_str().unwrap()]);
    (output.status.code(), stderr(&output) + &common::stdout(&output))
}

fn edit(file: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{from} is not in {}", file.display());
    std::fs::write(file, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn a_missing_model_file_is_named() {
    let run = Run::small(&[]);
    std::fs::remove_file(run.path("base/model.safetensors")).unwrap();
    let (code, said) = daemon(&run, "student");
    assert_eq!(code, Some(BAD_CONFIG), "{said}");
    assert!(said.contains("model.safetensors"), "{said}");
}

#[test]
fn a_tensor_of_another_shape_is_named_with_both_shapes() {
    let run = Run::small(&[]);
    edit(&run.path("base/config.json"), "\"intermediate_size\": 344", "\"intermediate_size\": 352");
    let (code, said) = daemon(&run, "student");
    assert_eq!(code, Some(BAD_CONFIG), "{said}");
    assert!(said.contains("_proj.weight") && said.contains("352"), "{said}");
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
    let run = Run::small(&[]);
    edit(&run.path("run.toml"), "rounds =", "ronds =");
    let output = run.seal(&["status"]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(BAD_CONFIG), "{said}");
    for part in ["run.toml", "ronds", "rounds"] {
        assert!(said.contains(part), "{part} is missing: {said}");
    }
}

#[test]
fn a_device_that_is_none_is_named_with_those_there_are() {
    let run = Run::small(&[]);
    edit(&run.path("student.toml"), "base_name", "device = \"gpu\"\nbase_name");
    let (code, said) = daemon(&run, "student");
    assert_eq!(code, Some(BAD_CONFIG), "{said}");
    assert!(said.contains("student.toml") && said.contains("`cuda:N`"), "{said}");
}

#[test]
fn a_gpu_that_is_not_there_is_named_with_the_mend() {
    let run = Run::small(&[]);
    edit(&run.path("student.toml"), "base_name", "device = \"cuda:4095\"\nbase_name");
    let (code, said) = daemon(&run, "student");
    assert_eq!(code, Some(BAD_CONFIG), "{said}");
    assert!(said.contains("4095") && said.contains("device = \\\"cpu\\\""), "{said}");
    let output = run.seal(&["doctor"]);
    let told = common::stdout(&output);
    assert!(told.contains("FAIL  student") && told.contains("4095"), "{told}");
}

#[test]
fn adapters_that_the_auditor_could_not_find_again_are_foretold_with_the_mend() {
    let run = Run::small(&[]);
    let finding = || {
        let told = common::stdout(&run.seal(&["doctor"]));
        told.lines().find(|line| line.contains("recomputation")).map(str::to_owned)
    };
    assert_eq!(finding(), None);
    edit(&run.path("student.toml"), "base_name", "device = \"cpu-bf16x3\"\nbase_name");
    let told = finding().unwrap();
    assert!(told.contains("FAIL") && told.contains("cpu-bf16x3"), "{told}");
    assert!(told.contains("same `device`") && told.contains("`tolerance`"), "{told}");
}

#[test]
fn a_socket_in_use_is_named_with_the_mend() {
    let run = Run::small(&[]);
    let socket = run.path("sockets/student.sock");
    let _occupied = UnixListener::bind(&socket).unwrap();
    let (code, said) = daemon(&run, "student");
    assert_eq!(code, Some(ENVIRONMENT), "{said}");
    assert!(said.contains("student.sock"), "{said}");
}

#[test]
fn a_dead_daemon_is_told_with_its_log_and_the_run_can_be_resumed() {
    let run = Run::small(&[]);
    let config = run.path("student.toml");
    let good = std::fs::read_to_string(&config).unwrap();
    edit(&config, "r = 16", "r = 0");
    let output = run.seal(&["--quiet", "run"]);
    let said = stderr(&output);
    assert!(!output.status.success());
    assert!(said.contains("student") && said.contains("student.toml"), "{said}");
    std::fs::write(&config, good).unwrap();
    run.complete();
}

#[test]
fn a_folder_that_exists_is_not_touched_and_a_failed_init_leaves_nothing() {
    let run = Run::small(&[]);
    let before = common::files_below(&run.folder);
    let output = seal(&["init", run.folder.to_str().unwrap()]);
    assert!(stderr(&output).contains("exists already"), "{}", stderr(&output));
    assert_eq!(before, common::files_below(&run.folder));

    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("too-large");
    let output = seal(&["init", folder.to_str().unwrap(), "--contexts", "100000"]);
    assert!(!output.status.success());
    assert!(stderr(&output).contains("names"), "{}", stderr(&output));
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
}

/// In a name space of its own with a disk of one mebibyte; the base model alone has three.
const ON_A_SMALL_DISK: &str = "mount -t tmpfs -o size=1m none \"$1\" && \"$2\" init \"$1/run\"; code=$?; ls -A \"$1\"; exit $code";

#[test]
fn a_full_disk_stops_init_and_leaves_nothing() {
    let disk = tempfile::tempdir().unwrap();
    let isolated = || {
        let mut command = std::process::Command::new("unshare");
        command.args(["--map-root-user", "--mount"]);
        command
    };
    let possible = isolated().args(["mount", "-t", "tmpfs", "none"]).arg(disk.path()).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        println!("skipped: this machine lets nobody mount a small disk for the test");
        return;
    }
    let output = isolated()
        .args(["sh", "-c", ON_A_SMALL_DISK, "sh"])
        .arg(disk.path())
        .arg(env!("CARGO_BIN_EXE_seal"))
        .output()
        .unwrap();
    let said = stderr(&output);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("No space left") && said.contains("run folder"), "{said}");
    assert_eq!(common::stdout(&output), "", "something was left behind");
}

#[test]
fn an_auditor_without_a_vault_does_not_start() {
    let run = Run::small(&[]);
    std::fs::remove_file(run.path("auditor/tau.jsonl")).unwrap();
    let (code, said) = daemon(&run, "auditor");
    assert_eq!(code, Some(BAD_CONFIG), "{said}");
    assert!(said.contains("tau.jsonl"), "{said}");
}

#[test]
fn a_foreign_trust_root_is_refused_at_start() {
    let run = Run::small(&[]);
    let other = Run::small(&[]);
    std::fs::copy(other.path("trust/root.json"), run.path("trust/root.json")).unwrap();
    let (code, said) = daemon(&run, "student");
    assert_ne!(code, Some(0), "{said}");
    assert!(said.contains("root"), "{said}");
}

#[test]
fn a_config_named_without_its_folder_is_found_in_the_current_one() {
    let run = Run::small(&["--contexts", "1", "--held-out", "0"]);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_seal"))
        .args(["status", "--run", "run.toml"])
        .current_dir(run.path(""))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", common::stderr(&output));
}
