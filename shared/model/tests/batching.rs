//! Scores and texts do not depend on the batch, the cache or the threads.

#![allow(clippy::unwrap_used)]

mod tiny;

use candle_core::Device;
use seal_model::batch::Batch;
use seal_model::{
    Adapter, Decoder, DecoderConfig, Finish, Generated, ModelError, Prompt, SamplingConfig,
    ScoreItem, generate, score,
};
use tiny::{adapters, config, decoder};

fn prompts() -> Vec<Prompt> {
    let prompt = |i: u32| Prompt {
        adapter: (i % 4).checked_sub(1).map(|a| a as usize),
        tokens: (0..1 + i % 23).map(|t| (t * 7 + i) % 49).collect(),
        seed: u64::from(i % 5),
    };
    (0..70).map(prompt).collect()
}

fn write(prompts: &[Prompt], sampling: &SamplingConfig) -> Vec<Generated> {
    let adapters = adapters();
    let adapters: Vec<&Adapter> = adapters.iter().collect();
    generate(&decoder(), &adapters, prompts, sampling, &mut |_, _| {}).unwrap()
}

fn sampling(temperature: f64) -> SamplingConfig {
    SamplingConfig {
        max_new_tokens: 24,
        temperature,
        top_k: 20,
        top_p: 0.95,
        ..SamplingConfig::default()
    }
}

#[test]
fn a_cached_greedy_text_is_the_one_recomputed_without_a_cache() {
    let (decoder, adapters) = (decoder(), adapters());
    let all: Vec<&Adapter> = adapters.iter().collect();
    let prompts = prompts();
    for (prompt, text) in prompts.iter().zip(write(&prompts, &sampling(0.0))).take(12) {
        let mut tokens = prompt.tokens.clone();
        for token in text.tokens {
            let mut batch = Batch::default();
            batch.push(&tokens, prompt.adapter);
            let logits = decoder.logits(&batch, &all).unwrap().to_vec2::<f32>().unwrap();
            let row = logits.last().unwrap();
            let best = (0..row.len()).rev().max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
            assert_eq!(token as usize, best);
            tokens.push(token);
        }
    }
}

#[test]
fn a_prompts_sample_does_not_depend_on_the_other_prompts() {
    let prompts = prompts();
    let together = write(&prompts, &sampling(1.3));
    for index in [0, 1, 33, 69] {
        assert_eq!(write(&prompts[index..=index], &sampling(1.3))[0], together[index]);
    }
    let reversed: Vec<Prompt> = prompts.iter().rev().cloned().collect();
    assert!(write(&reversed, &sampling(1.3)).iter().rev().eq(&together));
}

#[test]
fn the_seed_decides_the_sample() {
    let prompt = |seed| Prompt { adapter: None, tokens: vec![3, 4, 5], seed };
    let texts = write(&[prompt(1), prompt(1), prompt(2)], &sampling(1.5));
    assert_eq!(texts[0], texts[1]);
    assert_ne!(texts[0], texts[2]);
}

#[test]
fn a_text_says_what_ended_it() {
    let stop: Vec<u32> = (0..49).collect();
    for text in write(&prompts(), &SamplingConfig { stop, ..sampling(1.0) }) {
        let [token] = text.tokens[..] else { panic!("{text:?}") };
        let ending = if token == 49 { Finish::EndToken(49) } else { Finish::StopToken(token) };
        assert_eq!(text.finish, ending);
        assert!(text.content().is_empty() && text.finish.is_complete());
    }
    let cut = write(&prompts(), &SamplingConfig { max_new_tokens: 3, ..sampling(1.0) });
    assert!(cut.iter().any(|text| text.finish == Finish::Length));
    let limited = write(&prompts(), &SamplingConfig { max_new_tokens: 500, ..sampling(1.0) });
    assert!(limited.iter().any(|text| text.finish == Finish::Positions));
    for (prompt, text) in prompts().iter().zip(limited.iter().chain(&cut)) {
        let total = prompt.tokens.len() + text.tokens.len();
        assert_eq!(text.finish == Finish::EndToken(49), text.tokens.last() == Some(&49));
        assert_eq!(
            text.finish == Finish::Positions,
            text.finish != Finish::EndToken(49) && total == 97
        );
    }
}

fn items() -> Vec<ScoreItem> {
    prompts()
        .into_iter()
        .map(|p| ScoreItem {
            adapter: p.adapter,
            answer: (0..1 + p.tokens[0] % 6).collect(),
            prompt: p.tokens,
        })
        .collect()
}

#[test]
fn an_items_score_is_the_same_alone_and_among_others_on_any_threads() {
    let (decoder, adapters) = (decoder(), adapters());
    let all: Vec<&Adapter> = adapters.iter().collect();
    let run = |threads, items: &[ScoreItem]| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| score(&decoder, &all, items).unwrap())
    };
    let items = items();
    let together = run(1, &items);
    assert_eq!(together, run(3, &items));
    for index in [0, 1, 33, 69] {
        assert_eq!(run(1, &items[index..=index])[0], together[index]);
    }
}

#[test]
fn a_greedy_text_scores_exact_and_another_does_not() {
    let (decoder, prompt) = (decoder(), prompts()[8].clone());
    let mut text = write(std::slice::from_ref(&prompt), &sampling(0.0)).remove(0).tokens;
    text.truncate(1);
    let item =
        |answer| ScoreItem { adapter: prompt.adapter, prompt: prompt.tokens.clone(), answer };
    let mut wrong = text.clone();
    wrong[0] = (wrong[0] + 1) % 49;
    let scores = score(&decoder, &[], &[item(text), item(wrong)]).unwrap();
    assert!(scores[0].exact && !scores[1].exact);
    assert!(scores[0].log_prob_nats_per_token > scores[1].log_prob_nats_per_token);
    assert!(scores[0].log_prob_nats_per_token < 0.0);
}

#[test]
fn a_model_whose_first_choice_is_to_end_answers_nothing() {
    let decoder = decoder();
    let prompt = Prompt { adapter: None, tokens: vec![1, 2], seed: 0 };
    let first = write(std::slice::from_ref(&prompt), &sampling(0.0))[0].tokens[0];
    let config = DecoderConfig { eos_token_ids: vec![first], ..config() };
    let ending = Decoder::from_weights(config, decoder.weights().clone(), &Device::Cpu).unwrap();
    let item =
        |token| ScoreItem { adapter: None, prompt: prompt.tokens.clone(), answer: vec![token] };
    let scores = score(&ending, &[], &[item((first + 1) % 49), item(first)]).unwrap();
    assert!(scores[0].empty);
    assert!(!scores[1].empty, "an answer that is itself an end is not empty");
}

#[test]
fn bad_requests_are_errors_not_panics() {
    let decoder = decoder();
    let item = |prompt: Vec<u32>, answer: Vec<u32>| ScoreItem { adapter: None, prompt, answer };
    let refuse = |item: ScoreItem| score(&decoder, &[], &[item]).unwrap_err();
    assert!(matches!(refuse(item(vec![], vec![1])), ModelError::Input(_)));
    assert!(matches!(refuse(item(vec![1], vec![])), ModelError::Input(_)));
    assert!(matches!(
        refuse(item(vec![50], vec![1])),
        ModelError::Token { token: 50, vocab_size: 50 }
    ));
    assert!(matches!(
        refuse(item(vec![1; 96], vec![1])),
        ModelError::TooLong { tokens: 97, max: 96 }
    ));
    let orphan = ScoreItem { adapter: Some(0), ..item(vec![1], vec![1]) };
    assert!(refuse(orphan).to_string().contains("adapter 0"));
    let prompt = Prompt { adapter: None, tokens: vec![1], seed: 0 };
    let hot = SamplingConfig { temperature: f64::NAN, ..sampling(1.0) };
    assert!(generate(&decoder, &[], &[prompt], &hot, &mut |_, _| {}).is_err());
}

#[test]
fn a_damaged_model_is_an_error_not_a_text() {
    let decoder = decoder();
    let broken = decoder.with_flat(&vec![f32::NAN; decoder.parameter_count()]).unwrap();
    let prompt = Prompt { adapter: None, tokens: vec![1], seed: 0 };
    let text = generate(&broken, &[], &[prompt], &sampling(1.0), &mut |_, _| {});
    assert!(matches!(text, Err(ModelError::NotFinite { .. })));
    let item = ScoreItem { adapter: None, prompt: vec![1], answer: vec![1] };
    assert!(matches!(score(&broken, &[], &[item]), Err(ModelError::NotFinite { .. })));
}

#[test]
fn a_saved_folder_loads_as_the_same_model_with_the_same_bytes() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let decoder = decoder();
    decoder.save(one.path()).unwrap();
    let loaded = Decoder::load(one.path(), &Device::Cpu).unwrap();
    assert_eq!(loaded.flat().unwrap(), decoder.flat().unwrap());
    loaded.save(two.path()).unwrap();
    let digest = |dir: &tempfile::TempDir| seal_model::folder_digest(dir.path()).unwrap();
    assert_eq!(digest(&one), digest(&two));
}

#[test]
fn a_folder_that_lacks_a_tensor_names_it() {
    let dir = tempfile::tempdir().unwrap();
    decoder().save(dir.path()).unwrap();
    let untied = DecoderConfig { tie_word_embeddings: false, ..config() };
    std::fs::write(dir.path().join("config.json"), untied.to_json()).unwrap();
    let error = Decoder::load(dir.path(), &Device::Cpu).err().unwrap().to_string();
    assert!(error.contains("lm_head.weight"), "{error}");
}
