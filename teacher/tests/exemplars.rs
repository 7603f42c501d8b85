//! A policy whose weights are elsewhere learns by examples: from verified verdicts alone, and no
//! context is shown its own edit.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../shared/endpoint/tests/double/mod.rs"]
mod double;

use common::{Bench, CONTEXTS, NOW, content, free, key, remote_config};
use double::{Act, Double};
use seal_protocol::{PolicyUpdate, PolicyUpdateRequest, ProposeRequest, Role};
use seal_trust::{TrustRoot, sign_statement};
use serde_json::Value;

/// Replies name the passage they are about.
fn endpoint() -> Double {
    Double::start(|_, body| {
        let passage = body["messages"].as_array().unwrap().last().unwrap()["content"].clone();
        let passage = passage.as_str().unwrap().trim().to_owned();
        Act::Reply(format!("1. It is said: {passage}\n2. That is all."))
    })
}

fn bench(double: &Double) -> Bench {
    Bench::with_config(&remote_config(&format!(
        "[backend]\nkind = \"openai\"\nbase_url = \"{}\"\nmodel = \"m\"\n\n\
         [exemplars]\nper_prompt = 2\nmax_bytes = 4000\n\n\
         [egress]\nallow_hosts = [\"{}\"]\nallow_loopback = true\n",
        double.base_url(),
        double.host()
    )))
}

fn update(verdicts: Vec<seal_protocol::Envelope>) -> PolicyUpdateRequest {
    let (stage, seed) = ("round-1".to_owned(), 7);
    PolicyUpdateRequest { stage, parent_policy_digest: None, verdicts, seed }
}

#[test]
fn accepted_edits_of_other_contexts_are_shown_in_later_prompts() {
    let double = endpoint();
    let mut bench = bench(&double);
    let edits = bench.propose(&free(&[0, 1], 1)).unwrap().edits;
    let request = update(bench.accept_all(&edits));
    bench.show(&request.verdicts);
    let updated = bench.teacher.policy_update(&request, &mut |_, _| {}).unwrap();
    let root =
        TrustRoot::open(&std::fs::read(&bench.config.trust_root).unwrap(), None, NOW).unwrap();
    let receipt = root.verify::<PolicyUpdate>(&updated.update, NOW).unwrap().statement.predicate;
    assert_eq!((receipt.edit_digests.len(), receipt.verdict_digests.len()), (2, 2));
    assert_eq!(receipt.parent_policy_digest, bench.teacher.first_policy_digest());
    assert_eq!(receipt.policy_digest, updated.policy_digest);

    let mut bench = bench.reopen();
    let before = double.received().len();
    let policy_digest = Some(updated.policy_digest);
    let next = ProposeRequest { stage: "round-2".to_owned(), policy_digest, ..free(&[0, 2], 1) };
    let edits = bench.propose(&next).unwrap().edits;
    assert_eq!(content(&edits[0]).origin.policy_digest, updated.policy_digest);
    let asked: Vec<Vec<Value>> = double.received()[before..]
        .iter()
        .map(|one| {
            let body: Value = serde_json::from_slice(&one.body).unwrap();
            body["messages"].as_array().unwrap().clone()
        })
        .collect();
    // The turns of the prompt that asks about a context.
    let about = |number: usize| {
        let ends = |turns: &&Vec<Value>| {
            let last = turns.last().unwrap()["content"].as_str().unwrap();
            last.ends_with(CONTEXTS[number])
        };
        Value::from(asked.iter().find(ends).unwrap().clone()).to_string()
    };
    let said = |number: usize| format!("It is said: {}", CONTEXTS[number]);
    // The passage of context 0 is asked about, with the edit on context 1 as the only example.
    assert!(about(0).contains(&said(1)) && !about(0).contains(&said(0)), "{}", about(0));
    assert!(about(2).contains(&said(0)) && about(2).contains(&said(1)), "{}", about(2));
    assert!(about(2).contains("assistant"));
}

#[test]
fn an_edit_without_a_verified_verdict_is_never_shown() {
    let double = endpoint();
    let mut bench = bench(&double);
    let edits = bench.propose(&free(&[0], 1)).unwrap().edits;
    let verdicts = bench.verdicts_on(edits.clone());
    let forged = sign_statement(&key(Role::Teacher), &verdicts[0].1).unwrap();
    let refused = bench.teacher.policy_update(&update(vec![forged]), &mut |_, _| {}).unwrap_err();
    assert_eq!(refused.code(), "signer_wrong_role");
    let folder = bench.config.state.join("exemplars");
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
    let unknown = ProposeRequest { policy_digest: Some(common::context(0)), ..free(&[1], 1) };
    assert_eq!(bench.propose(&unknown), Err("policy_unknown"));
}
