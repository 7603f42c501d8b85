//! OPA itself runs the shipped bundles: their tests, and hundreds of broken inputs, each with the outcome
//! that the auditor's interpreter comes to.
//!
//! `SEAL_OPA` names a stock `opa` (default: `opa`), `SEAL_OPA_LIBRARY` the folder of an unpacked
//! `opa-golib-python-bindings`, OPA's engine as a library; `SEAL_PYTHON` the Python that runs the
//! script. What is not on this machine is told as skipped.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use serde_json::{Value, json};

use super::examine::{paths, removed};
use super::*;

/// What `tests/interop/opa_policies.py` prints.
#[derive(Deserialize)]
struct Report {
    engine: String,
    strict: Option<String>,
    tests: BTreeMap<String, bool>,
    decisions: BTreeMap<String, Decided>,
}

#[derive(Deserialize)]
struct Decided {
    allow: Vec<Value>,
    reasons: Vec<Value>,
}

/// The engines that are here, as arguments of the script.
fn engines() -> Vec<[String; 2]> {
    let program = std::env::var("SEAL_OPA").unwrap_or_else(|_| "opa".to_owned());
    let runs = Command::new(&program).arg("version").output().is_ok_and(|run| run.status.success());
    let mut engines = Vec::new();
    if runs {
        engines.push(["--opa".to_owned(), program]);
    } else {
        println!("skipped: `{program} version` does not run here; SEAL_OPA names a stock opa");
    }
    match std::env::var("SEAL_OPA_LIBRARY") {
        Ok(folder) => engines.push(["--library".to_owned(), folder]),
        Err(_) => println!("skipped: SEAL_OPA_LIBRARY names no folder"),
    }
    engines
}

fn asked(engine: &[String; 2], bundle: &Path, inputs: &BTreeMap<String, Value>) -> Report {
    let python = std::env::var("SEAL_PYTHON").unwrap_or_else(|_| "python3".into());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("inputs.json");
    std::fs::write(&file, serde_json::to_vec(inputs).unwrap()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/interop/opa_policies.py");
    let run = Command::new(python).arg(script).arg(bundle).arg(file).args(engine).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    serde_json::from_slice(&run.stdout).unwrap()
}

/// Names that the bundle's rules give to refusals.
fn explained(bundle: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(bundle.join("policy.rego")).unwrap();
    let named = text.split("reasons contains \"").skip(1);
    let names: Vec<String> = named.map(|rest| rest.split('"').next().unwrap().to_owned()).collect();
    assert!(names.len() >= 5, "{names:?}");
    names
}

/// What OPA said, in the words of our own outcomes. A built-in function that fails is an error here and
/// undefined there; both refuse, and `agree` takes them for one.
fn said(decided: &Decided) -> Said {
    match decided.allow.as_slice() {
        [] => Said::Undefined,
        [Value::Bool(true)] => Said::Allowed,
        [Value::Bool(false)] => {
            let names = decided.reasons.iter().filter_map(Value::as_str).map(str::to_owned);
            Said::Refused(names.collect())
        }
        _ => Said::NotBoolean,
    }
}

/// `None` where the two agree, else what each said.
fn differ(policy: &Policy, input: &Value, decided: &Decided) -> Option<(Said, Said)> {
    let (ours, theirs) = (policy.decide_json(&input.to_string()), said(decided));
    let both_refuse = matches!(ours, Said::Failed(_)) && theirs != Said::Allowed;
    (ours != theirs && !both_refuse).then_some((ours, theirs))
}

/// Every field of an input missing, and of every other type; several inputs of which a rule each allows
/// and refuses; nothing at all.
fn inputs() -> BTreeMap<String, Value> {
    let edit = serde_json::to_value(tests::good()).unwrap();
    let mut promotion = edit.clone();
    promotion["request"]["purpose"] = json!("promotion");
    promotion["measurements"]["tau_confirmation"] = promotion["measurements"]["tau_reward"].clone();
    for (panel, n) in [("tau_confirmation", 40), ("retention", 100), ("protected_others", 40)] {
        promotion["measurements"][panel]["n"] = json!(n);
    }
    promotion["measurements"]["retention"]["gain"]["mean"] = json!(-0.05);
    let mut inputs = BTreeMap::from([("nothing".to_owned(), json!({}))]);
    for (name, whole) in [("edit", edit), ("promotion", promotion)] {
        inputs.insert(name.to_owned(), whole.clone());
        for path in paths(&whole) {
            inputs.insert(format!("{name} without {path}"), removed(&whole, &path));
            for (at, other) in
                tests::other_types(whole.pointer(&path).unwrap()).into_iter().enumerate()
            {
                let mut changed = whole.clone();
                *changed.pointer_mut(&path).unwrap() = other;
                inputs.insert(format!("{name} {path} {at}"), changed);
            }
            // Figures on both sides of every limit.
            if whole.pointer(&path).is_some_and(Value::is_number) {
                for (at, figure) in [json!(0), json!(-1), json!(-0.06), json!(0.95), json!(8)]
                    .into_iter()
                    .enumerate()
                {
                    let mut changed = whole.clone();
                    *changed.pointer_mut(&path).unwrap() = figure;
                    inputs.insert(format!("{name} {path} figure {at}"), changed);
                }
            }
        }
    }
    inputs
}

#[test]
fn stock_opa_passes_the_tests_of_each_shipped_bundle_and_decides_as_the_auditor_does() {
    let inputs = inputs();
    for engine in engines() {
        for name in ["standard", "change-control"] {
            let bundle = tests::shipped(name);
            let policy = Policy::new(Bundle::read(&bundle).unwrap(), tests::LIMIT).unwrap();
            let report = asked(&engine, &bundle, &inputs);
            let failed: Vec<_> = report.tests.iter().filter(|(_, passed)| !**passed).collect();
            assert!(failed.is_empty(), "{name}: {failed:?}");
            assert_eq!(report.tests.len(), policy.tests(), "{name}: {:?}", report.tests);
            assert_eq!(report.strict.unwrap_or_default(), "", "{name}");
            assert_eq!(report.decisions.len(), inputs.len(), "{name}");
            let differing: Vec<_> = report
                .decisions
                .iter()
                .filter_map(|(at, one)| Some((at, differ(&policy, &inputs[at], one)?)))
                .collect();
            assert!(differing.is_empty(), "{name}: {} differ: {differing:#?}", differing.len());
            let said = report.decisions.values().map(said).collect::<Vec<_>>();
            let allowed = said.iter().filter(|said| **said == Said::Allowed).count();
            let reasons: BTreeSet<String> = said.iter().flat_map(Said::reasons).collect();
            println!(
                "{}: {name}: {} tests pass, {} inputs decided alike ({allowed} allowed), reasons {}",
                report.engine,
                report.tests.len(),
                inputs.len(),
                reasons.iter().map(String::as_str).collect::<Vec<_>>().join(" "),
            );
            assert!(allowed > 0 && allowed < inputs.len(), "{name}: {allowed}");
            // Each rule that explains a refusal was reached by some input.
            for reason in explained(&bundle) {
                assert!(reasons.contains(&format!("policy.{reason}")), "{name}: {reason}");
            }
        }
    }
}

/// The harness itself: a test that fails is told as failed, and a rule that allows more as different.
#[test]
fn a_failing_test_and_another_decision_of_stock_opa_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let text = "package seal\n\nimport rego.v1\n\nallow if input.version == 2\n\n\
                test_wrong if 1 == 2\n\ntest_right if 1 == 1\n";
    std::fs::write(folder.path().join("policy_test.rego"), text).unwrap();
    let inputs = BTreeMap::from([
        ("two".to_owned(), json!({"version": 2})),
        ("one".to_owned(), json!({"version": 1})),
    ]);
    for engine in engines() {
        let report = asked(&engine, folder.path(), &inputs);
        let expected = [("data.seal.test_right", true), ("data.seal.test_wrong", false)];
        let expected = expected.map(|(name, passed)| (name.to_owned(), passed));
        assert_eq!(report.tests, BTreeMap::from(expected), "{}", report.engine);
        assert_eq!(said(&report.decisions["two"]), Said::Allowed);
        assert_eq!(said(&report.decisions["one"]), Said::Undefined);
        let standard =
            Policy::new(Bundle::read(&tests::shipped("standard")).unwrap(), tests::LIMIT);
        assert!(differ(&standard.unwrap(), &inputs["two"], &report.decisions["two"]).is_some());
    }
}
