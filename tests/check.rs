//! `seal check` and `seal import` as a user runs them: figures, exit codes, refusals by line.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

const FAILED: i32 = 1;
const BAD_DATA: i32 = 3;

fn seal(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_seal")).args(arguments).output().unwrap()
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
    })
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A file of the recorded data, or none where the machine does not have it.
fn recorded(name: &str) -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = match std::env::var_os("SEAL_REFERENCE_DATA") {
        Some(folder) => root.join(folder),
        None => root.join("../shared/data/seal"),
    };
    let path = folder.join(name);
    if path.is_file() {
        return Some(path.display().to_string());
    }
    println!("skipped: no {}", path.display());
    None
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, rows: &[Value]) -> String {
        let path: PathBuf = self.0.path().join(name);
        let lines: Vec<String> = rows.iter().map(ToString::to_string).collect();
        std::fs::write(&path, lines.join("\n")).unwrap();
        path.display().to_string()
    }
}

#[test]
fn the_recorded_choices_and_sequences_come_out_as_recorded() {
    if let Some(file) = recorded("self_edits_train.jsonl") {
        let output = seal(&["check", "selection", &file, "--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let report = report(&output);
        let all = json!({"compared": 50, "equal": 50});
        for field in ["from_adapter_mean", "from_seed_accuracy", "text_digests"] {
            assert_eq!(report[field], all, "{field}");
        }
        assert_eq!(report["without_choice"], 50, "the second round has no recorded choices");
    }
    if let Some(file) = recorded("sequence_builder_cases.jsonl") {
        let output = seal(&["check", "sequences", &file, "--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let report = report(&output);
        let all = json!({"compared": 22, "equal": 22});
        assert_eq!((&report["june"], &report["august"]), (&all, &all));
    }
}

#[test]
fn the_default_grader_reaches_what_the_table_in_the_docs_says() {
    let Some(file) = recorded("judged_eval.jsonl") else { return };
    let output = seal(&["check", "graders", &file, "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report = report(&output);
    let lines = report["graders"].as_array().unwrap();
    let default = serde_json::to_value(seal_auditor::graders::Grader::default()).unwrap();
    let line = lines.iter().find(|line| line["grader"] == default).unwrap();
    assert!(line["kappa"].as_f64().unwrap() >= 0.72, "{line}");
    assert_eq!(line["n"], report["answers"]);
    assert_eq!(line["conditions"].as_object().unwrap().len(), 5);
    let train = recorded("judged_train_round0.jsonl").unwrap();
    let output = seal(&["check", "graders", &train, "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(self::report(&output)["answers"], 4800, "golds come from the passages beside");
}

fn edit(id: &str, k: u32, mean: f64) -> Value {
    json!({"round": 0, "id": id, "k": k, "text": "a", "adapter_mean": mean})
}

#[test]
fn a_choice_that_differs_is_shown_and_ends_with_1() {
    let folder = Folder::new();
    // Out of order, and a tie that goes to the smaller number.
    let rows = [edit("a", 2, 0.9), edit("a", 1, 0.9), edit("a", 0, 0.1), edit("b", 0, 0.5)];
    let file = folder.file("edits.jsonl", &rows);
    let choice = |id: &str, k: u32| json!({"round": 0, "id": id, "selected_k": k, "k": 3});
    folder.file("selections.jsonl", &[choice("a", 1)]);
    let output = seal(&["check", "selection", &file, "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let other = folder.file("other.jsonl", &[choice("a", 2), choice("c", 0)]);
    let output = seal(&["check", "selection", &file, "--selections", &other, "--json"]);
    assert_eq!(output.status.code(), Some(FAILED));
    let report = report(&output);
    assert_eq!(report["differences"][0]["ours"], 1);
    assert_eq!((&report["without_edits"], &report["without_choice"]), (&json!(1), &json!(1)));
    assert!(said(&output).contains("not complete"));
}

#[test]
fn a_sequence_that_differs_is_named_by_its_line() {
    let folder = Folder::new();
    let case = |sequences: &[&str]| {
        json!({
            "kind": "own", "title": "t", "context": "c", "completion": "a\nb",
            "split_newlines": true, "sequences": sequences, "sequences_aug2025": null,
        })
    };
    let file =
        folder.file("cases.jsonl", &[case(&["t\na", "t\nb", "t\nc"]), case(&["t\na", "t\nc"])]);
    let output = seal(&["check", "sequences", &file, "--json"]);
    assert_eq!(output.status.code(), Some(FAILED));
    let report = report(&output);
    assert_eq!(report["june"], json!({"compared": 2, "equal": 1}));
    assert_eq!(report["differences"][0]["line"], 2);
    assert_eq!(report["differences"][0]["first"], 1);
    let nothing = folder.file("nothing.jsonl", &[]);
    assert_eq!(seal(&["check", "sequences", &nothing]).status.code(), Some(FAILED));
}

#[test]
fn a_bad_line_is_refused_with_file_and_line() {
    let folder = Folder::new();
    let good = json!({"id": "a", "qi": 0, "q": "q", "gold": "g", "base": "g", "base_ok": 1, "adapt": "", "adapt_ok": 0});
    let with = |field: &str, value: Value| {
        let mut row = good.clone();
        row[field] = value;
        row
    };
    let missing =
        json!({"id": "a", "qi": 0, "base": "g", "base_ok": 1, "adapt": "", "adapt_ok": 0});
    for (bad, reason) in [
        (with("adapt_ok", json!(2)), "adapt_ok"),
        (with("base", json!(null)), "invalid type"),
        (missing, "--passages"),
        (json!([1]), "invalid"),
    ] {
        let file = folder.file("judged.jsonl", &[good.clone(), bad]);
        let output = seal(&["check", "graders", &file]);
        assert_eq!(output.status.code(), Some(BAD_DATA), "{}", said(&output));
        assert!(said(&output).contains("judged.jsonl:2: "), "{}", said(&output));
        assert!(said(&output).contains(reason), "{}", said(&output));
        assert!(output.stdout.is_empty(), "nothing is half-told");
    }
    let row = edit("a", 0, 0.5);
    let twice = folder.file("edits.jsonl", &[row.clone(), row]);
    assert!(said(&seal(&["check", "selection", &twice])).contains("edits.jsonl:2: "));
    let gone = seal(&["check", "selection", "/nowhere/at/all.jsonl"]);
    assert_eq!(gone.status.code(), Some(BAD_DATA));
    let path = folder.0.path().join("bytes.jsonl");
    std::fs::write(&path, [b'{', 0xff]).unwrap();
    assert!(
        said(&seal(&["check", "sequences", path.to_str().unwrap()])).contains("bytes.jsonl:1: ")
    );
}

#[test]
fn an_import_splits_real_passages_and_says_what_it_left_out() {
    let Some(file) = recorded("squad_train_100.jsonl") else { return };
    let folder = Folder::new();
    let run = folder.0.path().join("run");
    let arguments = ["import", "jsonl", &file, "--into", run.to_str().unwrap(), "--json"];
    let output = seal(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report = report(&output);
    let questions = ["reward_questions", "confirmation_questions"];
    let questions: u64 = questions.iter().map(|field| report[*field].as_u64().unwrap()).sum();
    let left_out = report["left_out"].as_array().unwrap().len() as u64;
    assert_eq!(report["contexts"].as_u64().unwrap(), 100 - left_out_passages(&report));
    assert!(questions <= 468 && questions + left_out * 8 >= 468, "{report}");
    let contexts = std::fs::read_to_string(run.join("teacher/contexts.jsonl")).unwrap();
    assert!(!contexts.contains("\"question"));
    let again = seal(&arguments);
    assert!(said(&again).contains("--replace"), "{}", said(&again));
}

#[test]
fn shares_that_no_passage_is_left_for_are_refused_with_the_mend() {
    let folder = Folder::new();
    let row = |round: Option<u32>, number: u32| {
        let questions =
            json!([{"question": "Who?", "answer": "A"}, {"question": "When?", "answer": "B"}]);
        let text = format!("Passage {number} about nothing else.");
        let mut row = json!({"title": "", "context": text, "questions": questions});
        if let Some(round) = round {
            row["round"] = json!(round);
        }
        row
    };
    let named: Vec<Value> = (0..4).map(|n| row(Some(1), n)).collect();
    let free: Vec<Value> = (0..4).map(|n| row(None, n)).collect();
    let (named, free) = (folder.file("named.jsonl", &named), folder.file("free.jsonl", &free));
    let into = folder.0.path().join("run");
    for option in ["--retention", "--held-out"] {
        let import = |file: &str| {
            seal(&["import", "jsonl", file, "--into", into.to_str().unwrap(), option, "1"])
        };
        let refused = import(&named);
        assert_eq!(refused.status.code(), Some(3), "{}", said(&refused));
        assert!(said(&refused).contains(option) && said(&refused).contains("remove `round`"));
        assert!(!into.exists(), "nothing is written");
        assert_eq!(import(&free).status.code(), Some(0));
        std::fs::remove_dir_all(&into).unwrap();
    }
}

fn left_out_passages(report: &Value) -> u64 {
    let places = report["left_out"].as_array().unwrap().iter();
    places.filter(|left| !left["place"].as_str().unwrap().starts_with("question")).count() as u64
}

#[test]
fn text_rules_are_tried_on_texts_before_they_refuse_anything() {
    let folder = Folder::new();
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/paper/rules.toml");
    let rules = rules.to_str().unwrap();
    let texts = [
        json!({"id": "plain", "text": "The Shah fled.\nHe died on an island."}),
        json!({"id": "card", "text": "Fine.\nPay with 4111 1111 1111 1111."}),
        json!({"text": "In which year did the Shah flee at last? 1220."}),
    ];
    let file = folder.file("texts.jsonl", &texts);
    let item = json!({"id": "a", "question": "In which year did the Shah flee?", "answer": "1220", "kind": "forward"});
    let tau = json!({"context_digest": "0".repeat(64), "context_id": "c", "reward": [item], "confirmation": [], "protected": []});
    let tau = folder.file("tau.jsonl", &[tau]);
    let output = seal(&["check", "rules", &file, "--rules", rules, "--tau", &tau, "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report = report(&output);
    assert_eq!((&report["texts"], &report["passed"]), (&json!(3), &json!(1)));
    assert_eq!(report["findings"]["text.personal.payment-card"], json!(["card"]));
    assert_eq!(report["findings"]["text.tau-ngrams"], json!(["line 3"]));
    let shown = seal(&["check", "rules", &file, "--rules", rules]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        shown.contains("text.personal.payment-card: card") && !shown.contains("4111"),
        "{shown}"
    );
    let broken = folder.file("broken.jsonl", &[json!({"id": "x"})]);
    let refused = seal(&["check", "rules", &broken, "--rules", rules]);
    assert_eq!(refused.status.code(), Some(BAD_DATA), "{}", said(&refused));
}

#[test]
fn a_policy_is_examined_on_the_example_and_on_a_file_and_a_broken_one_is_named() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/policies");
    let path = |name: &str| root.join(name).display().to_string();
    let output = seal(&["--json", "check", "policy", &path("standard")]);
    assert!(output.status.success(), "{}", said(&output));
    let example = report(&output);
    assert!(example["tests_passed"].as_u64().unwrap() >= 10);
    let tried = &example["inputs"][0];
    assert_eq!((&tried["allowed"], &tried["decisions"]), (&json!(true), &json!(200)));
    assert!(tried["longest_us"].as_u64() >= tried["median_us"].as_u64());
    assert!(tried["demanded"].as_array().unwrap().len() > 20);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("input.json");
    let text = std::fs::read_to_string(path("example-input.json")).unwrap();
    std::fs::write(&file, text.replace("\"outcome\": \"passed\"", "\"outcome\": \"failed\""))
        .unwrap();
    let file = file.display().to_string();
    let output = seal(&["--json", "check", "policy", &path("standard"), "--input", &file]);
    let refused = &report(&output)["inputs"][0];
    assert_eq!(refused["allowed"], json!(false));
    assert_eq!(refused["reasons"], json!(["policy.refused", "policy.gates"]));

    std::fs::write(&file, "{\"version\": 1}").unwrap();
    let output = seal(&["check", "policy", &path("standard"), "--input", &file]);
    assert_eq!(output.status.code(), Some(BAD_DATA));
    assert!(said(&output).contains("not a policy input"), "{}", said(&output));
    let output = seal(&["check", "policy", &path("nowhere")]);
    assert_eq!(output.status.code(), Some(BAD_DATA));
}
