//! The estimate of `seal_model::fit` against the bytes that the CPU engine really holds.

#![allow(clippy::unwrap_used)]

#[path = "../../model/tests/counting/mod.rs"]
mod counting;

use candle_core::Device;
use counting::{Counting, most_held};
use seal_model::fit::{Engine, MARGIN_PERCENT, Need, Work, estimate};
use seal_model::{
    Adapter, Decoder, DecoderConfig, Generator, Limits, LoraSpec, ModelFolder, Prompt, Request,
    SamplingConfig, ScoreItem, generate, score,
};
use seal_training::{FineTune, InnerJob, InnerRecipe, OptimRecipe, TrainSequence, inner_updates};
use serde_json::json;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const THREADS: usize = 2;
const ENGINE: Engine = Engine::Cpu { threads: THREADS };
const TOKENS: usize = 60;

fn config() -> DecoderConfig {
    let config = json!({
        "architectures": ["Qwen3ForCausalLM"], "vocab_size": 512, "hidden_size": 128,
        "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 4, "head_dim": 32,
        "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "max_position_embeddings": 256,
        "tie_word_embeddings": true,
    });
    DecoderConfig::parse(config.to_string().as_bytes(), Path::new("config.json")).unwrap()
}

fn tokens(seed: usize) -> Vec<u32> {
    (0..TOKENS).map(|i| ((i * 7 + seed * 13) % 512) as u32).collect()
}

fn recipe(lora: &LoraSpec) -> InnerRecipe {
    serde_json::from_value(json!({ "lora": lora, "learning_rate": 1e-3, "steps": 2 })).unwrap()
}

fn jobs(candidates: usize, sequences: usize) -> Vec<InnerJob> {
    let sequences =
        |job| (0..sequences).map(|i| TrainSequence::all(tokens(job * 100 + i), 0)).collect();
    (0..candidates)
        .map(|job| InnerJob { sequences: sequences(job), seed: job as u64, start: None })
        .collect()
}

/// What `run` held at most beyond the decoder, which lies there already.
fn held_beside_weights(run: impl FnOnce() + Send) -> u64 {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(THREADS).build().unwrap();
    pool.install(|| most_held(run).1) as u64
}

/// The estimate is never too low, and not so high that it refuses what fits with room to spare.
#[track_caller]
fn check(what: &str, need: &Need, held: u64) {
    let estimated = need.total() - need.parameters;
    println!("{what}: {held} bytes held, {estimated} estimated with {MARGIN_PERCENT} % margin");
    assert!(held <= estimated, "{what}: the estimate is too low:\n{need}");
    assert!(held * 5 >= estimated * 2, "{what}: the estimate is far too high:\n{need}");
}

fn weights_and_cache_are_exact(decoder: &Decoder, lora: &LoraSpec) {
    let serve = Work::Serve { texts: 3, tokens: TOKENS };
    let need = estimate(decoder.config(), ENGINE, &serve);
    let bytes = |tensor: &candle_core::Tensor| tensor.elem_count() * tensor.dtype().size_in_bytes();
    let weights: usize = decoder.tensors().values().map(bytes).sum();
    assert_eq!(need.parameters, weights as u64);

    let mut generator = Generator::new(decoder, Limits::default());
    let sampling = Arc::new(SamplingConfig { max_new_tokens: 4, ..SamplingConfig::default() });
    for text in 0..3 {
        let (prompt, seed) = (tokens(text)[..TOKENS - 4].to_vec(), text as u64);
        let (adapter, constraint, sampling) = (None, None, sampling.clone());
        generator.submit(Request { prompt, adapter, seed, sampling, constraint }).unwrap();
    }
    while generator.step(&mut |_, _| ControlFlow::Continue(())).unwrap() {}
    assert_eq!(need.cache, generator.peak_bytes() as u64);

    let dir = tempfile::tempdir().unwrap();
    decoder.save(dir.path()).unwrap();
    let folder = ModelFolder::open(dir.path()).unwrap();
    let stored: u64 = folder.stored_bytes().values().sum();
    assert_eq!(stored, need.parameters);

    let work = Work::InnerUpdate {
        candidates: 1,
        step_tokens: 8,
        lora: lora.clone(),
        checkpointing: false,
    };
    let factors = Adapter::init(decoder.config(), lora, 0).unwrap().flat().unwrap();
    let need = estimate(decoder.config(), ENGINE, &work);
    assert_eq!(need.optimizer, 2 * 4 * factors.len() as u64);
}

fn inner_updates_fit(decoder: &Decoder, lora: &LoraSpec, candidates: usize, sequences: usize) {
    let step_tokens = sequences * TOKENS;
    let work =
        Work::InnerUpdate { candidates, step_tokens, lora: lora.clone(), checkpointing: false };
    let need = estimate(decoder.config(), ENGINE, &work);
    let (jobs, recipe) = (jobs(candidates, sequences), recipe(lora));
    let held = held_beside_weights(|| {
        drop(inner_updates(decoder, &jobs, &recipe, &mut |_, _| {}).unwrap());
    });
    check(&format!("{candidates} candidates of {step_tokens} tokens"), &need, held);
}

fn fine_tuning_fits(decoder: &Decoder, sequences: usize) {
    let work = Work::FineTune { step_tokens: sequences * TOKENS, checkpointing: false };
    let need = estimate(decoder.config(), ENGINE, &work);
    let rows: Vec<TrainSequence> =
        (0..sequences).map(|i| TrainSequence::all(tokens(i), 0)).collect();
    let held = held_beside_weights(|| {
        let mut run = FineTune::new(decoder, &OptimRecipe::default(), 2).unwrap();
        for _ in 0..2 {
            run.step(&rows).unwrap();
        }
    });
    // Two further copies of the weights are part of what it holds.
    let parameters = need.parameters / 3;
    let need = Need { parameters, working: need.working + 2 * parameters, ..need };
    check("every weight", &need, held);
}

fn serving_fits(decoder: &Decoder, texts: usize) {
    let sampling = SamplingConfig { max_new_tokens: TOKENS / 2, ..SamplingConfig::default() };
    let prompts: Vec<Prompt> = (0..texts)
        .map(|i| Prompt { adapter: None, tokens: tokens(i)[..TOKENS / 2].to_vec(), seed: i as u64 })
        .collect();
    let held = held_beside_weights(|| {
        drop(generate(decoder, &[], &prompts, &sampling, &mut |_, _| {}).unwrap());
    });
    let need = estimate(decoder.config(), ENGINE, &Work::Serve { texts, tokens: TOKENS });
    check(&format!("{texts} texts"), &need, held);
}

fn scoring_fits(decoder: &Decoder, lora: &LoraSpec) {
    let work = Work::Score { tokens: TOKENS, adapters: 2, lora: lora.clone() };
    let adapter = |seed| Adapter::init(decoder.config(), lora, seed).unwrap();
    let items: Vec<ScoreItem> = (0..200)
        .map(|i| ScoreItem {
            adapter: Some(i % 2),
            prompt: tokens(i)[..TOKENS - 4].to_vec(),
            answer: tokens(i)[TOKENS - 4..].to_vec(),
        })
        .collect();
    let held = held_beside_weights(|| {
        let adapters = [adapter(0), adapter(1)];
        drop(score(decoder, &[&adapters[0], &adapters[1]], &items).unwrap());
    });
    check("scoring", &estimate(decoder.config(), ENGINE, &work), held);
}

/// One test, so that nothing else allocates meanwhile.
#[test]
fn what_the_engine_holds_is_what_was_estimated_before() {
    let lora = LoraSpec::all(8);
    // Anew each time: a decoder keeps rearranged weights once they were used.
    let decoder = || Decoder::init(&config(), 1, &Device::Cpu).unwrap();
    weights_and_cache_are_exact(&decoder(), &lora);
    for (candidates, sequences) in [(1, 1), (12, 4), (24, 4)] {
        inner_updates_fit(&decoder(), &lora, candidates, sequences);
    }
    fine_tuning_fits(&decoder(), 10);
    fine_tuning_fits(&decoder(), 40);
    serving_fits(&decoder(), 8);
    serving_fits(&decoder(), 64);
    scoring_fits(&decoder(), &lora);
}
