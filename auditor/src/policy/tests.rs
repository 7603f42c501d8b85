use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;
use seal_protocol::{
    AuditPurpose, Decision, Digest, Enforcement, EnforcementLevel, Labels, Micro, UnixSeconds,
    Verdict,
};
use serde_json::Value;

use super::examine::{paths, removed};
use super::*;
use crate::gate::StageOutcome;
use crate::testing::{Skill, World, attempts, rows};

pub(super) const LIMIT: Duration = Duration::from_secs(60);

pub(super) fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/policies").join(name)
}

fn standard() -> Policy {
    Policy::new(Bundle::read(&shipped("standard")).unwrap(), LIMIT).unwrap()
}

/// A policy of one file, with a test that always holds.
fn policy(rules: &str) -> Result<Policy, PolicyError> {
    let text = format!("package seal\n\nimport rego.v1\n\n{rules}\n\ntest_holds if true\n");
    Policy::new(Bundle::of([("policy.rego", text.as_str())]), LIMIT)
}

fn digest() -> Digest {
    Digest::from_bytes([0xAA; 32])
}

fn measured(n: u64, base: f64, candidate: f64) -> Measurement {
    let around = |mean: f64| Estimate { mean, low: mean - 0.1, high: mean + 0.1 };
    Measurement {
        n,
        empty: 0,
        base: around(base),
        candidate: around(candidate),
        gain: around(candidate - base),
        dense_gain: None,
    }
}

/// An input that the standard policy allows.
pub(super) fn good() -> PolicyInput {
    let passed = || Gate { outcome: StageOutcome::Passed, reasons: Vec::new() };
    let dense_gain = Some(Estimate { mean: 2.0, low: 1.0, high: 3.0 });
    PolicyInput {
        version: INPUT_VERSION,
        request: RequestFacts {
            purpose: AuditPurpose::Edit,
            stage: "round-1/train".to_owned(),
            digest: digest(),
            at: UnixSeconds(1_800_000_000),
        },
        candidate: CandidateFacts {
            adapter_digest: digest(),
            base_model_digest: digest(),
            tokenizer_digest: digest(),
            parent_adapter_digest: None,
            recipe_digest: digest(),
            seed: 1,
            instruction_set: "avx2".to_owned(),
            context_digests: vec![digest()],
            edits: vec![EditFacts {
                digest: digest(),
                context_digest: digest(),
                keyid: "k".to_owned(),
                writer: "local:miniature".to_owned(),
                policy_digest: digest(),
                prompt_family: "plain".to_owned(),
                temperature_micro: Micro(1_000_000),
                examples: 8,
                bytes: 400,
                labels: Vec::new(),
            }],
        },
        attempts: AttemptFacts { earlier: 0, budget: 64, group: 5, alpha: 0.045 },
        auditor: AuditorFacts {
            version: "test".to_owned(),
            binary_digest: digest(),
            enforcement: Enforcement {
                level: EnforcementLevel::Full,
                landlock_abi: 7,
                seccomp: true,
            },
            trust_root_version: 1,
        },
        gates: Gates {
            bytes: passed(),
            provenance: passed(),
            text: passed(),
            judge: None,
            recomputation: None,
            tau: passed(),
            retention: passed(),
            protected: passed(),
            divergence: None,
        },
        measurements: Measurements {
            labels: Labels::Gold,
            tau_reward: Some(Measurement { dense_gain, ..measured(5, 0.0, 0.6) }),
            tau_confirmation: None,
            protected_own: measured(4, 1.0, 1.0),
            retention: measured(36, 1.0, 0.97),
            protected_others: measured(24, 1.0, 1.0),
            benign: None,
            divergence: None,
        },
    }
}

#[test]
fn every_shipped_policy_passes_its_own_tests() {
    let folders = std::fs::read_dir(shipped("")).unwrap().map(|entry| entry.unwrap().path());
    let mut seen = 0;
    for folder in folders.filter(|path| path.is_dir()) {
        let policy = Policy::new(Bundle::read(&folder).unwrap(), LIMIT)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        println!("{}: {} tests passed", folder.display(), policy.tests());
        assert!(policy.tests() >= 8, "{}", folder.display());
        seen += 1;
    }
    assert!(seen >= 2);
}

#[test]
fn the_standard_policy_allows_what_it_should_and_names_what_it_refuses() {
    assert_eq!(standard().decide(&good()), Said::Allowed);
    let mut leaking = good();
    leaking.measurements.protected_own.candidate.mean = 0.5;
    leaking.gates.protected.outcome = StageOutcome::Failed;
    let said = standard().decide(&leaking);
    assert_eq!(said.reasons(), ["policy.refused", "policy.gates", "policy.refusals"]);
}

/// The same value as another type, and as none.
pub(super) fn other_types(value: &Value) -> Vec<Value> {
    let text = Value::String("zzz".to_owned());
    match value {
        Value::String(_) => vec![Value::from(7), Value::Null, Value::Bool(true)],
        Value::Number(_) => vec![text, Value::from("5"), Value::Null, Value::Bool(true)],
        Value::Bool(_) => vec![text, Value::Null, Value::from(1)],
        Value::Array(_) | Value::Object(_) => vec![text, Value::Null, Value::from(1)],
        Value::Null => vec![text],
    }
}

/// Lists may be shorter; these may be absent. Everything else must be there.
fn may_be_absent(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|name| name.parse::<usize>().is_ok())
}

#[test]
fn no_input_with_a_field_missing_added_or_of_another_type_ever_reaches_a_policy() {
    let value = serde_json::to_value(good()).unwrap();
    let read = |value: &Value| PolicyInput::from_json(value.to_string().as_bytes());
    assert_eq!(read(&value).unwrap(), good());
    let all = paths(&value);
    assert!(all.len() > 60, "{}", all.len());
    for path in &all {
        if !may_be_absent(path) {
            assert!(read(&removed(&value, path)).is_err(), "without {path}");
        }
        for other in other_types(value.pointer(path).unwrap()) {
            let mut changed = value.clone();
            *changed.pointer_mut(path).unwrap() = other.clone();
            assert!(read(&changed).is_err(), "{path} = {other}");
        }
        if let Some(Value::Object(_)) = value.pointer(path) {
            let mut more = value.clone();
            more.pointer_mut(path).unwrap()["stranger"] = Value::from(1);
            assert!(read(&more).is_err(), "a stranger in {path}");
        }
    }
}

/// What the standard policy does not read, so that a broken value there changes nothing.
fn is_unread(path: &str) -> bool {
    let unread = [
        "/request/stage",
        "/request/digest",
        "/request/at",
        "/candidate/",
        "/attempts/budget",
        "/attempts/group",
        "/attempts/alpha",
        "/auditor/version",
        "/auditor/binary_digest",
        "/auditor/trust_root_version",
        "/auditor/enforcement/landlock_abi",
        "/auditor/enforcement/seccomp",
    ];
    let read = ["/candidate/edits", "/candidate/edits/0", "/candidate/edits/0/writer"];
    let details =
        ["/reasons", "/base", "/low", "/high", "/base/mean", "/empty", "/candidate", "/gain"];
    let dense = path.contains("/dense_gain");
    let decides = ["/tau_reward/empty", "/tau_reward/gain", "/dense_gain/low"];
    let fine = details.iter().any(|end| path.ends_with(end)) || path.contains("/base/");
    let fine = fine && !decides.iter().any(|end| path.ends_with(end));
    (unread.iter().any(|start| path.starts_with(start)) && !read.contains(&path))
        || (path.starts_with("/measurements/") && fine)
        || (path.starts_with("/measurements/") && dense && path.ends_with("/mean"))
        || path.contains("/protected_own/gain")
        || path.contains("/protected_others/gain")
        || path.contains("/retention/candidate")
        || path.contains("/tau_reward/candidate")
        || (path.starts_with("/gates/") && path.ends_with("/reasons"))
}

#[test]
fn rego_alone_refuses_every_broken_value_that_the_standard_policy_reads() {
    let (policy, value) = (standard(), serde_json::to_value(good()).unwrap());
    let allowed = |value: &Value| policy.decide_json(&value.to_string()) == Said::Allowed;
    assert!(allowed(&value));
    let all = paths(&value);
    let read: Vec<&String> = all.iter().filter(|path| !is_unread(path)).collect();
    assert!(read.len() >= 25, "{read:?}");
    for path in read {
        // A panel's own object may go if only its parts are read; that is the next path.
        assert!(!allowed(&removed(&value, path)), "allowed without {path}");
        for other in other_types(value.pointer(path).unwrap()) {
            let mut changed = value.clone();
            *changed.pointer_mut(path).unwrap() = other.clone();
            assert!(!allowed(&changed), "allowed with {path} = {other}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Several fields at once, missing or of another type: the types stop it, and where they did not,
    /// Rego alone would.
    #[test]
    fn no_disturbed_input_is_allowed(picks in proptest::collection::vec((any::<Index>(), any::<Index>(), any::<bool>()), 1..4)) {
        let policy = standard();
        let mut value = serde_json::to_value(good()).unwrap();
        let mut read = false;
        for (field, type_, remove) in picks {
            let mut all = paths(&value);
            all.retain(|path| !may_be_absent(path));
            let path = &all[field.index(all.len())];
            read |= !is_unread(path);
            value = if remove { removed(&value, path) } else {
                let mut changed = value.clone();
                let place = changed.pointer_mut(path).unwrap();
                let others = other_types(place);
                *place = others[type_.index(others.len())].clone();
                changed
            };
        }
        let bytes = serde_json::to_vec(&value).unwrap();
        prop_assert!(PolicyInput::from_json(&bytes).is_err(), "{value}");
        if read {
            prop_assert_ne!(policy.decide_json(&value.to_string()), Said::Allowed, "{}", value);
        }
    }
}

#[test]
fn a_deny_list_fails_open_on_a_missing_figure_which_the_types_do_not_let_through() {
    let deny_list = policy(
        "default allow := false\n\nallow if count(deny) == 0\n\n\
         deny contains \"loss\" if input.measurements.retention.gain.mean < -0.05",
    )
    .unwrap();
    let without = removed(&serde_json::to_value(good()).unwrap(), "/measurements/retention");
    assert_eq!(deny_list.decide_json(&without.to_string()), Said::Allowed, "the trap itself");
    assert!(PolicyInput::from_json(without.to_string().as_bytes()).is_err());
}

#[test]
fn only_literally_true_allows_and_every_other_end_has_its_name() {
    let cases = [
        ("allow if true", Said::Allowed),
        ("default allow := false", Said::Refused(Vec::new())),
        ("allow if input.version == 99", Said::Undefined),
        ("allow := \"true\"", Said::NotBoolean),
        ("allow := 1", Said::NotBoolean),
        ("allow contains \"everything\"", Said::NotBoolean),
        ("allow := null", Said::NotBoolean),
    ];
    for (rules, expected) in cases {
        let said = policy(rules).unwrap().decide(&good());
        assert_eq!(said, expected, "{rules}");
        assert_eq!(said.reasons().is_empty(), said == Said::Allowed, "{rules}");
    }
    let errors = [
        "allow if to_number(\"x\") == 1",
        "allow if not to_number(\"x\")",
        "allow if no.such.function(1)",
        "allow := true\n\nallow := false",
    ];
    for rules in errors {
        let said = policy(rules).unwrap().decide(&good());
        assert_eq!(said.reasons(), ["policy.error"], "{rules}: {said:?}");
    }
}

#[test]
fn a_policy_that_does_not_come_to_an_end_refuses_in_time() {
    let rules = "allow if {\n\tsome a in input.n\n\tsome b in input.n\n\tsome c in input.n\n\t\
                 some d in input.n\n\ta + b + c + d < 0\n}\n";
    let text = format!("package seal\n\nimport rego.v1\n\n{rules}\n\ntest_holds if true\n");
    let policy =
        Policy::new(Bundle::of([("policy.rego", text.as_str())]), Duration::from_millis(50));
    let numbers: Vec<u32> = (0..1000).collect();
    let said = policy.unwrap().decide_json(&serde_json::json!({ "n": numbers }).to_string());
    assert_eq!(said.reasons(), [TIMEOUT]);
}

#[test]
fn reasons_are_names_and_never_texts() {
    let rules = "default allow := false\n\n\
                 reasons contains \"known-name\"\n\nreasons contains \"a whole sentence\\u001b[2J\"\n\n\
                 reasons contains 7";
    let said = policy(rules).unwrap().decide(&good());
    assert_eq!(said, Said::Refused(vec!["known-name".to_owned()]));
}

#[test]
fn chance_clock_and_network_are_not_available() {
    for call in ["rand.intn(\"x\", 2)", "time.now_ns()", "http.send({})", "numbers.range(1, 9)"] {
        let refused = policy(&format!("allow if {call} == 1")).err().unwrap();
        assert!(matches!(refused, PolicyError::Forbidden { line: 5, .. }), "{refused}");
    }
    // Reached by a spelling that no scan of the text knows.
    let said = policy("allow if rand[\"intn\"](\"x\", 1) == 0");
    assert!(said.is_err() || said.unwrap().decide(&good()) != Said::Allowed);
}

#[test]
fn a_policy_without_tests_or_with_a_failing_one_or_without_allow_does_not_load() {
    let load = |text: &str| Policy::new(Bundle::of([("policy.rego", text)]), LIMIT).err().unwrap();
    let no_test = load("package seal\n\ndefault allow := false\n");
    assert!(matches!(no_test, PolicyError::NoTest), "{no_test}");
    let failing = load("package seal\n\nallow if true\n\ntest_refuses if not allow\n");
    assert!(failing.to_string().contains("test_refuses"), "{failing}");
    let no_allow = load("package seal\n\nalow if true\n\ntest_a if true\n");
    assert!(matches!(no_allow, PolicyError::NoAllow), "{no_allow}");
    let broken = load("package seal\n\nallow if {\n");
    assert!(matches!(broken, PolicyError::Rego(_)), "{broken}");
}

#[test]
fn a_folder_with_anything_that_only_opa_would_load_is_no_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    assert!(matches!(Bundle::read(folder.path()), Err(BundleError::Empty { .. })));
    std::fs::write(at("policy.rego"), "package seal\n").unwrap();
    std::fs::write(at("README.md"), "words").unwrap();
    let digest = Bundle::read(folder.path()).unwrap().digest().unwrap();
    for stranger in ["more.json", "data.yaml", "extra.yml"] {
        std::fs::write(at(stranger), "{}").unwrap();
        let refused = Bundle::read(folder.path()).unwrap_err();
        assert!(refused.to_string().contains(stranger), "{refused}");
        std::fs::remove_file(at(stranger)).unwrap();
    }
    std::fs::create_dir(at("sub")).unwrap();
    assert!(Bundle::read(folder.path()).is_err());
    std::fs::remove_dir(at("sub")).unwrap();
    std::fs::write(at("data.json"), "{}").unwrap();
    assert_ne!(Bundle::read(folder.path()).unwrap().digest().unwrap(), digest, "data is policy");
}

#[test]
fn a_kept_bundle_reads_back_only_under_its_own_name() {
    let bundle = Bundle::of([("a.rego", "package seal\n")]);
    let (bytes, digest) = (bundle.to_bytes().unwrap(), bundle.digest().unwrap());
    assert_eq!(Bundle::from_bytes(&bytes, digest).unwrap(), bundle);
    let mut changed = bytes.clone();
    changed[20] ^= 1;
    assert!(Bundle::from_bytes(&changed, digest).is_err());
}

/// A world whose policy refuses whatever the gate accepted.
fn world_with(rules: &str) -> World {
    let mut world = World::new();
    world.policy = Some(policy(rules).unwrap());
    world
}

#[test]
fn what_the_gate_accepts_the_written_policy_can_refuse() {
    let world = world_with(
        "default allow := false\n\nreasons contains \"writer\" if \
         input.candidate.edits[0].writer == \"local:test\"",
    );
    let audited =
        world.auditor().audit(world.group(AuditPurpose::Edit, 0, &[Skill::default()])).unwrap();
    assert_eq!(audited.verdict, None);
    let reasons = vec!["policy.refused".to_owned(), "policy.writer".to_owned()];
    assert_eq!(attempts(&world), [(Decision::Reject, reasons)]);
}

#[test]
fn a_written_policy_binds_under_the_authors_rule_too() {
    let mut world = world_with("default allow := false");
    world.settings.selection = crate::selection::Selection::Paper;
    let group = world.group(AuditPurpose::Edit, 0, &[Skill::default()]);
    assert_eq!(world.auditor().audit(group).unwrap().verdict, None);
}

#[test]
fn what_the_gate_refuses_no_policy_can_accept() {
    let world = world_with("allow if true");
    let leaking = Skill { leaks: true, ..Skill::default() };
    let audited = world.auditor().audit(world.group(AuditPurpose::Edit, 0, &[leaking])).unwrap();
    assert_eq!(audited.verdict, None);
}

#[test]
fn the_shipped_policy_judges_real_groups_and_its_digest_stands_in_the_verdict() {
    let mut world = World::new();
    world.policy = Some(standard());
    let mut auditor = world.auditor();
    let audited = auditor.audit(world.group(AuditPurpose::Edit, 0, &[Skill::default()])).unwrap();
    let payload = seal_trust::payload_bytes(&audited.verdict.unwrap()).unwrap();
    let verdict: seal_protocol::Statement<Verdict> = serde_json::from_slice(&payload).unwrap();
    assert_eq!(verdict.predicate.policy_bundle_digest, Some(standard().digest()));
    auditor.audit(world.group(AuditPurpose::Evaluation, 1, &[Skill::default()])).unwrap();
    assert_eq!(attempts(&world).pop().unwrap().0, Decision::Measured, "nothing was asked for");
    drop(auditor);
    let now = crate::testing::NOW;
    crate::offline::verify_state(&world.state(), &world.root.clone().into(), now).unwrap();
}

#[test]
fn what_a_policy_said_follows_from_the_annex_and_from_no_other_policy() {
    let mut world = World::new();
    world.policy = Some(standard());
    world.auditor().audit(world.group(AuditPurpose::Edit, 0, &[Skill::default()])).unwrap();
    let digest = match rows(&world).pop().unwrap().event {
        seal_protocol::LedgerEvent::Attempt(attempt) => attempt.metrics_annex_digest,
        other => panic!("{other:?}"),
    };
    let annex = crate::offline::annex(&world.state(), &digest).unwrap();
    let recorded: Vec<_> = annex.candidates.iter().map(|c| c.ruling.clone()).collect();
    assert_eq!(annex.ruled_again(Some(&standard())).unwrap(), recorded);
    assert!(annex.ruled_again(None).is_err());
    assert!(annex.ruled_again(Some(&policy("allow if true").unwrap())).is_err());
    let mut altered = annex.clone();
    altered.candidates[0].facts.as_mut().unwrap().candidate.edits[0].writer = "mail:x".to_owned();
    assert_ne!(altered.ruled_again(Some(&standard())).unwrap(), recorded);
    let input = annex.policy_input(&annex.candidates[0]).unwrap().unwrap();
    assert_eq!(standard().decide(&input), Said::Allowed);
}

#[test]
fn a_change_of_policy_is_a_row_of_the_ledger_and_both_bundles_are_kept() {
    let mut world = world_with("allow if true");
    drop(world.auditor());
    drop(world.auditor());
    assert_eq!(rows(&world).len(), 1);
    world.policy = Some(policy("allow if input.version == 1").unwrap());
    drop(world.auditor());
    let rows = rows(&world);
    assert_eq!(rows.len(), 2);
    assert_ne!(rows[0].event, rows[1].event);
    assert_eq!(std::fs::read_dir(world.state().join("policies")).unwrap().count(), 2);
    crate::offline::verify_state(&world.state(), &world.root.clone().into(), crate::testing::NOW)
        .unwrap();
}

#[test]
fn the_shipped_example_is_an_input_that_the_standard_policy_allows() {
    let file = shipped("example-input.json");
    let text = serde_json::to_string_pretty(&good()).unwrap() + "\n";
    let there = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(there == text, "write `{}` anew:\n{text}", file.display());
    assert_eq!(standard().decide(&good()), Said::Allowed);
}

#[test]
fn examining_a_policy_tells_what_it_demands_and_what_it_does_not_look_at() {
    let examined = examine(&standard(), &good(), 3);
    assert_eq!((examined.said, examined.took.len()), (Said::Allowed, 3));
    let demanded = |path: &str| examined.demanded.iter().any(|one| one == path);
    assert!(demanded("/measurements/tau_reward/dense_gain/low"));
    assert!(demanded("/auditor/enforcement/level"));
    assert!(examined.not_asked.iter().any(|one| one == "/candidate/recipe_digest"));
    let deaf = policy("default allow := true").unwrap();
    let examined = examine(&deaf, &good(), 1);
    assert_eq!(examined.demanded, [""; 0], "it allows whatever is missing");
    let never = policy("default allow := false").unwrap();
    let examined = examine(&never, &good(), 1);
    assert_eq!((examined.demanded.len(), examined.not_asked.len()), (0, 0));
}
