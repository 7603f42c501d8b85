//! A whole run whose teacher is an API that tunes models: after each round a job is made of what was
//! accepted, and the next stage is written by the model that came of it. The endpoint is a double; student
//! and auditor are ours.

#![allow(clippy::unwrap_used)]

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

/// The miniature's passages as they are: their sentences are what is learned.
const FAMILY: &str = r#"
name = "miniature-text/v1"
instruction = "Say it again."
passage_label = "<bos>"
answer_label = "<edit>"

[reply]
form = "text"
rule = "june"
split_newlines = true
context = "each"
"#;

/// Puts the configs of `configs/api-teacher` into a run of the miniature, with this double as the API.
fn configure(run: &Run, double: &Double) {
    let digest = std::fs::read_to_string(run.path("trust/root.sha256")).unwrap();
    for role in ["teacher", "student", "auditor"] {
        let shipped = format!("{}/configs/api-teacher/{role}.toml", env!("CARGO_MANIFEST_DIR"));
        let mut config: DocumentMut = std::fs::read_to_string(shipped).unwrap().parse().unwrap();
        config["trust_root_sha256"] = value(digest.trim());
        match role {
            "teacher" => tuned_by(&mut config, double),
            // Something is accepted in every round.
            "auditor" => config["gate"]["selection"] = value("paper"),
            _ => {}
        }
        std::fs::write(run.path(&format!("{role}.toml")), config.to_string()).unwrap();
    }
    std::fs::write(run.path("family.toml"), FAMILY).unwrap();
}

fn tuned_by(config: &mut DocumentMut, double: &Double) {
    config["prompt_family"] = value("family.toml");
    let backend = config["backend"].as_table_mut().unwrap();
    backend.remove("api_key_file");
    backend["base_url"] = value(double.base_url());
    backend["model"] = value("m");
    backend["stream"] = value(false);
    config["egress"]["allow_hosts"] = value(toml_edit::Array::from_iter([double.host()]));
    config["egress"]["allow_loopback"] = value(true);
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
