//! A policy in a GGUF file writes, is held to a schema, is talked to by its own template and learns, as
//! one in a folder does.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};

use common::{Bench, content, free, remote_config, stage};
use seal_protocol::{PolicyUpdateRequest, ProposeRequest, ReplySchema};
use seal_teacher::{Identity, PolicySource, Teacher, TeacherConfig, TeacherError, policy_digest};

fn golden(file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/model/tests/golden/gguf");
    folder.join(file).display().to_string()
}

/// A teacher whose policy is a file; `more` follows [backend].
fn config(policy: &str, family: &str, layout: &str, more: &str) -> String {
    let top = format!("policy = \"{policy}\"\nkey = ");
    remote_config(&format!("[backend]\nkind = \"local\"\n{more}\n"))
        .replace("key = \"keys/teacher.pem\"\nexit", &format!("{}\"keys/teacher.pem\"\nexit", top))
        .replace("\"implications\"", &format!("\"{family}\""))
        .replace("layout = \"chat\"", &format!("layout = \"{layout}\""))
        .replace("max_new_tokens = 100", "max_new_tokens = 60")
}

const UPDATE: &str = "[policy_update]\nlearning_rate = 1e-3\nlr_scheduler_type = \"constant\"\n\
    adam_betas = [0.9, 0.999]\nadam_epsilon = 1e-8\nweight_decay = 0.0\nbatch = 4\nepochs = 1\n\
    directive_weight = 1.0\nreplay = []\n";
const LORA: &str = "[policy_update.lora]\nr = 2\nlora_alpha = 4\ntarget_modules = \"all-linear\"\n";

fn refused(text: &str) -> TeacherError {
    let folder = stage(text);
    let config = TeacherConfig::load(&folder.path().join("teacher.toml")).unwrap();
    std::fs::create_dir_all(&config.state).unwrap();
    let identity = Identity::read(&config, common::NOW).unwrap();
    let clock = seal_service::clock::FixedClock::at(common::NOW);
    match Teacher::load(config, identity, std::sync::Arc::new(clock)) {
        Err(error) => error,
        Ok(_) => panic!("it was taken"),
    }
}

#[test]
fn a_file_writes_and_learns_in_turns_by_adapters_and_in_all_its_weights() {
    for (lora, file) in [(LORA, "adapter_model.safetensors"), ("", "model.safetensors")] {
        let more = format!("{UPDATE}{lora}");
        let mut bench =
            Bench::with_config(&config(&golden("llama/q8_0.gguf"), "implications", "chat", &more));
        let first = bench.teacher.first_policy_digest();
        let edits = bench.propose(&free(&[0, 1, 2], 4)).unwrap().edits;
        assert!(edits.len() >= 4, "{} edits", edits.len());
        let again = bench.propose(&free(&[0, 1, 2], 4)).unwrap().edits;
        assert_eq!(edits, again, "policy, prompt and seed fix a reply");
        let verdicts = bench.accept_all(&edits);
        bench.show(&verdicts);
        let request = PolicyUpdateRequest {
            stage: "round-1".to_owned(),
            parent_policy_digest: None,
            verdicts,
            seed: 7,
        };
        let learned = bench.teacher.policy_update(&request, &mut |_, _| {}).unwrap().policy_digest;
        assert_ne!(learned, first);
        let folder = bench.config.state.join(format!("policies/{learned}"));
        assert!(folder.join(file).is_file(), "{file}");
        // Anyone finds the names again from the files.
        let source = bench.config.policy_source();
        assert_eq!(source.digest().unwrap(), first);
        assert_eq!(policy_digest(&folder, &source).unwrap(), learned);
        let mut bench = bench.reopen();
        let by = ProposeRequest { policy_digest: Some(learned), ..free(&[0], 2) };
        let written = bench.propose(&by).unwrap();
        assert_eq!(written.edits.len() + written.unparsed.len(), 2);
    }
}

#[test]
fn a_file_is_held_to_the_schema_by_its_own_tokenizer() {
    let text = config(&golden("llama/f32.gguf"), "structured", "plain", "");
    let mut bench =
        Bench::with_config(&text.replace("max_new_tokens = 60", "max_new_tokens = 240"));
    let proposals = bench.propose(&free(&[0, 1, 2], 4)).unwrap();
    let held: Vec<_> =
        proposals.edits.iter().map(|edit| content(edit).origin.reply_schema).collect();
    assert!(held.iter().all(|held| *held == Some(ReplySchema::Decoder)));
    assert_eq!(held.len() + proposals.unparsed.len(), 12);
    let kinds = ["it ends in the middle", "control character", "no text to train on", "must have"];
    for one in &proposals.unparsed {
        assert!(kinds.iter().any(|kind| one.reason.contains(kind)), "{}", one.reason);
    }
}

#[test]
fn another_tokenizer_is_another_policy() {
    let file = PathBuf::from(golden("llama/q4_0.gguf"));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), "{}").unwrap();
    let own = PolicySource { model: file.clone(), tokenizer: None };
    let other = PolicySource { model: file, tokenizer: Some(folder.path().to_owned()) };
    assert_ne!(own.digest().unwrap(), other.digest().unwrap());
}

#[test]
fn what_cannot_work_is_refused_at_the_start_by_name() {
    let none = golden("blocks/mixed.gguf");
    for (text, parts) in [
        // No tokenizer in the file, none given.
        (config(&none, "implications", "plain", ""), ["mixed.gguf", "`tokenizer` under [backend]"]),
        // A folder has its own.
        (
            config("base", "implications", "plain", "tokenizer = \"base\""),
            ["base` has a tokenizer", "leave it out"],
        ),
        // No template.
        (
            config(&golden("blocks/../llama/none.gguf"), "implications", "chat", ""),
            ["none.gguf", "is no file"],
        ),
        (
            config("base", "implications", "chat", ""),
            ["`layout = \"chat\"`", "`layout = \"plain\"`"],
        ),
        // A table for turns, and none are taken.
        (
            config(&golden("llama/f32.gguf"), "implications", "plain", "[chat]\nsystem = \"x\""),
            ["[chat]", "`layout = \"chat\"`"],
        ),
    ] {
        let error = format!("{:#}", anyhow::Error::from(refused(&text)));
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
    // The student's base is never a file.
    let text = config(&golden("llama/f32.gguf"), "implications", "plain", "");
    let file = golden("llama/f32.gguf");
    let text = text.replace("base_model = \"base\"", &format!("base_model = \"{file}\""));
    let error = refused(&text).to_string();
    assert!(error.contains("`base_model`") && error.contains("`policy`"), "{error}");
}
