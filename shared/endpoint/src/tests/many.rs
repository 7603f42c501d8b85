//! Many orders: how many at once, what they may cost, what a kill loses, what left.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::*;

fn latency(double_after_ms: u64) -> Double {
    let text = "1. a\n2. b".to_owned();
    let wait = Duration::from_millis(double_after_ms);
    Double::always(Act::After(wait, Box::new(Act::Counted(text, 10, 5))))
}

/// Prints how far from ideal the time is: `cargo test -p seal-endpoint --lib fifty -- --nocapture`.
#[test]
fn fifty_contexts_with_five_edits_use_all_places_at_once() {
    const PLACES: usize = 10;
    const LATENCY_MS: u64 = 100;
    let double = latency(LATENCY_MS);
    let state = tempfile::tempdir().unwrap();
    let mut config = config(&double);
    config.concurrency = PLACES;
    let mut endpoint = open_with(&config, &egress(&double), state.path());
    let start = Instant::now();
    let outcomes = write(&mut endpoint, &asks(250)).unwrap();
    let took = start.elapsed().as_secs_f64();
    let ideal = (250_f64 / PLACES as f64).ceil() * LATENCY_MS as f64 / 1e3;
    println!(
        "250 replies, {PLACES} at once, {LATENCY_MS} ms each: {took:.2} s, {:.2} of the ideal {ideal} s",
        took / ideal
    );
    assert_eq!(outcomes.len(), 250);
    assert_eq!(double.received().len(), 250);
    // How many meet at the endpoint at one moment is up to the machine, but for the upper bound.
    let most = double.most_in_flight();
    assert!(most <= PLACES && most > PLACES / 2, "{most}");
}

#[test]
fn the_budget_stops_cleanly_and_says_what_is_left() {
    let double = latency(1);
    let state = tempfile::tempdir().unwrap();
    let mut config = config(&double);
    config.concurrency = 4;
    config.budget.max_tokens = Some(400);
    let egress = egress(&double);
    let mut endpoint = open_with(&config, &egress, state.path());
    let error = write(&mut endpoint, &asks(50)).unwrap_err();
    let Unanswered { done, left, stop: Some(stop) } = &error else { panic!("{error}") };
    let Stop::Budget { paid, .. } = stop else { panic!("{stop}") };
    assert!(paid.0 + paid.1 <= 400, "{paid:?}");
    assert_eq!(done + left, 50);
    assert_eq!(double.received().len(), *done);
    assert_eq!(error.code(), "budget_reached");
    let done = *done;
    // Another process with the same record has no more to spend, and pays nothing for what is there.
    let mut again = open_with(&config, &egress, state.path());
    assert_eq!(write(&mut again, &asks(50)).unwrap_err().code(), "budget_reached");
    assert_eq!(double.received().len(), done);
    drop(again);
    config.budget.max_tokens = None;
    let outcomes = write(&mut open_with(&config, &egress, state.path()), &asks(50)).unwrap();
    assert_eq!((outcomes.len(), double.received().len()), (50, 50));
}

#[test]
fn money_is_a_budget_too() {
    let double = latency(1);
    let state = tempfile::tempdir().unwrap();
    let mut config = config(&double);
    config.budget.max_cost = Some(0.001);
    config.budget.input_price_per_million = 1.0;
    config.budget.output_price_per_million = 2.0;
    let mut endpoint = open_with(&config, &egress(&double), state.path());
    let error = write(&mut endpoint, &asks(200)).unwrap_err();
    assert_eq!(error.code(), "budget_reached");
    // 10 · 1 + 5 · 2 millionths each; a request at its highest price must still fit.
    let requests = double.received().len();
    assert!((30..50).contains(&requests), "{requests}");
}

#[test]
fn what_is_stored_when_the_work_is_killed_is_never_paid_for_again() {
    let killed = Arc::new(AtomicBool::new(false));
    let seen = killed.clone();
    let double = Double::start(move |number, _| match number < 20 || seen.load(Ordering::SeqCst) {
        true => Act::Reply(format!("reply {number}")),
        false => Act::Silence,
    });
    let state = tempfile::tempdir().unwrap();
    let (config, egress) = (config(&double), egress(&double));
    let mut endpoint = open_with(&config, &egress, state.path());
    let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        endpoint.ask(&asks(50), 1.0, &mut |done, _| assert!(done < 20, "killed"))
    }));
    assert!(died.is_err());
    drop(endpoint);
    killed.store(true, Ordering::SeqCst);
    let before = double.received().len();
    assert!((20..=28).contains(&before), "20 were answered and up to 8 were under way: {before}");

    let outcomes = write(&mut open_with(&config, &egress, state.path()), &asks(50)).unwrap();
    assert_eq!(outcomes.len(), 50);
    let received = double.received();
    assert_eq!(received.len(), before + 30, "only what was not stored");
    let first: Vec<&Vec<u8>> = received[..20].iter().map(|one| &one.body).collect();
    assert!(received[before..].iter().all(|one| !first.contains(&&one.body)));
}

#[test]
fn a_job_that_goes_on_asks_only_for_what_is_not_stored() {
    let double = Double::start(|number, _| match number {
        20 => Act::Status(401, vec![], String::new()),
        _ => Act::Reply(format!("reply {number}")),
    });
    let state = tempfile::tempdir().unwrap();
    let egress = egress(&double);
    let config = OpenAiConfig { concurrency: 1, ..config(&double) };
    let stopped = write(&mut open_with(&config, &egress, state.path()), &asks(50)).unwrap_err();
    assert!(matches!(stopped, Unanswered { done: 20, left: 30, .. }), "{stopped}");
    let outcomes = write(&mut open_with(&config, &egress, state.path()), &asks(50)).unwrap();
    assert_eq!(said(&outcomes[0]), Ok("reply 0"));
    assert_eq!(said(&outcomes[19]), Ok("reply 19"));
    let mut times: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for one in double.received() {
        *times.entry(one.body).or_default() += 1;
    }
    assert_eq!(times.len(), 50);
    // The one that was refused, and no other, was asked for twice.
    assert_eq!(times.values().filter(|&&count| count == 2).count(), 1);
    assert_eq!(times.values().sum::<usize>(), 51);
}

#[test]
fn the_record_is_what_the_endpoint_received_byte_for_byte_without_the_key() {
    const KEY: &str = "sk-canary-of-this-test";
    let double = Double::start(|number, _| match number % 3 {
        0 => Act::Status(500, vec![], format!("you sent {KEY}")),
        _ => Act::Reply("a".to_owned()),
    });
    let state = tempfile::tempdir().unwrap();
    let key_file = state.path().join("key");
    seal_service::store::write_atomic(&key_file, KEY.as_bytes()).unwrap();
    let mut config = config(&double);
    config.api_key_file = Some(key_file);
    let mut endpoint = open_with(&config, &egress(&double), &state.path().join("state"));
    write(&mut endpoint, &asks(10)).unwrap();

    let received = double.received();
    let rows = read_record(&state.path().join("state")).unwrap();
    let mut arrived: Vec<_> = received.iter().map(|one| one.body.clone()).collect();
    let mut recorded = Vec::new();
    for row in &rows {
        let EgressRow::Sent { method, url, headers, body, body_sha256, .. } = row else { continue };
        assert_eq!(
            (method.as_str(), url),
            ("POST", &format!("{}/chat/completions", double.base_url()))
        );
        assert_eq!(*body_sha256, sha256(body.as_bytes()));
        let twin = received.iter().find(|one| one.body == body.as_bytes()).unwrap();
        let by_library = ["host", "accept", "content-length", "user-agent"];
        for (name, value) in &twin.headers {
            match name.as_str() {
                "authorization" => {
                    assert_eq!(value, &format!("Bearer {KEY}"));
                    assert_eq!(headers[name], "[withheld]");
                }
                name if by_library.contains(&name) => {}
                name => assert_eq!(headers.get(name), Some(value), "{name}"),
            }
        }
        recorded.push(body.clone().into_bytes());
    }
    arrived.sort();
    recorded.sort();
    assert_eq!(arrived, recorded);
    let text = std::fs::read_to_string(state.path().join("state/egress/record.jsonl")).unwrap();
    assert!(!text.contains(KEY) && text.contains("you sent [withheld]"));
}

#[test]
fn what_a_rule_matches_does_not_leave() {
    let double = Double::always(Act::Reply("a".to_owned()));
    let state = tempfile::tempdir().unwrap();
    let mut egress = egress(&double);
    egress.redact = toml::from_str::<BTreeMap<String, Vec<crate::egress::RedactionRule>>>(
        "redact = [{ name = \"number\", pattern = 'Passage \\d+', replacement = \"[passage]\" }]",
    )
    .unwrap()
    .remove("redact")
    .unwrap();
    let mut endpoint = open_with(&config(&double), &egress, state.path());
    let outcomes = write(&mut endpoint, &asks(3)).unwrap();
    for one in double.received() {
        let body = String::from_utf8(one.body).unwrap();
        assert!(body.contains("[passage]") && !body.contains("Passage "), "{body}");
    }
    let Answer::Written(written) = &outcomes[0] else { panic!("{outcomes:?}") };
    assert_eq!(written.prompt_digest, sha256(b"[passage]"), "of what was sent");
}

#[test]
fn offline_answers_from_what_is_stored_and_sends_nothing() {
    let double = Double::always(Act::Reply("a".to_owned()));
    let state = tempfile::tempdir().unwrap();
    let mut egress = egress(&double);
    let config = config(&double);
    write(&mut open_with(&config, &egress, state.path()), &asks(3)).unwrap();
    egress.offline = true;
    let mut endpoint = open_with(&config, &egress, state.path());
    assert_eq!(write(&mut endpoint, &asks(3)).unwrap().len(), 3);
    let error = write(&mut endpoint, &asks(4)).unwrap_err();
    assert_eq!(error.code(), "offline", "{error}");
    assert_eq!(double.received().len(), 3);
}

#[test]
fn requests_keep_the_pace_that_the_config_sets() {
    let double = Double::always(Act::Reply("a".to_owned()));
    let state = tempfile::tempdir().unwrap();
    let mut config = config(&double);
    config.limits.requests_per_minute = Some(1200);
    let mut endpoint = open_with(&config, &egress(&double), state.path());
    let start = Instant::now();
    write(&mut endpoint, &asks(8)).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(7 * 50));
}
