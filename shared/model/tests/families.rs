//! Every family, plain and with every option, keeps the engine's promises about batches and caches.

#![allow(clippy::unwrap_used)]

mod golden_support;

use candle_core::Device;
use golden_support::{MODELS, flat, golden};
use seal_model::batch::Batch;
use seal_model::{Decoder, Prompt, SamplingConfig, ScoreItem, generate, score};

fn load(name: &str) -> Decoder {
    Decoder::load(&golden(name).folder, &Device::Cpu).unwrap()
}

/// Sequences shorter and longer than the windows and than a vector of keys.
fn sequences() -> Vec<Vec<u32>> {
    [3u32, 1, 9, 16, 17, 33, 52]
        .iter()
        .map(|&len| (0..len).map(|i| (i * i + 3 * len) % 38 + 3).collect())
        .collect()
}

fn logits(decoder: &Decoder, sequences: &[Vec<u32>]) -> Vec<f32> {
    let mut batch = Batch::default();
    for sequence in sequences {
        batch.push(sequence, None);
    }
    flat(&decoder.logits(&batch, &[]).unwrap())
}

#[test]
fn a_sequences_logits_are_the_same_bits_alone_and_among_others() {
    for name in MODELS {
        let (decoder, sequences) = (load(name), sequences());
        let alone: Vec<f32> =
            sequences.iter().flat_map(|s| logits(&decoder, std::slice::from_ref(s))).collect();
        assert_eq!(logits(&decoder, &sequences), alone, "{name}");
    }
}

#[test]
fn what_follows_changes_no_bit_of_what_came_before() {
    for name in MODELS {
        let (decoder, long) = (load(name), sequences().pop().unwrap());
        let all = logits(&decoder, std::slice::from_ref(&long));
        for len in [1, 15, 16, 31] {
            let prefix = logits(&decoder, &[long[..len].to_vec()]);
            assert_eq!(all[..prefix.len()], prefix, "{name}, {len} tokens");
        }
    }
}

#[test]
fn a_cached_text_is_the_one_recomputed_without_a_cache() {
    let greedy = SamplingConfig { max_new_tokens: 30, temperature: 0.0, ..Default::default() };
    for name in MODELS {
        let decoder = load(name);
        let prompts: Vec<Prompt> = sequences()
            .into_iter()
            .map(|tokens| Prompt { adapter: None, tokens, seed: 0 })
            .collect();
        let texts = generate(&decoder, &[], &prompts, &greedy, &mut |_, _| {}).unwrap();
        for (prompt, text) in prompts.iter().zip(texts) {
            let whole = [prompt.tokens.clone(), text.tokens.clone()].concat();
            let all = logits(&decoder, std::slice::from_ref(&whole));
            let rows: Vec<&[f32]> = all.chunks_exact(decoder.config().vocab_size).collect();
            for (token, row) in text.tokens.iter().zip(&rows[prompt.tokens.len() - 1..]) {
                let best = (0..row.len()).rev().max_by(|&a, &b| row[a].total_cmp(&row[b]));
                assert_eq!(Some(*token as usize), best, "{name}");
            }
        }
    }
}

#[test]
fn a_greedy_text_scores_exact_in_every_family() {
    let greedy = SamplingConfig { max_new_tokens: 30, temperature: 0.0, ..Default::default() };
    for name in MODELS {
        let (decoder, tokens) = (load(name), sequences().remove(5));
        let prompt = Prompt { adapter: None, tokens: tokens.clone(), seed: 0 };
        let text = generate(&decoder, &[], &[prompt], &greedy, &mut |_, _| {}).unwrap().remove(0);
        let mut other = text.tokens.clone();
        let last = other.last_mut().unwrap();
        *last = (*last + 1) % 41;
        let item = |answer| ScoreItem { adapter: None, prompt: tokens.clone(), answer };
        let scores = score(&decoder, &[], &[item(text.tokens), item(other)]).unwrap();
        assert!(scores[0].exact && !scores[1].exact, "{name}");
    }
}

#[test]
fn a_fresh_model_of_every_family_survives_its_folder() {
    for name in MODELS {
        let config = load(name).config().clone();
        let (fresh, folder) =
            (Decoder::init(&config, 3, &Device::Cpu).unwrap(), tempfile::tempdir().unwrap());
        fresh.save(folder.path()).unwrap();
        let loaded = Decoder::load(folder.path(), &Device::Cpu).unwrap();
        assert_eq!(*loaded.config(), config, "{name}");
        assert_eq!(loaded.flat().unwrap(), fresh.flat().unwrap(), "{name}");
    }
}
