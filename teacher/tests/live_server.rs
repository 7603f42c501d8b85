//! An OpenAI-compatible server that we did not write acts as teacher. `SEAL_OPENAI_SERVER` is its base
//! URL, `SEAL_OPENAI_JSON_SERVER` that of one whose model ends what it writes under a schema;
//! tests/peers/serve_openai.py starts either. Without them these tests say that they were skipped.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Bench, content, free, remote_config};
use seal_endpoint::{EgressRow, read_record};
use seal_protocol::{PolicyUpdateRequest, ProposeRequest, ReplySchema};

#[test]
fn a_server_that_we_did_not_write_acts_as_teacher() {
    let Ok(url) = std::env::var("SEAL_OPENAI_SERVER") else {
        println!("skipped: SEAL_OPENAI_SERVER names no server");
        return;
    };
    for (api, layout) in [("chat", "chat"), ("completions", "plain")] {
        for stream in [true, false] {
            round(&url, api, layout, stream);
        }
    }
}

/// Proposals, verdicts on them, a policy update, and proposals of the new policy.
fn round(url: &str, api: &str, layout: &str, stream: bool) {
    let host = url.split('/').nth(2).unwrap();
    let config = remote_config(&format!(
        "[backend]\nkind = \"openai\"\nbase_url = \"{url}\"\nmodel = \"m\"\napi = \"{api}\"\n\
         stream = {stream}\n\n[exemplars]\nper_prompt = 2\nmax_bytes = 4000\n\n\
         [egress]\nallow_hosts = [\"{host}\"]\nallow_loopback = true\n"
    ));
    let config = config.replace("layout = \"chat\"", &format!("layout = \"{layout}\""));
    let mut bench = Bench::with_config(&config);
    let request = free(&[0, 1, 2], 4);
    let proposals = bench.propose(&request).unwrap();
    println!(
        "{api}, stream = {stream}: {} edits, {} without",
        proposals.edits.len(),
        proposals.unparsed.len()
    );
    assert!(proposals.edits.len() >= 10, "{:?}", proposals.unparsed);
    let edits: Vec<_> = proposals.edits.iter().map(content).collect();
    assert!(edits.iter().any(|edit| edit.examples.len() > 2), "lines to train on");
    // Seeds are sent and differ, so replies do.
    assert_ne!(edits[0].examples, edits[1].examples);

    let verdicts = bench.accept_all(&proposals.edits);
    let update = PolicyUpdateRequest {
        stage: "round-1".to_owned(),
        parent_policy_digest: None,
        verdicts,
        seed: 7,
    };
    bench.show(&update.verdicts);
    let updated = bench.teacher.policy_update(&update, &mut |_, _| {}).unwrap();
    let policy_digest = Some(updated.policy_digest);
    let next = ProposeRequest { stage: "round-2".to_owned(), policy_digest, ..free(&[0], 2) };
    assert!(!bench.propose(&next).unwrap().edits.is_empty());

    let rows = read_record(&bench.config.state).unwrap();
    let measured =
        rows.iter().filter(|row| matches!(row, EgressRow::Answered { measured: true, .. }));
    assert_eq!(measured.count(), 14, "the server counts tokens in every answer");
}

/// What the model of a server would write under the structured family, held to its schema or not.
fn structured(url: &str, response_format: &str, stream: bool) -> (Vec<ReplySchema>, Vec<String>) {
    let host = url.split('/').nth(2).unwrap();
    let config = remote_config(&format!(
        "[backend]\nkind = \"openai\"\nbase_url = \"{url}\"\nmodel = \"m\"\nstream = {stream}\n\
         response_format = \"{response_format}\"\n\n\
         [egress]\nallow_hosts = [\"{host}\"]\nallow_loopback = true\n"
    ));
    let config = config.replace("\"implications\"", "\"structured\"");
    let mut bench =
        Bench::with_config(&config.replace("max_new_tokens = 100", "max_new_tokens = 1000"));
    let proposals = bench.propose(&free(&[0, 1, 2], 8)).unwrap();
    let held = proposals.edits.iter().map(|edit| content(edit).origin.reply_schema.unwrap());
    (held.collect(), proposals.unparsed.into_iter().map(|one| one.reason).collect())
}

#[test]
fn a_server_that_we_did_not_write_holds_replies_to_the_schema() {
    let Ok(url) = std::env::var("SEAL_OPENAI_JSON_SERVER") else {
        println!("skipped: SEAL_OPENAI_JSON_SERVER names no server");
        return;
    };
    for stream in [true, false] {
        let (held, reasons) = structured(&url, "json_schema", stream);
        println!("json_schema, stream = {stream}: {} edits; without: {reasons:#?}", held.len());
        assert_eq!(held.len() + reasons.len(), 24);
        assert!(held.len() >= 12 && held.iter().all(|held| *held == ReplySchema::Endpoint));
        // Lengths are not part of what is sent, and the last token may come first. The object itself
        // never breaks.
        let kinds = ["it ends in the middle", "no text to train on", "must have"];
        for reason in &reasons {
            assert!(kinds.iter().any(|kind| reason.contains(kind)), "{reason}");
        }
        // Left to itself the same model writes no object at all.
        let (free, unheld) = structured(&url, "none", stream);
        println!("none, stream = {stream}: {} edits, {} without", free.len(), unheld.len());
        assert_eq!((free.len(), unheld.len()), (0, 24));
    }
}
