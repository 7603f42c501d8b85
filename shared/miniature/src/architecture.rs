//! The shape of the base model and the weights that pre-training begins with.

use candle_core::Device;
use seal_model::decoder::parameters;
use seal_model::{Decoder, DecoderConfig, Family, ModelError, RopeScaling};
use serde_json::{Value, json};

use crate::vocabulary::{BOS, EOS, PAD, vocabulary};

/// Longest sequence, in tokens.
pub const MAX_TOKENS: usize = 256;

/// Standard deviation of the initial embedding. It is also the output projection: with a width
/// of 128, logits begin with a deviation of about a half.
const EMBEDDING_DEVIATION: f64 = 0.05;
/// What [`Decoder::init`] draws every matrix with.
const ENGINE_DEVIATION: f64 = 0.02;

/// Under a million weights in the shape of Llama.
pub fn config() -> DecoderConfig {
    DecoderConfig {
        family: Family::Llama,
        vocab_size: vocabulary().len(),
        hidden_size: 128,
        intermediate_size: 344,
        num_hidden_layers: 4,
        num_attention_heads: 4,
        num_key_value_heads: 4,
        head_dim: 32,
        max_position_embeddings: MAX_TOKENS,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: RopeScaling::None,
        attention_bias: false,
        mlp_bias: false,
        sliding_window: None,
        tie_word_embeddings: true,
        bos_token_id: Some(BOS),
        eos_token_ids: vec![EOS],
    }
}

/// `config.json` for transformers and for our engine.
pub fn config_json() -> String {
    let mut file: Value = serde_json::from_slice(&config().to_json()).unwrap_or_default();
    file["pad_token_id"] = json!(PAD);
    file["attention_bias"] = json!(false);
    file["mlp_bias"] = json!(false);
    sorted(file)
}

/// Lines of JSON with sorted keys, whatever another crate of the build asks of serde_json.
pub(crate) fn sorted(mut file: Value) -> String {
    file.sort_all_objects();
    format!("{file:#}\n")
}

/// `generation_config.json`: sampling as the policy of the miniature samples.
pub fn generation_config_json() -> String {
    let file = json!({
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
        "do_sample": true,
        "temperature": 1.0,
        "max_new_tokens": 170,
    });
    sorted(file)
}

/// `tokenizer_config.json`: tells transformers which class reads `tokenizer.json`.
pub fn tokenizer_config_json() -> String {
    let file = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "clean_up_tokenization_spaces": false,
        "model_max_length": MAX_TOKENS,
    });
    sorted(file)
}

/// Fresh weights: each matrix N(0, 1/inputs), those that write to the residual stream smaller.
///
/// # Errors
/// A device without the memory.
pub fn fresh_decoder(seed: u64) -> Result<Decoder, ModelError> {
    fresh_weights(&config(), seed)
}

/// The same for another shape.
///
/// # Errors
/// As [`fresh_decoder`].
pub fn fresh_weights(config: &DecoderConfig, seed: u64) -> Result<Decoder, ModelError> {
    let decoder = Decoder::init(config, seed, &Device::Cpu)?;
    let mut flat = decoder.flat()?;
    let mut start = 0;
    for (name, shape) in parameters(config) {
        let end = start + shape.iter().product::<usize>();
        let factor = initial_factor(&name, &shape, config.num_hidden_layers);
        flat[start..end].iter_mut().for_each(|weight| *weight *= factor);
        start = end;
    }
    decoder.with_flat(&flat)
}

fn initial_factor(name: &str, shape: &[usize], layers: usize) -> f32 {
    let [_, inputs] = shape else { return 1.0 };
    let residual = name.contains("o_proj") || name.contains("down_proj");
    let deviation = match name {
        "model.embed_tokens.weight" => EMBEDDING_DEVIATION,
        _ if residual => 1.0 / (*inputs as f64 * 2.0 * layers as f64).sqrt(),
        _ => 1.0 / (*inputs as f64).sqrt(),
    };
    (deviation / ENGINE_DEVIATION) as f32
}
