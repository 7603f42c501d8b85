//! A policy that learns by adapters: small updates over the first policy, each on top of the last.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::PathBuf;

use common::{Bench, sampled, signed};
use seal_model::{Adapter, ModelFolder};
use seal_protocol::{Digest, Envelope, PolicyUpdateRequest, PolicyUpdated, ProposeRequest};

const LORA: &str =
    "[policy_update.lora]\nr = 2\nlora_alpha = 4\ntarget_modules = \"all-linear\"\n\n";

fn config(lora: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/miniature/teacher.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.replace("batch = 200", "batch = 5").replace("epochs = 8", "epochs = 2");
    text.replace("[ledger]", &format!("{lora}[ledger]"))
}

fn learn(
    bench: &mut Bench,
    stage: &str,
    parent: Option<Digest>,
    verdicts: &[Envelope],
) -> Result<PolicyUpdated, &'static str> {
    let request = PolicyUpdateRequest {
        stage: stage.to_owned(),
        parent_policy_digest: parent,
        verdicts: verdicts.to_vec(),
        seed: 7,
    };
    bench.show(verdicts);
    bench.teacher.policy_update(&request, &mut |_, _| {}).map_err(|refusal| refusal.code())
}

fn verdicts(bench: &mut Bench) -> Vec<Envelope> {
    bench.accepted().iter().map(|(_, statement)| signed(statement)).collect()
}

fn folder(bench: &Bench, policy: Digest) -> PathBuf {
    bench.config.state.join("policies").join(policy.to_string())
}

fn adapter(bench: &Bench, policy: Digest) -> Adapter {
    let shape = ModelFolder::open(&bench.config.base_model).unwrap();
    Adapter::load_peft(&folder(bench, policy), shape.config()).unwrap()
}

#[test]
fn each_update_is_an_adapter_on_top_of_the_last_and_the_policy_writes_by_it() {
    let mut bench = Bench::with_config(&config(LORA));
    let all = verdicts(&mut bench);
    let (now, later) = all.split_at(all.len() / 2);
    let first = learn(&mut bench, "round-1", None, now).unwrap().policy_digest;
    assert!(!folder(&bench, first).join("model.safetensors").exists(), "no weights are copied");
    let mut bench = bench.reopen();
    let by = |policy| ProposeRequest { policy_digest: Some(policy), ..sampled(&[0], 6) };
    let written = bench.propose(&by(first)).unwrap();
    assert_ne!(written, bench.propose(&sampled(&[0], 6)).unwrap());
    let second = learn(&mut bench, "round-2", Some(first), later).unwrap().policy_digest;
    assert_ne!(bench.propose(&by(second)).unwrap(), written);
    // What the first update learned stands unchanged in the second.
    let shape = ModelFolder::open(&bench.config.base_model).unwrap();
    let (one, two) = (adapter(&bench, first), adapter(&bench, second));
    assert_eq!((one.spec().r, two.spec().r), (2, 4));
    let (head, _) = two.split_at(shape.config(), 2).unwrap();
    assert_eq!(head.flat().unwrap(), one.flat().unwrap());
}

#[test]
fn the_same_lessons_make_the_same_policy_in_another_process_and_another_recipe_another_one() {
    let policy = |lora: &str| {
        let mut bench = Bench::with_config(&config(lora));
        let all = verdicts(&mut bench);
        learn(&mut bench, "round-1", None, &all).unwrap()
    };
    let learned = policy(LORA);
    assert_eq!(policy(LORA), learned);
    let scaled = policy(&LORA.replace("lora_alpha = 4", "lora_alpha = 8"));
    assert_ne!(scaled.policy_digest, learned.policy_digest);
    assert_ne!(policy("").policy_digest, learned.policy_digest);
}

#[test]
fn an_adapter_that_was_changed_on_disk_writes_nothing() {
    let mut bench = Bench::with_config(&config(LORA));
    let all = verdicts(&mut bench);
    let policy = learn(&mut bench, "round-1", None, &all).unwrap().policy_digest;
    let request = ProposeRequest { policy_digest: Some(policy), ..sampled(&[0], 1) };
    for file in ["adapter_model.safetensors", "adapter_config.json"] {
        let path = folder(&bench, policy).join(file);
        let whole = std::fs::read(&path).unwrap();
        let mut changed = whole.clone();
        match file {
            // The last number, and the scale.
            "adapter_model.safetensors" => *changed.last_mut().unwrap() ^= 1,
            _ => {
                let text = String::from_utf8(whole.clone()).unwrap();
                changed = text.replace("\"lora_alpha\": 4.0", "\"lora_alpha\": 40.0").into_bytes();
                assert_ne!(changed, whole);
            }
        }
        std::fs::write(&path, changed).unwrap();
        bench = bench.reopen();
        assert_eq!(bench.propose(&request), Err("storage_failed"), "{file}");
        std::fs::write(&path, whole).unwrap();
    }
    assert!(bench.reopen().propose(&request).is_ok());
}

#[test]
fn weights_and_adapters_mix_only_where_it_means_something() {
    let mut bench = Bench::with_config(&config(""));
    let all = verdicts(&mut bench);
    let thirds: Vec<&[Envelope]> = all.chunks(all.len() / 3).collect();
    let weights = learn(&mut bench, "round-1", None, thirds[0]).unwrap().policy_digest;
    let with_lora = toml::from_str(&LORA.replace("[policy_update.lora]\n", "")).unwrap();
    let mut bench = bench.reopen_with(|config| {
        config.policy_update.as_mut().unwrap().lora = Some(with_lora);
    });
    // An adapter over the first policy cannot stand on other weights, and says so.
    assert_eq!(learn(&mut bench, "round-2", Some(weights), thirds[1]), Err("config_unusable"));
    let adapted = learn(&mut bench, "round-2", None, thirds[1]).unwrap().policy_digest;
    // Weights can be trained from where an adapter led.
    let mut bench = bench.reopen_with(|config| {
        config.policy_update.as_mut().unwrap().lora = None;
    });
    let on = learn(&mut bench, "round-3", Some(adapted), thirds[2]).unwrap().policy_digest;
    assert!(folder(&bench, on).join("model.safetensors").is_file());
}
