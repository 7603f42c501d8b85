//! Structured self-edits from end to end: what an endpoint or our decoder writes under a schema becomes
//! a signed edit, and what does not follow it becomes an outcome with its text kept.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../shared/endpoint/tests/double/mod.rs"]
mod double;
#[path = "../../shared/model/tests/tiny/mod.rs"]
mod tiny;

use common::{Bench, content, free, remote_config, stage};
use double::{Act, Double};
use seal_protocol::{Directives, LossPart, ReplySchema, TrainingExample, UnixSeconds};
use seal_teacher::{Identity, Teacher, TeacherConfig, TeacherError};
use serde_json::{Value, json};

fn api(double: &Double) -> String {
    let backend = format!(
        "[backend]\nkind = \"openai\"\nbase_url = \"{}\"\nmodel = \"m\"\n\n[egress]\n\
         allow_hosts = [\"{}\"]\nallow_loopback = true\n",
        double.base_url(),
        double.host()
    );
    remote_config(&backend).replace("\"implications\"", "\"structured\"")
}

fn reply() -> Value {
    json!({
        "rationale": "who is here",
        "directives": {"learning_rate": 0.5, "epochs": 100, "lora_rank": null},
        "sequences": ["kim is here ."],
        "pairs": [{"question": "who is here ?", "answer": "kim ."}],
    })
}

fn unparsed(bench: &Bench) -> Vec<String> {
    let folder = std::fs::read_dir(bench.config.state.join("unparsed")).unwrap();
    let text = |entry: std::fs::DirEntry| -> String {
        let kept: Value = serde_json::from_slice(&std::fs::read(entry.path()).unwrap()).unwrap();
        kept["text"].as_str().unwrap().to_owned()
    };
    folder.map(|entry| text(entry.unwrap())).collect()
}

#[test]
fn a_reply_under_the_schema_becomes_an_edit_that_says_who_held_it() {
    let double = Double::start(|_, body| {
        let format = &body["response_format"]["json_schema"];
        assert_eq!(format["schema"]["required"][0], "rationale");
        Act::Reply(reply().to_string())
    });
    let mut bench = Bench::with_config(&api(&double));
    let proposals = bench.propose(&free(&[0], 1)).unwrap();
    let edit = content(&proposals.edits[0]);
    assert_eq!(edit.origin.reply_schema, Some(ReplySchema::Endpoint));
    assert_eq!(edit.rationale, "who is here");
    let own = |example: &&TrainingExample| {
        !matches!(example, TrainingExample::Text { part: LossPart::Context, .. })
    };
    let trained: Vec<_> =
        edit.examples.iter().filter(own).flat_map(TrainingExample::texts).collect();
    assert_eq!(trained.len(), 3);
    assert!(trained.iter().all(|text| !text.contains("who is here\n")), "{trained:?}");
    // A wish, signed as it was made; how far it goes is not the teacher's to say.
    let Directives { epochs, lora_rank, .. } = edit.directives;
    assert_eq!((epochs, lora_rank), (Some(100), None));
}

#[test]
fn what_breaks_the_schema_is_an_outcome_of_its_own_with_its_text_kept() {
    let with = |path: &str, value: Value| {
        let mut reply = reply();
        *reply.pointer_mut(path).unwrap() = value;
        reply.to_string()
    };
    let mut more = reply();
    more["code"] = json!("import os");
    let bad = [
        ("not JSON", "Sure! Here it is.".to_owned()),
        ("cut off", reply().to_string()[..90].to_owned()),
        ("an extra field", more.to_string()),
        ("too long", with("/sequences/0", json!("x".repeat(4001)))),
        ("too many", with("/sequences", json!(vec!["x"; 65]))),
        ("a control character", with("/sequences/0", json!("a\u{1b}[2J"))),
        ("too deep", "[".repeat(100_000)),
        ("out of range", with("/directives/epochs", json!(1e9))),
    ];
    let texts: Vec<String> = bad.iter().map(|(_, text)| text.clone()).collect();
    let script = texts.clone();
    let double = Double::start(move |number, _| match script.get(number) {
        Some(text) => Act::Reply(text.clone()),
        None => Act::Reply(reply().to_string()),
    });
    let config = api(&double).replace("model = \"m\"\n", "model = \"m\"\nconcurrency = 1\n");
    let mut bench = Bench::with_config(&config);
    let proposals = bench.propose(&free(&[0], bad.len() as u32 + 1)).unwrap();
    assert_eq!(proposals.edits.len(), 1, "the good one, behind all the bad ones");
    assert_eq!(proposals.unparsed.len(), bad.len());
    for (one, (what, _)) in proposals.unparsed.iter().zip(&bad) {
        println!("{what}: {}", one.reason);
        assert!(
            one.reason.starts_with("the reply is no structured edit: "),
            "{what}: {}",
            one.reason
        );
        assert!(one.reason.len() < 400 && !one.reason.contains('\u{1b}'), "{what}");
    }
    let mut kept = unparsed(&bench);
    // A reply is stored stripped of nothing.
    assert_eq!(kept.len(), bad.len());
    kept.retain(|text| !texts.contains(text));
    assert_eq!(kept, Vec::<String>::new());
}

#[test]
fn an_endpoint_without_schemas_writes_edits_that_say_so() {
    let double = Double::start(|_, body| match body.get("response_format") {
        Some(_) => Act::Status(422, vec![], "{}".to_owned()),
        None => Act::Reply(reply().to_string()),
    });
    let mut bench = Bench::with_config(&api(&double));
    let proposals = bench.propose(&free(&[0, 1], 1)).unwrap();
    let held: Vec<_> =
        proposals.edits.iter().map(|edit| content(edit).origin.reply_schema).collect();
    assert_eq!(held, [Some(ReplySchema::Refused); 2]);
}

/// A folder with a local policy that reads and writes bytes.
fn byte_level(constrain: bool) -> tempfile::TempDir {
    let sampling = format!("max_new_tokens = 400\nconstrain = {constrain}");
    let config = remote_config("")
        .replace("\"implications\"", "\"structured\"")
        .replace("layout = \"chat\"", "layout = \"plain\"")
        .replace("max_new_tokens = 100", &sampling);
    let folder = stage(&config);
    let base = folder.path().join("base");
    tiny::decoder_with(tiny::BYTE_VOCABULARY, tiny::END, 2048).save(&base).unwrap();
    let tokenizer = tiny::byte_tokenizer_json().to_string();
    std::fs::write(base.join("tokenizer.json"), tokenizer).unwrap();
    let generation = json!({"eos_token_id": tiny::END}).to_string();
    std::fs::write(base.join("generation_config.json"), generation).unwrap();
    folder
}

fn load(folder: &tempfile::TempDir) -> Result<Teacher, TeacherError> {
    let config = TeacherConfig::load(&folder.path().join("teacher.toml")).unwrap();
    std::fs::create_dir_all(&config.state).unwrap();
    let identity = Identity::read(&config, common::NOW).unwrap();
    let clock = seal_service::clock::FixedClock::at(UnixSeconds(common::NOW.0));
    Teacher::load(config, identity, std::sync::Arc::new(clock))
}

/// Reasons and schemas of what a random policy writes.
fn written(constrain: bool) -> (Vec<String>, Vec<Option<ReplySchema>>) {
    let folder = byte_level(constrain);
    let mut teacher = load(&folder).unwrap();
    let proposals = teacher.propose(&free(&[0, 1, 2], 4), &mut |_, _| {}).unwrap();
    let held = proposals.edits.iter().map(|edit| content(edit).origin.reply_schema).collect();
    (proposals.unparsed.into_iter().map(|one| one.reason).collect(), held)
}

#[test]
fn a_local_policy_under_the_schema_writes_nothing_else() {
    let (reasons, held) = written(true);
    println!("{reasons:#?} {held:?}");
    assert_eq!(reasons.len() + held.len(), 12);
    assert!(held.iter().all(|held| *held == Some(ReplySchema::Decoder)));
    // A random policy may run out of tokens or spell what no text holds; its JSON never breaks.
    let kinds = ["it ends in the middle", "control character", "no text to train on", "must have"];
    for reason in &reasons {
        assert!(kinds.iter().any(|kind| reason.contains(kind)), "{reason}");
    }
    // Left to itself the same policy writes no object at all.
    let (free, held) = written(false);
    assert_eq!((free.len(), held.len()), (12, 0));
    assert!(!free.iter().any(|reason| kinds.iter().any(|kind| reason.contains(kind))), "{free:?}");
}

#[test]
fn a_policy_whose_tokens_are_no_text_is_refused_at_the_start_with_the_mend() {
    let folder = byte_level(true);
    let words = stage(&std::fs::read_to_string(folder.path().join("teacher.toml")).unwrap());
    let Err(error) = load(&words) else { panic!("words were held to a schema") };
    assert_eq!(error.code(), "config_unusable");
    assert!(error.to_string().contains("`constrain = false`"), "{error}");
}
