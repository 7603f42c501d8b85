//! A tiny decoder, jobs for it and a recipe.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use candle_core::Device;
use seal_model::{Decoder, DecoderConfig, Family, LoraSpec, RopeScaling};
use seal_training::{InnerJob, InnerRecipe, Schedule, TrainSequence, inner_updates};

pub fn decoder() -> Decoder {
    let config = DecoderConfig {
        family: Family::Llama,
        vocab_size: 61,
        hidden_size: 32,
        intermediate_size: 48,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        head_dim: 16,
        max_position_embeddings: 64,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: RopeScaling::None,
        attention_bias: false,
        mlp_bias: false,
        sliding_window: None,
        tie_word_embeddings: true,
        bos_token_id: None,
        eos_token_ids: vec![],
    };
    Decoder::init(&config, 7, &Device::Cpu).unwrap()
}

pub fn job(seed: u64) -> InnerJob {
    let tokens =
        |len: u64, step: u64| (0..len).map(|i| ((i * step + seed * 5) % 61) as u32).collect();
    let lines = (0..5 + seed % 3).map(|line| TrainSequence::all(tokens(7 + line, 3 + line), 0));
    InnerJob {
        sequences: lines.chain([TrainSequence::all(tokens(31, 7), 1)]).collect(),
        seed,
        start: None,
    }
}

pub fn recipe(sequences_per_step: Option<usize>) -> InnerRecipe {
    InnerRecipe {
        lora: LoraSpec::all(4),
        learning_rate: 1e-2,
        steps: 5,
        betas: (0.9, 0.99),
        eps: 1e-8,
        weight_decay: 0.01,
        clip: Some(1.0),
        schedule: Schedule::Linear,
        sequences_per_step,
        ..InnerRecipe::default()
    }
}

pub fn flats(decoder: &Decoder, jobs: &[InnerJob], recipe: &InnerRecipe) -> Vec<Vec<f32>> {
    let trained = inner_updates(decoder, jobs, recipe, &mut |_, _| {}).unwrap();
    trained.into_iter().map(|t| t.unwrap().adapter.flat().unwrap()).collect()
}

pub fn on_threads<R: Send>(threads: usize, run: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run)
}
