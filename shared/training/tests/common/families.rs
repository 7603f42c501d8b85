//! A tiny decoder of every family, with adapters and sequences for it.
#![allow(dead_code, clippy::unwrap_used)]

use candle_core::Device;
use seal_model::lora::factor_shapes;
use seal_model::{Adapter, Decoder, DecoderConfig, Family, LoraSpec, RopeScaling, SlidingWindow};
use seal_training::TrainSequence;

pub(crate) fn config(family: Family, tied: bool) -> DecoderConfig {
    DecoderConfig {
        family,
        vocab_size: 37,
        hidden_size: 24,
        intermediate_size: 40,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 6,
        max_position_embeddings: 64,
        rms_norm_eps: 1e-5,
        rope_theta: 100.0,
        rope_scaling: RopeScaling::None,
        attention_bias: false,
        mlp_bias: false,
        sliding_window: None,
        tie_word_embeddings: tied,
        bos_token_id: None,
        eos_token_ids: vec![],
    }
}

/// Every family with every option it has, over sequences longer than its window.
pub(crate) fn with_every_option(family: Family) -> DecoderConfig {
    let window = |layers: [bool; 2]| Some(SlidingWindow { size: 3, layers: layers.to_vec() });
    let plain = config(family, false);
    match family {
        Family::Llama => DecoderConfig {
            rope_scaling: RopeScaling::Llama3 {
                factor: 4.0,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_max_position_embeddings: 64,
            },
            attention_bias: true,
            mlp_bias: true,
            ..plain
        },
        Family::Mistral => DecoderConfig {
            rope_scaling: RopeScaling::Linear { factor: 2.0 },
            sliding_window: window([true, true]),
            ..plain
        },
        Family::Qwen2 => DecoderConfig {
            rope_scaling: RopeScaling::Yarn {
                factor: 4.0,
                attention_factor: 1.2,
                beta_fast: 32.0,
                beta_slow: 1.0,
                original_max_position_embeddings: 128,
                truncate: true,
            },
            sliding_window: window([false, true]),
            ..plain
        },
        Family::Qwen3 => {
            DecoderConfig { attention_bias: true, sliding_window: window([true, false]), ..plain }
        }
    }
}

pub(crate) const FAMILIES: [Family; 4] =
    [Family::Llama, Family::Mistral, Family::Qwen2, Family::Qwen3];

fn numbers(len: usize, salt: usize, size: f32) -> Vec<f32> {
    (0..len).map(|i| ((((i + 17 * salt) * 7919) % 1009) as f32 / 504.5 - 1.0) * size).collect()
}

/// A decoder without a zero or a one among its weights, so that no gradient is hidden.
pub(crate) fn decoder(config: &DecoderConfig) -> Decoder {
    let decoder = Decoder::init(config, 3, &Device::Cpu).unwrap();
    let len = decoder.parameter_count();
    let noise = numbers(len, 1, 0.2);
    let flat: Vec<f32> = decoder.flat().unwrap().iter().zip(noise).map(|(w, n)| w + n).collect();
    decoder.with_flat(&flat).unwrap()
}

pub(crate) fn adapter(config: &DecoderConfig, spec: &LoraSpec, salt: usize) -> Adapter {
    let len = factor_shapes(config, spec).last().map(|s| s.offset + s.len()).unwrap();
    Adapter::from_flat(config, spec, &numbers(len, salt, 0.3)).unwrap()
}

pub(crate) fn sequences(salt: u32) -> Vec<TrainSequence> {
    let tokens = |len: u32, step: u32| (0..len).map(|i| (i * step + salt) % 37).collect::<Vec<_>>();
    let mut weighted = TrainSequence::all(tokens(9, 5), 0);
    weighted.weights[4] = 0.25;
    weighted.weights[6] = 0.0;
    vec![
        TrainSequence::all(tokens(6, 7), 0),
        weighted,
        TrainSequence::completion(tokens(21, 11), 8, 1),
    ]
}
