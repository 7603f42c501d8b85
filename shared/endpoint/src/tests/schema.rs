//! A schema on its way to an endpoint that takes it, refuses it, or refuses something else.

use seal_protocol::ReplySchema;
use serde_json::{Value, json};

use super::*;

const TEXT: &str = "{}";

fn open_held(config: &OpenAiConfig, egress: &EgressConfig, state: &Path) -> OpenAi {
    let way_out = WayOut::prepare(config, egress).unwrap();
    let clock = Arc::new(FixedClock::at(UnixSeconds(7)));
    let schema = json!({"type": "object", "properties": {}, "additionalProperties": false});
    let schema = Some(NamedSchema { name: "self_edit", schema });
    let wanted = WantedReply { max_tokens: 100, schema };
    OpenAi::open(config, egress, wanted, way_out, state, clock).unwrap()
}

fn refusal() -> Act {
    let body = "{\"error\":{\"message\":\"response_format is not supported\"}}".to_owned();
    Act::Status(400, vec![("content-type", "application/json".to_owned())], body)
}

/// Refuses every request with a schema.
fn without_schemas() -> Double {
    Double::start(|_, body| match body.get("response_format") {
        Some(_) => refusal(),
        None => Act::Reply(TEXT.to_owned()),
    })
}

fn schemas(outcomes: &[Answer]) -> Vec<Option<ReplySchema>> {
    let schema = |outcome: &Answer| match outcome {
        Answer::Written(written) => written.schema,
        Answer::Missed(reason) => panic!("{reason}"),
    };
    outcomes.iter().map(schema).collect()
}

fn formats(double: &Double) -> Vec<Value> {
    let format = |received: double::Received| {
        serde_json::from_slice::<Value>(&received.body).unwrap()["response_format"].clone()
    };
    double.received().into_iter().map(format).collect()
}

#[test]
fn an_endpoint_that_takes_the_schema_gets_it_strict_by_both_calls() {
    for api in [Api::Chat, Api::Completions] {
        let double = Double::always(Act::Reply(TEXT.to_owned()));
        let state = tempfile::tempdir().unwrap();
        let config = OpenAiConfig { api, ..config(&double) };
        let mut endpoint = open_held(&config, &egress(&double), state.path());
        let outcomes = write(&mut endpoint, &asks(2)).unwrap();
        assert_eq!(schemas(&outcomes), [Some(ReplySchema::Endpoint); 2]);
        for format in formats(&double) {
            assert_eq!(format["type"], "json_schema");
            assert_eq!(format["json_schema"]["strict"], true);
            assert_eq!(format["json_schema"]["schema"]["type"], "object");
        }
    }
}

#[test]
fn an_endpoint_that_refuses_the_schema_is_asked_without_it_and_every_reply_says_so() {
    let double = without_schemas();
    let state = tempfile::tempdir().unwrap();
    let egress = egress(&double);
    let config = OpenAiConfig { concurrency: 2, ..config(&double) };
    let mut endpoint = open_held(&config, &egress, state.path());
    let outcomes = write(&mut endpoint, &asks(10)).unwrap();
    assert_eq!(schemas(&outcomes), [Some(ReplySchema::Refused); 10]);
    // Those under way at the first refusal were asked twice, all others once.
    let recorded = outcomes_recorded(state.path());
    let refused = recorded.iter().filter(|outcome| *outcome == "bad_request").count();
    assert!((1..=2).contains(&refused), "{recorded:?}");
    assert_eq!(recorded.len(), 10 + refused);
    // Another process finds every reply, and what is told of it, without asking anything.
    let outcomes = write(&mut open_held(&config, &egress, state.path()), &asks(10)).unwrap();
    assert_eq!(schemas(&outcomes), [Some(ReplySchema::Refused); 10]);
    assert_eq!(double.received().len(), 10 + refused);
}

#[test]
fn many_refusals_of_the_schema_do_not_open_the_breaker() {
    let double = without_schemas();
    let state = tempfile::tempdir().unwrap();
    let mut config = OpenAiConfig { concurrency: 8, ..config(&double) };
    (config.repeats.breaker_after, config.repeats.attempts) = (2, 1);
    config.repeats.breaker_pause_s = Duration::from_secs(600);
    let mut endpoint = open_held(&config, &egress(&double), state.path());
    let outcomes = write(&mut endpoint, &asks(16)).unwrap();
    assert_eq!(schemas(&outcomes), [Some(ReplySchema::Refused); 16]);
}

#[test]
fn where_the_config_says_so_a_refused_schema_is_a_missed_reply_with_its_name() {
    let double = without_schemas();
    let state = tempfile::tempdir().unwrap();
    let config = OpenAiConfig { on_schema_refused: OnSchemaRefused::Miss, ..config(&double) };
    let mut endpoint = open_held(&config, &egress(&double), state.path());
    for outcome in write(&mut endpoint, &asks(3)).unwrap() {
        let reason = said(&outcome).unwrap_err();
        assert!(reason.starts_with("schema_refused: ") && reason.contains("400"), "{reason}");
    }
    assert!(formats(&double).iter().all(|format| !format.is_null()), "nothing was asked without");
}

#[test]
fn a_request_that_is_refused_for_another_reason_costs_no_other_its_schema() {
    // The second passage is refused whatever comes with it.
    let double = Double::start(|_, body| match body.to_string().contains("Passage 1") {
        true => refusal(),
        false => Act::Reply(TEXT.to_owned()),
    });
    let state = tempfile::tempdir().unwrap();
    let config = OpenAiConfig { concurrency: 1, ..config(&double) };
    let mut endpoint = open_held(&config, &egress(&double), state.path());
    let outcomes = write(&mut endpoint, &asks(15)).unwrap();
    for (number, outcome) in outcomes.iter().enumerate() {
        match number / 5 {
            1 => assert!(said(outcome).unwrap_err().starts_with("bad_request: ")),
            _ => assert_eq!(schemas(std::slice::from_ref(outcome)), [Some(ReplySchema::Endpoint)]),
        }
    }
}

#[test]
fn what_is_not_sent_is_told_as_not_sent() {
    for (format, sent) in [
        (ResponseFormat::None, Value::Null),
        (ResponseFormat::JsonObject, json!({"type": "json_object"})),
    ] {
        let double = Double::always(Act::Reply(TEXT.to_owned()));
        let state = tempfile::tempdir().unwrap();
        let config = OpenAiConfig { response_format: format, ..config(&double) };
        let mut endpoint = open_held(&config, &egress(&double), state.path());
        let outcomes = write(&mut endpoint, &asks(1)).unwrap();
        assert_eq!(schemas(&outcomes), [Some(ReplySchema::Unsent)]);
        assert_eq!(formats(&double), [sent]);
    }
}

#[test]
fn a_family_without_a_schema_sends_none_and_the_field_has_one_master() {
    let double = Double::always(Act::Reply(TEXT.to_owned()));
    let state = tempfile::tempdir().unwrap();
    let mut config = config(&double);
    let mut endpoint = open_with(&config, &egress(&double), state.path());
    assert_eq!(schemas(&write(&mut endpoint, &asks(1)).unwrap()), [None]);
    assert_eq!(formats(&double), [Value::Null]);
    config.extra.insert("response_format".to_owned(), json!({"type": "text"}));
    assert!(config.check().unwrap_err().contains("`response_format`"));
}
