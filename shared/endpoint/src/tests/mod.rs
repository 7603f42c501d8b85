//! Asks to an endpoint that misbehaves.

mod faults;
mod many;
mod schema;
mod tuning;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use seal_protocol::UnixSeconds;
use seal_service::clock::FixedClock;
use seal_trust::sha256;

use super::*;

#[path = "../../tests/double/mod.rs"]
mod double;

use double::{Act, Double};

/// Settings under which a test is over soon.
fn config(double: &Double) -> OpenAiConfig {
    let text = format!("base_url = \"{}\"\nmodel = \"m\"\n", double.base_url());
    let mut config: OpenAiConfig = toml::from_str(&text).unwrap();
    config.repeats.first_pause_s = Duration::from_millis(4);
    config.repeats.longest_pause_s = Duration::from_secs(2);
    config.repeats.attempts = 3;
    config.repeats.breaker_pause_s = Duration::from_millis(20);
    config
}

fn egress(double: &Double) -> EgressConfig {
    EgressConfig {
        allow_hosts: vec![double.host()],
        allow_loopback: true,
        ..EgressConfig::default()
    }
}

fn open_with(config: &OpenAiConfig, egress: &EgressConfig, state: &Path) -> OpenAi {
    let way_out = WayOut::prepare(config, egress).unwrap();
    let clock = Arc::new(FixedClock::at(UnixSeconds(7)));
    let wanted = WantedReply { max_tokens: 100, schema: None };
    OpenAi::open(config, egress, wanted, way_out, state, clock).unwrap()
}

fn asks(count: u32) -> Vec<Ask> {
    let ask = |number: u32| {
        let text = format!("Passage {}", number / 5);
        let context_digest = sha256(text.as_bytes());
        let (prompt, proposal) = (Prompt::Text(text), number % 5);
        Ask { prompt, context_digest, proposal, seed: u64::from(number) }
    };
    (0..count).map(ask).collect()
}

fn write(endpoint: &mut OpenAi, asks: &[Ask]) -> Result<Vec<Answer>, Unanswered> {
    endpoint.ask(asks, 1.0, &mut |_, _| {})
}

/// The text, or the reason without one.
fn said(answer: &Answer) -> Result<&str, &str> {
    match answer {
        Answer::Written(written) => Ok(&written.text),
        Answer::Missed(reason) => Err(reason),
    }
}

fn outcomes_recorded(state: &Path) -> Vec<String> {
    let outcome = |row: EgressRow| match row {
        EgressRow::Answered { outcome, .. } => Some(outcome),
        EgressRow::Sent { .. } => None,
    };
    read_record(state).unwrap().into_iter().filter_map(outcome).collect()
}
