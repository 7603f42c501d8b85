//! The smallest base that an adapter can fit, and an adapter of it: factors of a few numbers.

use seal_model::lora::factor_shapes;
use seal_model::{Adapter, DecoderConfig, Family, LoraSpec, Projection, RopeScaling};

pub(crate) fn config() -> DecoderConfig {
    DecoderConfig {
        family: Family::Llama,
        vocab_size: 20,
        hidden_size: 8,
        intermediate_size: 12,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        head_dim: 4,
        max_position_embeddings: 16,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: RopeScaling::None,
        attention_bias: false,
        mlp_bias: false,
        sliding_window: None,
        tie_word_embeddings: true,
        bos_token_id: None,
        eos_token_ids: vec![],
    }
}

/// Rank 2 on two projections.
pub(crate) fn adapter() -> Adapter {
    let spec = LoraSpec { targets: vec![Projection::Q, Projection::Down], ..LoraSpec::all(2) };
    let len = factor_shapes(&config(), &spec).last().map(|s| s.offset + s.len()).unwrap();
    let flat: Vec<f32> = (0..len).map(|i| i as f32 * 0.01 - 0.5).collect();
    Adapter::from_flat(&config(), &spec, &flat).unwrap()
}
