//! A whole run whose teacher is an API that tunes models: after each round a job is made of what was
//! accepted, and the next stage is written by the model that came of it. The endpoint is a double; student
//! and auditor are ours.

#![allow(clippy::unwrap_used)]

#[path = "common/api_teacher.rs"]
mod api_teacher;
mod common;
#[path = "../shared/endpoint/tests/double/mod.rs"]
mod double;

use std::collections::BTreeMap;

use common::{Run, stderr, stdout};
use double::tuner::Tuner;
use double::{Act, Double};
use seal_endpoint::{EgressRow, read_record};
use seal_protocol::{PolicyUpdate, Statement};
use seal_trust::{envelope_from_file_bytes, payload_bytes};
use serde_json::Value;
use toml_edit::{DocumentMut, table, value};

/// Puts the configs of an API teacher that is tuned into a run, with this double as the API.
fn configure(run: &Run, double: &Double) {
    let endpoint = (double.base_url(), double.host());
    // The passages' sentences are what is learned.
    api_teacher::configure(run, (&endpoint.0, &endpoint.1), "Say it again.", |role, config| {
        match role {
            "teacher" => tuned(config),
            // Something is accepted in every round.
            "auditor" => config["gate"]["selection"] = value("paper"),
            _ => {}
        }
    });
}

fn tuned(config: &mut DocumentMut) {
    config["backend"]["model"] = value("m");
    config["backend"]["stream"] = value(false);
    config.remove("exemplars");
    let mut tuning = table();
    tuning["n_epochs"] = value(1);
    tuning["training_price_per_million"] = value(25.0);
    tuning["poll_interval_s"] = value(0.05);
    config["fine_tuning"] = tuning;
}

/// The passage's sentences, in an order of its own for each request.
fn reply(body: &Value, number: usize) -> Act {
    let turns = body["messages"].as_array().unwrap();
    let passage = turns.last().unwrap()["content"].as_str().unwrap();
    let (_, passage) = passage.split_once('\n').unwrap();
    let mut sentences: Vec<&str> = passage.split_inclusive(" .").map(str::trim).collect();
    let first = number % sentences.len();
    sentences.rotate_left(first);
    Act::Reply(sentences.join("\n"))
}

#[test]
fn after_each_round_the_endpoint_tunes_a_model_and_the_next_stage_asks_it() {
    let tuner = Tuner::new(3);
    let served = tuner.clone();
    let double = Double::start_heeding(move |number, received, body| {
        served.answer(received).unwrap_or_else(|| reply(body, number))
    });
    let run = Run::small(&["--rounds", "2", "--contexts", "4", "--proposals", "2"]);
    configure(&run, &double);
    run.complete();

    let mut asked: BTreeMap<String, usize> = BTreeMap::new();
    for one in double.received().iter().filter(|one| one.path.ends_with("/chat/completions")) {
        let body: Value = serde_json::from_slice(&one.body).unwrap();
        *asked.entry(body["model"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    println!("asked: {asked:?}");
    assert_eq!(asked.keys().collect::<Vec<_>>(), ["ft:m:org::0", "ft:m:org::1", "m"]);
    let jobs = tuner.jobs();
    let parents: Vec<&Value> = jobs.iter().map(|job| &job["model"]).collect();
    assert_eq!(parents, ["m", "ft:m:org::0"], "a job of each round, on what the last one made");

    // Each update names the edits that went up, a line for each.
    let mut learned: Vec<usize> = common::files_below(&run.path("teacher/state/policy-updates"))
        .iter()
        .map(|file| {
            let envelope = envelope_from_file_bytes(&std::fs::read(file).unwrap()).unwrap();
            let statement: Statement<PolicyUpdate> =
                serde_json::from_slice(&payload_bytes(&envelope).unwrap()).unwrap();
            statement.predicate.edit_digests.len()
        })
        .collect();
    let mut sent: Vec<usize> =
        tuner.files().iter().map(|file| file.content.lines().count()).collect();
    learned.sort_unstable();
    sent.sort_unstable();
    println!("edits learned by update: {learned:?}");
    assert_eq!(learned, sent);
    assert!(learned.iter().all(|&count| count > 0));

    let record = read_record(&run.path("teacher/state")).unwrap();
    let requests = record.iter().filter(|row| matches!(row, EgressRow::Sent { .. })).count();
    assert_eq!(requests, double.received().len());
    for command in [&["verify", "--all"][..], &["report"], &["egress"]] {
        let output = run.seal(command);
        assert!(output.status.success(), "{command:?}: {}{}", stdout(&output), stderr(&output));
    }

    // A training file that is not what was sent shows.
    let kept = common::files_below(&run.path("teacher/state/backend/fine-tuning"));
    let file = kept.iter().find(|file| file.extension().is_some_and(|end| end == "jsonl")).unwrap();
    let other = std::fs::read_to_string(file).unwrap() + "{}\n";
    std::fs::write(file, other).unwrap();
    let output = run.seal(&["verify", "--all"]);
    let told = stdout(&output) + &stderr(&output);
    assert!(
        !output.status.success() && told.contains("is not what the endpoint was sent"),
        "{told}"
    );
}
