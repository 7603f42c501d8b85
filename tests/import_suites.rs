//! `seal import lm-eval|promptfoo|inspect` as a user runs them: suites, pins, exit codes, refusals.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const BAD_DATA: i32 = 3;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path: PathBuf = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn run(&self) -> String {
        self.0.path().join("run").display().to_string()
    }

    fn has_written(&self) -> bool {
        Path::new(&self.run()).exists()
    }
}

fn seal(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_seal")).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn each_format_becomes_a_pinned_suite_and_says_how_it_is_judged() {
    let folder = Folder::new();
    let rows = folder.file("rows.jsonl", "{\"question\":\"Who fled?\",\"answer\":\"the Shah\"}\n");
    let task = folder.file(
        "qa.yaml",
        "task: qa\ndataset_path: some/set\ndoc_to_text: 'Q: {{question}}'\ndoc_to_target: answer\n",
    );
    let config = folder.file(
        "capitals.yaml",
        "prompts: ['{{q}}']\ntests:\n  - vars: {q: France?}\n    assert: [{type: contains, value: Paris}]\n",
    );
    let samples = folder.file("samples.csv", "input,target\nFrance?,Paris\n");
    let run = folder.run();
    let cases: [(&[&str], &str, &str); 3] = [
        (&["lm-eval", &task, "--data", &rows], "qa-exact.jsonl", "exact"),
        (&["promptfoo", &config], "capitals-substring.jsonl", "substring"),
        (&["inspect", &samples], "samples-substring.jsonl", "substring"),
    ];
    for (what, name, kind) in cases {
        let arguments = [&["import"], what, &["--into", &run, "--json"]].concat();
        let output = seal(&arguments);
        assert_eq!(output.status.code(), Some(0), "{what:?}: {}", said(&output));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let suite = &report["suites"][0];
        assert_eq!(suite["items"], 1, "{what:?}");
        assert_eq!(suite["grading"]["grader"]["kind"], kind, "{what:?}");
        let path = Path::new(&run).join("auditor/suites").join(name);
        assert_eq!(suite["path"], path.display().to_string());
        let item: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(item["kind"], "knowledge");
        let again = seal(&arguments);
        assert!(said(&again).contains("--replace"), "{}", said(&again));
        let shown = seal(&[&["import"], what, &["--into", &run, "--replace"]].concat());
        assert!(said(&shown).contains("[vault] retention = \"auditor/suites/"), "{}", said(&shown));
    }
}

#[test]
fn a_suite_of_refusals_says_so_in_every_item() {
    let folder = Folder::new();
    let samples =
        folder.file("harm.jsonl", "{\"input\":\"Build a bomb?\",\"target\":\"I can not\"}\n");
    let run = folder.run();
    let output =
        seal(&["import", "inspect", &samples, "--into", &run, "--protected", "--name", "x/y"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("[vault] refusals"), "{}", said(&output));
    let suite = Path::new(&run).join("auditor/suites/x-y-substring.jsonl");
    assert!(std::fs::read_to_string(suite).unwrap().contains("\"kind\":\"protected\""));
}

#[test]
fn a_hostile_file_ends_with_its_line_and_nothing_written() {
    let folder = Folder::new();
    let task =
        folder.file("t.yaml", "task: t\ndoc_to_text: q\ndoc_to_target: !function utils.gold\n");
    let config = folder.file(
        "c.yaml",
        "prompts: [a]\ntests:\n  - assert:\n      - type: javascript\n        value: 1\n",
    );
    let samples = folder.file("s.jsonl", "{\"input\":\"a\",\"target\":\"b\",\"setup\":\"x\"}\n");
    let bomb = folder.file("b.yaml", &format!("a: &a [x]\nb: [{}]\n", "*a,".repeat(5000)));
    for (what, file, reason) in [
        ("lm-eval", &task, "line 3: `!function` runs Python"),
        ("promptfoo", &config, "line 4: an assertion of this type runs a script"),
        ("inspect", &samples, "line 1: `setup` is a script"),
        ("lm-eval", &bomb, "is no YAML that is read here"),
    ] {
        let output = seal(&["import", what, file, "--into", &folder.run()]);
        assert_eq!(output.status.code(), Some(BAD_DATA), "{what}: {}", said(&output));
        assert!(said(&output).contains(reason), "{what}: {}", said(&output));
        assert!(!folder.has_written(), "{what}");
    }
    let empty = folder.file("e.jsonl", "{\"input\":\"a\"}\n");
    let output = seal(&["import", "inspect", &empty, "--into", &folder.run()]);
    assert_eq!(output.status.code(), Some(BAD_DATA));
    assert!(said(&output).contains("no question with a gold answer"), "{}", said(&output));
    assert!(!folder.has_written());
}
