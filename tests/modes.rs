//! Continued pre-training and continual runs over the miniature, by the real programs.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Run, stderr, stdout};
use seal_protocol::{Attempt, AuditPurpose, Decision, Recomputation};
use serde_json::Value;

fn report(run: &Run) -> Value {
    let output = run.seal(&["--json", "report"]);
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn of_stage(run: &Run, stage: &str, purpose: AuditPurpose) -> Vec<Attempt> {
    let mut attempts = run.ledger();
    attempts.retain(|attempt| attempt.stage == stage && attempt.purpose == purpose);
    attempts
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

#[test]
fn a_sequence_yields_a_forgetting_matrix_and_every_step_of_it_is_evidence() {
    let run = Run::small(&[
        "--mode",
        "continual",
        "--contexts",
        "4",
        "--proposals",
        "1",
        "--held-out",
        "0",
        "--selection",
        "paper",
    ]);
    run.complete();

    let report = report(&run);
    println!("{}", stdout(&run.seal(&["report"])));
    let sequence = &report["sequences"][0];
    assert_eq!(sequence["contexts"].as_array().unwrap().len(), 4);
    assert_eq!(numbers(&sequence["unedited"]).len(), 4);
    let steps = sequence["steps"].as_array().unwrap();
    let widths: Vec<usize> = steps.iter().map(|step| numbers(&step["accuracy"]).len()).collect();
    assert_eq!(widths, [1, 2, 3, 4], "a lower triangle");
    let ages: Vec<&Value> = report["forgetting"]["by_age"].as_array().unwrap().iter().collect();
    let counts: Vec<_> = ages.iter().map(|age| age["n"].as_u64().unwrap()).collect();
    assert_eq!(counts, [4, 3, 2, 1]);
    // What was just learned is known: the diagonal lies above the row without any edit.
    let learned = ages[0]["mean"].as_f64().unwrap();
    let unedited = numbers(&sequence["unedited"]).iter().sum::<f64>() / 4.0;
    assert!(learned > unedited, "{learned} after its own edit, {unedited} without any");

    let measured = of_stage(&run, "sequence-1", AuditPurpose::Evaluation);
    let sizes: Vec<_> =
        measured.iter().map(|one| (one.context_digests.len(), one.edit_digests.len())).collect();
    assert_eq!(sizes, [(1, 1), (2, 2), (3, 3), (4, 4)]);
    for attempt in &measured {
        assert_eq!(attempt.decision, Decision::Measured, "{:?}", attempt.reasons);
        assert_eq!(attempt.recomputation, Some(Recomputation::Equal));
    }
    let judged = of_stage(&run, "sequence-1", AuditPurpose::Edit);
    assert!(judged.iter().all(|attempt| attempt.decision == Decision::Accept));
    assert!(run.seal(&["verify", "--all"]).status.success());
    let page = std::fs::read_to_string(run.path("report.html")).unwrap();
    assert!(page.contains("class='heat'"));
}

#[test]
fn continued_pre_training_measures_one_adapter_for_all_passages_and_signs_nothing() {
    let run = Run::small(&[
        "--mode",
        "continued_pretraining",
        "--contexts",
        "6",
        "--proposals",
        "2",
        "--held-out",
        "1",
    ]);
    run.complete();
    println!("{}", stdout(&run.seal(&["status"])));
    let report = report(&run);
    let stages: Vec<&str> = report["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|arm| arm["stage"].as_str().unwrap())
        .collect();
    assert_eq!(stages, ["cpt-base", "cpt-context-only", "cpt"]);
    for arm in report["conditions"].as_array().unwrap() {
        assert_eq!(arm["accuracy"]["n"], 6, "each passage once");
    }
    let attempts = run.ledger();
    assert_eq!(attempts.len(), 2, "one adapter on the passages, one on the edits");
    for attempt in attempts {
        assert_eq!(
            (attempt.purpose, attempt.decision),
            (AuditPurpose::Evaluation, Decision::Measured)
        );
        assert_eq!(attempt.context_digests.len(), 6);
        assert_eq!(attempt.recomputation, Some(Recomputation::Equal));
    }
    let verdicts = std::fs::read_dir(run.path("auditor/state/verdicts")).unwrap();
    assert_eq!(verdicts.count(), 0);
    let status: Value = serde_json::from_slice(&run.seal(&["--json", "status"]).stdout).unwrap();
    assert_eq!((&status["active"], &status["complete"]), (&"base".into(), &true.into()));
    assert!(run.seal(&["verify", "--all"]).status.success());
}

#[test]
fn settings_that_contradict_the_mode_are_refused_by_name() {
    let run =
        Run::small(&["--mode", "continued_pretraining", "--contexts", "1", "--held-out", "0"]);
    let file = run.path("run.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("consolidate = false", "consolidate = true")).unwrap();
    let refused = run.seal(&["run"]);
    assert!(!refused.status.success());
    let told = stderr(&refused);
    assert!(told.contains("run.toml") && told.contains("`consolidate`"), "{told}");
}

#[test]
fn a_preset_inside_another_one_holds_only_what_differs() {
    let temporary = tempfile::tempdir().unwrap();
    let (folder, base) = (temporary.path().join("run"), temporary.path().join("base"));
    std::fs::create_dir(&base).unwrap();
    std::fs::write(base.join("config.json"), "{}").unwrap();
    let preset = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/paper/continual");
    let made = common::seal(&[
        "init",
        folder.to_str().unwrap(),
        "--from",
        preset,
        "--base-model",
        base.to_str().unwrap(),
    ]);
    assert!(made.status.success(), "{}", stderr(&made));
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    assert!(read("run.toml").contains("mode = \"continual\""));
    assert!(read("student.toml").contains("num_train_epochs = 10"));
    let told = stderr(&made);
    assert!(told.contains("student.toml") && told.contains("configs/paper"), "{told}");
}
