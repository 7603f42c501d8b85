//! Every layout of `config.json` is read as transformers reads it.

#![allow(clippy::unwrap_used)]

mod golden_support;

use std::collections::BTreeMap;
use std::path::Path;

use golden_support::{golden_folder, relative_difference};
use seal_model::DecoderConfig;
use seal_model::decoder::parameters;
use seal_model::ops::rope::Rope;
use serde::Deserialize;
use serde_json::Value;

/// One case of tests/peers/make_golden_configs.py.
#[derive(Deserialize)]
struct Case {
    config: Value,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Outcome {
    Refused { refused: String },
    Read(Read),
}

#[derive(Deserialize)]
struct Read {
    inv_freq: Vec<f32>,
    attention_factor: f32,
    windows: Vec<Option<usize>>,
    /// Outside the layers and in layer 1.
    parameters: BTreeMap<String, Vec<usize>>,
    positions: usize,
    bos: Option<u32>,
    eos: Vec<u32>,
}

fn cases() -> BTreeMap<String, Case> {
    let text = std::fs::read_to_string(golden_folder().join("configs.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn read(config: &[u8]) -> seal_model::Result<DecoderConfig> {
    DecoderConfig::parse(config, Path::new("config.json"))
}

#[track_caller]
fn check_is(name: &str, config: &DecoderConfig, expected: &Read) {
    let (positions, theta) = (config.max_position_embeddings, config.rope_theta);
    let rope = Rope::new(config.head_dim, positions, theta, &config.rope_scaling);
    for (ours, theirs) in rope.frequencies().iter().zip(&expected.inv_freq) {
        let difference = (ours - theirs).abs() / theirs;
        assert!(difference <= 5e-7, "{name}: {ours} instead of {theirs}");
    }
    assert_eq!(rope.frequencies().len(), expected.inv_freq.len(), "{name}");
    let magnitude = relative_difference(&[rope.magnitude()], &[expected.attention_factor]);
    assert!(magnitude <= 1e-7, "{name}: magnitude {}", rope.magnitude());
    let windows: Vec<_> = (0..config.num_hidden_layers).map(|layer| config.window(layer)).collect();
    assert_eq!(windows, expected.windows, "{name}");
    let ours: BTreeMap<_, _> = parameters(config)
        .into_iter()
        .filter(|(name, _)| !name.contains(".layers.") || name.contains(".layers.1."))
        .collect();
    assert_eq!(ours, expected.parameters, "{name}");
    assert_eq!(positions, expected.positions, "{name}");
    assert_eq!((config.bos_token_id, &config.eos_token_ids), (expected.bos, &expected.eos));
}

#[test]
fn a_config_is_read_as_transformers_reads_it() {
    for (name, case) in cases() {
        if let Outcome::Read(expected) = &case.outcome {
            let config = read(case.config.to_string().as_bytes());
            let config = config.unwrap_or_else(|error| panic!("{name}: {error}"));
            check_is(&name, &config, expected);
            check_is(&name, &read(&config.to_json()).unwrap(), expected);
        }
    }
}

#[test]
fn what_transformers_cannot_run_is_refused() {
    let mut refused = 0;
    for (name, case) in cases() {
        if let Outcome::Refused { refused: by } = &case.outcome {
            let config = read(case.config.to_string().as_bytes());
            assert!(config.is_err(), "{name}: transformers says {by}");
            refused += 1;
        }
    }
    assert!(refused > 0, "no case is refused");
}
