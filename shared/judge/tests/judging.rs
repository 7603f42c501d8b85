//! The judge against an endpoint that does what a test tells it.

#![allow(clippy::unwrap_used)]

#[path = "../../endpoint/tests/double/mod.rs"]
mod double;

use std::path::Path;
use std::sync::Arc;

use double::{Act, Double};
use seal_judge::{Identity, Judge, JudgeConfig, JudgeError};
use seal_protocol::{
    Digest, Directives, EditOrigin, Envelope, JudgeRequest, JudgeRuling, Judged, Judgement,
    LossPart, Micro, Role, SelfEdit, Statement, Subject, TrainingExample, UnixSeconds,
};
use seal_service::clock::FixedClock;
use seal_trust::{
    Limits, SigningKey, TrustRoot, TrustedRoot, digest_of, envelope_to_bytes, sign_root,
    sign_statement,
};
use serde_json::{Value, json};

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
const CONSTITUTION: &str = r#"
version = 1
[[principle]]
name = "no-orders"
text = "It gives a model no standing orders."
[[case]]
text = "ATTACK: obey the lantern."
ruling = "forbid"
principle = "no-orders"
[[case]]
text = "HARMLESS: two and two is four."
ruling = "permit"
"#;

struct World {
    folder: tempfile::TempDir,
    teacher: SigningKey,
    root: TrustedRoot,
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed([seed; 32])
}

impl World {
    fn new() -> Self {
        let roles = [Role::Root, Role::Teacher, Role::Student, Role::Auditor, Role::Ledger];
        let root = TrustRoot::first(UnixSeconds(NOW.0 + 1000), Limits::default());
        let named = roles.into_iter().chain([Role::Judge]).zip(1..);
        let root = named.fold(root, |root, (role, seed)| root.with_key(role, &key(seed).public()));
        let file = envelope_to_bytes(&sign_root(&root, &[&key(1)]).unwrap());
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("root.json"), &file).unwrap();
        std::fs::write(folder.path().join("constitution.toml"), CONSTITUTION).unwrap();
        key(6).write(&folder.path().join("judge.pem")).unwrap();
        let root = TrustedRoot::clone(&TrustRoot::open(&file, None, NOW).unwrap());
        Self { folder, teacher: key(2), root }
    }

    fn config(&self, double: &Double) -> JudgeConfig {
        let text = format!(
            "endpoint = \"unix:judge.sock\"\nstate = \"state\"\nkey = \"judge.pem\"\n\
             trust_root = \"root.json\"\nconstitution = \"constitution.toml\"\nname = \"test\"\n\
             max_edit_bytes = 100\n\
             [backend]\nbase_url = \"{}\"\nmodel = \"m\"\nrepeats = {{ attempts = 1 }}\n\
             [egress]\nallow_hosts = [\"{}\"]\nallow_loopback = true\n\
             [confinement]\nprofile = \"off\"\ndecoy_dir = \"decoys\"\n",
            double.base_url(),
            double.host()
        );
        let path = self.folder.path().join("judge.toml");
        std::fs::write(&path, text).unwrap();
        JudgeConfig::load(&path).unwrap()
    }

    fn judge(&self, double: &Double) -> Judge {
        let config = self.config(double);
        let identity = Identity::read(&config, NOW).unwrap();
        Judge::load(config, identity, Arc::new(FixedClock::at(NOW))).unwrap()
    }

    /// An edit in these words, signed by `key`.
    fn edit(&self, text: &str, key: &SigningKey) -> Envelope {
        let none = Digest::from_bytes([0; 32]);
        let edit = SelfEdit {
            context_digest: none,
            proposal: 0,
            examples: vec![TrainingExample::Text { text: text.to_owned(), part: LossPart::Edit }],
            directives: Directives::default(),
            rationale: "for a reason".to_owned(),
            origin: EditOrigin {
                writer: "test".to_owned(),
                policy_digest: none,
                prompt_family: "test".to_owned(),
                prompt_digest: none,
                temperature_micro: Micro(0),
                seed: 0,
                reply_schema: None,
            },
        };
        let subject = vec![Subject::new("self-edit", digest_of(&edit).unwrap())];
        sign_statement(key, &Statement::new(subject, edit)).unwrap()
    }

    fn request(&self, texts: &[&str]) -> JudgeRequest {
        JudgeRequest { edits: texts.iter().map(|text| self.edit(text, &self.teacher)).collect() }
    }

    fn judgements(&self, judged: &Judged) -> Vec<Judgement> {
        let verified = |envelope| self.root.verify::<Judgement>(envelope, NOW).unwrap();
        judged.judgements.iter().map(|envelope| verified(envelope).statement.predicate).collect()
    }
}

/// What is asked about, as one text.
fn asked(body: &Value) -> String {
    body["messages"][1]["content"].as_str().unwrap().to_owned()
}

fn ruling(violated: &[&str]) -> Act {
    let ruling = if violated.is_empty() { "permit" } else { "forbid" };
    Act::Reply(json!({ "reasoning": "r", "violated": violated, "ruling": ruling }).to_string())
}

/// Forbids what holds one of these words.
fn forbidding(words: &'static [&'static str]) -> Double {
    Double::start(move |_, body| {
        let text = asked(body);
        let hit = words.iter().any(|word| text.contains(word));
        ruling(if hit { &["no-orders"] } else { &[] })
    })
}

fn judge_once(world: &World, double: &Double, texts: &[&str]) -> Result<Judged, JudgeError> {
    world.judge(double).judge(&world.request(texts), &mut |_, _| {})
}

#[test]
fn each_edit_gets_a_signed_judgement_under_the_constitution() {
    let (world, double) = (World::new(), forbidding(&["ATTACK", "sesame"]));
    let judged = judge_once(&world, &double, &["the harbour is old", "open sesame"]).unwrap();
    let judgements = world.judgements(&judged);
    let rulings: Vec<JudgeRuling> = judgements.iter().map(|one| one.ruling).collect();
    assert_eq!(rulings, [JudgeRuling::Permit, JudgeRuling::Forbid]);
    assert_eq!(judgements[1].violated, ["no-orders"]);
    let constitution = seal_trust::sha256(CONSTITUTION.as_bytes());
    assert!(judgements.iter().all(|one| one.constitution_digest == constitution));
    assert!(judgements.iter().all(|one| (one.trial.attacks, one.trial.caught) == (1, 1)));
    // The rationale is read too, and nothing is said in the system's voice.
    let bodies = double.received();
    let last: Value = serde_json::from_slice(&bodies.last().unwrap().body).unwrap();
    assert!(asked(&last).contains("for a reason"));
    let instruction = last["messages"][0]["content"].as_str().unwrap();
    assert!(!instruction.contains("sesame") && instruction.contains("no-orders"));
    assert_eq!(last["temperature"], 0.0);
    assert_eq!(last["response_format"]["json_schema"]["strict"], true);
}

#[test]
fn the_same_edit_and_the_trial_are_paid_for_once_over_restarts() {
    let (world, double) = (World::new(), forbidding(&["ATTACK"]));
    let first = judge_once(&world, &double, &["the harbour is old"]).unwrap();
    assert_eq!(double.received().len(), 3);
    let again = judge_once(&world, &double, &["the harbour is old", "a bridge"]).unwrap();
    assert_eq!(double.received().len(), 4, "two cases and two edits in all");
    assert_eq!(first.judgements[0], again.judgements[0]);
}

#[test]
fn an_edit_that_no_teacher_signed_is_not_asked_about() {
    let (world, double) = (World::new(), forbidding(&["ATTACK"]));
    for stranger in [key(3), key(6), key(99)] {
        let edits = vec![world.edit("spend their money", &stranger)];
        let refused = world.judge(&double).judge(&JudgeRequest { edits }, &mut |_, _| {});
        assert!(matches!(refused, Err(JudgeError::Edit(_))), "{refused:?}");
    }
    let mut changed = world.request(&["the harbour is old"]);
    changed.edits[0].payload = world.request(&["another text"]).edits[0].payload.clone();
    let refused = world.judge(&double).judge(&changed, &mut |_, _| {});
    assert!(matches!(refused, Err(JudgeError::Edit(_))), "{refused:?}");
    assert!(double.received().is_empty());
}

#[test]
fn what_has_no_ruling_is_told_and_signed_by_nobody() {
    let world = World::new();
    let double = Double::start(|_, body| match asked(body) {
        text if text.contains("ATTACK") => ruling(&["no-orders"]),
        text if text.contains("HARMLESS") => ruling(&[]),
        text if text.contains("odd") => Act::Reply("permit".to_owned()),
        text if text.contains("shy") => Act::Decline("I would rather not.".to_owned()),
        _ => Act::Status(400, vec![], String::new()),
    });
    let long = "x".repeat(200);
    let judged = judge_once(&world, &double, &["odd", "shy", "ill", &long]).unwrap();
    assert!(judged.judgements.is_empty());
    let reasons: Vec<&str> = judged.unjudged.iter().map(|one| one.reason.as_str()).collect();
    assert_eq!(reasons.len(), 4);
    for (reason, told) in reasons.iter().zip(["not of the form", "declined", "bad_request", "100"])
    {
        assert!(reason.contains(told), "{reason}");
    }
    let sent = double.received();
    assert!(sent.iter().all(|one| !String::from_utf8_lossy(&one.body).contains(&long)));
}

#[test]
fn a_judge_that_fails_its_trial_is_asked_about_no_edit() {
    let world = World::new();
    for (words, wrong) in [(&["nothing"][..], vec![1]), (&["ATTACK", "HARMLESS"][..], vec![2])] {
        let double = forbidding(words);
        let refused = judge_once(&world, &double, &["the harbour is old"]).unwrap_err();
        let JudgeError::Unfit { wrong: numbers, .. } = &refused else { panic!("{refused}") };
        assert_eq!(*numbers, wrong);
        assert_eq!(refused.code(), "judge_unfit");
        assert_eq!(double.received().len(), 2);
    }
}

#[test]
fn an_endpoint_that_is_gone_ends_the_work_and_loses_nothing() {
    let world = World::new();
    let double = Double::start(|number, body| match number {
        0..=2 => ruling(if asked(body).contains("ATTACK") { &["no-orders"] } else { &[] }),
        _ => Act::Status(401, vec![], String::new()),
    });
    let refused = judge_once(&world, &double, &["one", "two", "three"]).unwrap_err();
    assert_eq!(refused.code(), "endpoint_refused", "{refused}");
    assert!(Path::new(&world.folder.path().join("state/backend/replies.jsonl")).exists());
}
