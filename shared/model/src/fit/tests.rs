use super::*;
use crate::lora::Projection;
use serde_json::{Value, json};
use std::path::Path;

const GIB: u64 = 1 << 30;
const CPU: Engine = Engine::Cpu { threads: 2 };

fn config(edit: Value) -> DecoderConfig {
    let mut config = json!({
        "rms_norm_eps": 1e-6, "max_position_embeddings": 32768, "tie_word_embeddings": false,
        "sliding_window": null,
    });
    config.as_object_mut().unwrap().append(&mut edit.as_object().unwrap().clone());
    DecoderConfig::parse(config.to_string().as_bytes(), Path::new("config.json")).unwrap()
}

fn qwen_half_billion() -> DecoderConfig {
    config(json!({
        "architectures": ["Qwen2ForCausalLM"], "vocab_size": 151_936, "hidden_size": 896,
        "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
        "num_key_value_heads": 2, "tie_word_embeddings": true,
    }))
}

fn llama_eight_billion() -> DecoderConfig {
    config(json!({
        "architectures": ["LlamaForCausalLM"], "vocab_size": 128_256, "hidden_size": 4096,
        "intermediate_size": 14_336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8,
    }))
}

fn mistral_seven_billion() -> DecoderConfig {
    config(json!({
        "architectures": ["MistralForCausalLM"], "vocab_size": 32_000, "hidden_size": 4096,
        "intermediate_size": 14_336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8,
    }))
}

fn inner(candidates: usize, step_tokens: usize, r: usize) -> Work {
    Work::InnerUpdate { candidates, step_tokens, lora: LoraSpec::all(r), checkpointing: false }
}

/// Numbers of weights as the makers of the models state them.
#[test]
fn the_weights_of_known_models_are_counted_to_the_byte() {
    for (config, weights) in [
        (qwen_half_billion(), 494_032_768),
        (llama_eight_billion(), 8_030_261_248),
        (mistral_seven_billion(), 7_241_732_096),
    ] {
        let serve = Work::Serve { texts: 1, tokens: 16 };
        assert_eq!(estimate(&config, CPU, &serve).parameters, weights * 4);
        // bf16 but for gains and biases, which are less than a thousandth.
        let bf16 = estimate(&config, Engine::Cuda, &serve).parameters;
        assert!(bf16 >= weights * 2 && bf16 < weights * 2 + weights / 1000 * 2, "{bf16}");
    }
}

#[test]
fn the_cache_grows_with_texts_and_positions_in_whole_blocks() {
    let cache =
        |texts, tokens| estimate(&llama_eight_billion(), CPU, &Work::Serve { texts, tokens }).cache;
    // 32 layers of 8 heads of 128 numbers, keys and values, four bytes each.
    let position = 32 * 8 * 128 * 2 * 4;
    assert_eq!(cache(1, 4096), 4096 * position);
    assert_eq!(cache(3, 4096), 3 * 4096 * position);
    assert_eq!(cache(1, 4081), cache(1, 4096));
}

#[test]
fn factors_gradients_and_optimizer_follow_rank_and_candidates() {
    let config = qwen_half_billion();
    let need = |candidates, r| estimate(&config, CPU, &inner(candidates, 64, r));
    // r · (in + out) of the seven projections of 24 layers.
    let widths = 2 * (896 + 896) + 2 * (896 + 128) + 3 * (896 + 4864);
    let factors = |candidates: u64, r: u64| candidates * r * widths * 24 * 4;
    for (candidates, r) in [(1, 16), (4, 16), (4, 32)] {
        let (need, one) = (need(candidates, r), factors(candidates as u64, r as u64));
        assert_eq!((need.adapters, need.gradients, need.optimizer), (2 * one, one, 2 * one));
    }
}

#[test]
fn more_of_anything_never_takes_less() {
    let config = qwen_half_billion();
    let total = |work: &Work| estimate(&config, CPU, work).total();
    assert!(total(&inner(1, 64, 8)) < total(&inner(2, 64, 8)));
    assert!(total(&inner(2, 64, 8)) < total(&inner(2, 128, 8)));
    assert!(total(&inner(2, 64, 8)) < total(&inner(2, 64, 16)));
    let checkpointed = |checkpointing| {
        let lora = LoraSpec::all(8);
        total(&Work::InnerUpdate { candidates: 2, step_tokens: 4096, lora, checkpointing })
    };
    assert!(checkpointed(true) < checkpointed(false));
    let fine = |step_tokens| total(&Work::FineTune { step_tokens, checkpointing: false });
    assert!(fine(64) < fine(128) && fine(64) > 5 * 4 * 494_032_768);
}

#[test]
fn a_merged_adapter_takes_a_copy_of_what_it_adapts() {
    let config = llama_eight_billion();
    let merged = |lora: LoraSpec| Work::Merged { lora, work: Box::new(inner(1, 64, 8)) };
    let parameters = |engine, work: &Work| estimate(&config, engine, work).parameters;
    let copy = |engine, lora: LoraSpec| {
        parameters(engine, &merged(lora)) - parameters(engine, &inner(1, 64, 8))
    };
    // q and o are square; k and v have a quarter of the heads; gate, up and down are 4096 by 14,336.
    let layer = 2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14_336;
    assert_eq!(copy(CPU, LoraSpec::all(8)), 32 * layer * 4);
    assert_eq!(copy(Engine::Cuda, LoraSpec::all(8)), 32 * layer * 2);
    let two = LoraSpec { targets: vec![Projection::Q, Projection::V], ..LoraSpec::all(8) };
    assert_eq!(copy(CPU, two), 32 * (4096 * 4096 + 4096 * 1024) * 4);
    let fit = Fit::new(&config, CPU, &merged(LoraSpec::all(8)), Some(50 * GIB));
    assert!(!fit.fits() && Fit::new(&config, CPU, &inner(1, 64, 8), Some(50 * GIB)).fits());
    assert!(!fit.mends.is_empty());
}

#[test]
fn what_does_not_fit_is_told_with_settings_that_would_fit() {
    let (config, work) = (qwen_half_billion(), inner(40, 2048, 64));
    let fit = Fit::new(&config, CPU, &work, Some(24 * GIB));
    assert!(!fit.fits() && !fit.mends.is_empty(), "{}", fit.need);
    let number = |setting: &str| -> Option<usize> {
        let mend = fit.mends.iter().find(|mend| mend.contains(setting))?;
        mend.chars().filter(char::is_ascii_digit).collect::<String>().parse().ok()
    };
    let candidates = number("candidates_per_batch").unwrap();
    let fits = |work: &Work| Fit::new(&config, CPU, work, Some(24 * GIB)).fits();
    assert!(fits(&inner(candidates, 2048, 64)) && !fits(&inner(candidates + 1, 2048, 64)));
}

#[test]
fn a_model_that_is_too_large_by_itself_is_sent_to_a_smaller_one_or_a_gpu() {
    let fit = Fit::new(&llama_eight_billion(), CPU, &inner(1, 16, 1), Some(8 * GIB));
    assert_eq!(fit.mends.len(), 1);
    assert!(fit.mends[0].contains("smaller model") && fit.mends[0].contains("bf16"));
    let fit = Fit::new(&llama_eight_billion(), Engine::Cuda, &inner(1, 16, 1), Some(8 * GIB));
    assert!(fit.mends[0].contains("GPU with more memory"));
}

#[test]
fn memory_that_nobody_can_tell_is_no_refusal() {
    let fit = Fit::new(&llama_eight_billion(), CPU, &inner(1000, 4096, 64), None);
    assert!(fit.fits() && fit.mends.is_empty());
}

#[test]
fn absurd_demands_are_large_numbers_not_overflows() {
    let absurd = inner(usize::MAX, usize::MAX, 1024);
    assert_eq!(estimate(&llama_eight_billion(), CPU, &absurd).total(), u64::MAX);
    let serve = Work::Serve { texts: usize::MAX, tokens: usize::MAX };
    assert_eq!(estimate(&llama_eight_billion(), Engine::Cuda, &serve).total(), u64::MAX);
}

#[test]
fn the_table_names_each_part_that_takes_something() {
    let table = estimate(&qwen_half_billion(), CPU, &inner(2, 64, 8)).to_string();
    for part in ["weights", "adapters", "gradients", "optimizer", "activations", "10 % more"] {
        assert!(table.contains(part), "{table}");
    }
    assert!(!table.contains("cache"), "{table}");
    assert_eq!([human(1023), human(1 << 20), human(3 * GIB / 2)], ["1023 B", "1.0 MiB", "1.5 GiB"]);
}
