//! One training step at the layer shape of a 0.5-billion-parameter model.

use candle_core::Device;
use seal_model::{Decoder, DecoderConfig, Family, LoraSpec, RopeScaling};
use seal_training::{
    InnerJob, InnerRecipe, OptimRecipe, Schedule, TrainSequence, fine_tune, inner_updates,
};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = DecoderConfig {
        family: Family::Qwen2,
        vocab_size: 32_000,
        hidden_size: 896,
        intermediate_size: 4864,
        num_hidden_layers: 4,
        num_attention_heads: 14,
        num_key_value_heads: 2,
        head_dim: 64,
        max_position_embeddings: 2048,
        rms_norm_eps: 1e-6,
        rope_theta: 1e6,
        rope_scaling: RopeScaling::None,
        attention_bias: false,
        mlp_bias: false,
        sliding_window: None,
        tie_word_embeddings: true,
        bos_token_id: None,
        eos_token_ids: vec![],
    };
    let decoder = Decoder::init(&config, 1, &Device::Cpu)?;
    let parameters = decoder.parameter_count() as f64;
    let sequence = TrainSequence::all((0..129).map(|i| i * 97).collect(), 0);
    let sequences = vec![sequence; 4];
    let tokens = 4.0 * 128.0;
    let recipe = InnerRecipe {
        lora: LoraSpec::all(16),
        learning_rate: 1e-4,
        steps: 3,
        betas: (0.9, 0.999),
        eps: 1e-8,
        weight_decay: 0.0,
        clip: Some(1.0),
        schedule: Schedule::Linear,
        ..InnerRecipe::default()
    };
    let job = InnerJob { sequences: sequences.clone(), seed: 1, start: None };
    let start = Instant::now();
    inner_updates(&decoder, &[job], &recipe, &mut |_, _| {})?;
    let seconds = start.elapsed().as_secs_f64() / 3.0;
    println!(
        "LoRA: {seconds:.2} s per step, {:.0} GFLOP/s",
        4.0 * parameters * tokens / seconds / 1e9
    );
    let start = Instant::now();
    fine_tune(&decoder, &mut |_| sequences.clone(), &OptimRecipe::default(), 2, &mut |_, _| {})?;
    let seconds = start.elapsed().as_secs_f64() / 2.0;
    println!(
        "full: {seconds:.2} s per step, {:.0} GFLOP/s",
        6.0 * parameters * tokens / seconds / 1e9
    );
    Ok(())
}
