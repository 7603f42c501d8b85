//! Inner updates per minute on this machine, at the size of the miniature.

use candle_core::Device;
use seal_model::{
    Decoder, DecoderConfig, Family, LoraSpec, Prompt, RopeScaling, SamplingConfig, generate,
};
use seal_training::{
    InnerJob, InnerRecipe, OptimRecipe, Schedule, TrainSequence, Trained, fine_tune, inner_updates,
};
use std::time::Instant;

fn config() -> DecoderConfig {
    DecoderConfig {
        family: Family::Llama,
        vocab_size: 483,
        hidden_size: 128,
        intermediate_size: 344,
        num_hidden_layers: 4,
        num_attention_heads: 4,
        num_key_value_heads: 4,
        head_dim: 32,
        max_position_embeddings: 256,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: RopeScaling::None,
        attention_bias: false,
        mlp_bias: false,
        sliding_window: None,
        tie_word_embeddings: true,
        bos_token_id: Some(1),
        eos_token_ids: vec![2],
    }
}

/// 32 lines of 13 tokens and a passage of 45, as in the miniature's self-edits.
fn job(seed: u64) -> InnerJob {
    let tokens = |len: u64, salt: u64| {
        (0..len).map(|i| ((i * 37 + salt * 101 + seed * 13) % 483) as u32).collect()
    };
    let lines = (0..32).map(|line| TrainSequence::all(tokens(13, line), 0));
    let sequences = lines.chain([TrainSequence::all(tokens(45, 99), 1)]).collect();
    InnerJob { sequences, seed, start: None }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let decoder = Decoder::init(&config(), 1, &Device::Cpu)?;
    let recipe = InnerRecipe {
        lora: LoraSpec::all(16),
        learning_rate: 5e-3,
        steps: 14,
        betas: (0.9, 0.99),
        eps: 1e-8,
        weight_decay: 0.0,
        clip: None,
        schedule: Schedule::Linear,
        ..InnerRecipe::default()
    };
    let tokens = 32 * 12 + 44;
    // Frozen weights cost a forward and an input gradient; factors also a gradient of their own.
    let (base, lora) = (0.83e6, 0.316e6);
    let flops = f64::from(tokens * 14) * (4.0 * base + 6.0 * lora);
    for candidates in [1, 8] {
        let jobs: Vec<InnerJob> = (0..candidates).map(job).collect();
        let start = Instant::now();
        let trained: Vec<Trained> = inner_updates(&decoder, &jobs, &recipe, &mut |_, _| {})?
            .into_iter()
            .collect::<Result<_, _>>()?;
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{candidates:3} candidates: {:.3} s each, {:.0} per minute, {:.1} GFLOP/s, loss {:.3} -> {:.3}",
            seconds / candidates as f64,
            60.0 * candidates as f64 / seconds,
            flops * candidates as f64 / seconds / 1e9,
            trained[0].losses[0],
            trained[0].losses[13],
        );
    }
    generation(&decoder)?;
    full_steps(&decoder)
}

/// Tokens per second of sampling 64 texts of 150 tokens after prompts of 50.
fn generation(decoder: &Decoder) -> Result<(), Box<dyn std::error::Error>> {
    let tokens: Vec<u32> = (0..50).map(|i| i * 7 + 3).collect();
    let prompt = |seed| Prompt { adapter: None, tokens: tokens.clone(), seed };
    let prompts: Vec<Prompt> = (0..64).map(prompt).collect();
    let sampling = SamplingConfig { max_new_tokens: 150, ..SamplingConfig::default() };
    let start = Instant::now();
    let texts = generate(decoder, &[], &prompts, &sampling, &mut |_, _| {})?;
    let written: usize = texts.iter().map(|text| text.tokens.len()).sum();
    println!("generation: {:.0} tokens per second", written as f64 / start.elapsed().as_secs_f64());
    Ok(())
}

/// Tokens per second of full fine-tuning on 48 lines and 10 documents of 200 tokens.
fn full_steps(decoder: &Decoder) -> Result<(), Box<dyn std::error::Error>> {
    let tokens = |len: u32, salt: u32| (0..len).map(|i| (i * 37 + salt * 101) % 483).collect();
    let lines = (0..48).map(|i| TrainSequence::all(tokens(13, i), 0));
    let documents = (0..10).map(|i| TrainSequence::all(tokens(200, i), 1));
    let batch: Vec<TrainSequence> = lines.chain(documents).collect();
    let trained: usize = batch.iter().map(|s| s.tokens.len()).sum();
    let start = Instant::now();
    fine_tune(decoder, &mut |_| batch.clone(), &OptimRecipe::default(), 10, &mut |_, _| {})?;
    let seconds = start.elapsed().as_secs_f64();
    println!("full fine-tuning: {:.0} tokens per second", 10.0 * trained as f64 / seconds);
    Ok(())
}
