//! A tiny random decoder with adapters, and a byte-level tokenizer for it.

// Each test binary uses its part.
#![allow(dead_code)]

use candle_core::Device;
use seal_model::lora::factor_shapes;
use seal_model::{
    Adapter, Decoder, DecoderConfig, Family, LoraSpec, RopeScaling, SlidingWindow, Tokenizer,
};
use serde_json::{Map, Value, json};

pub(crate) fn config() -> DecoderConfig {
    DecoderConfig {
        family: Family::Qwen2,
        vocab_size: 50,
        hidden_size: 32,
        intermediate_size: 48,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 8,
        max_position_embeddings: 96,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: RopeScaling::None,
        attention_bias: false,
        mlp_bias: false,
        sliding_window: None,
        tie_word_embeddings: true,
        bos_token_id: None,
        eos_token_ids: vec![49],
    }
}

pub(crate) fn numbers(len: usize, salt: usize, size: f32) -> Vec<f32> {
    (0..len).map(|i| ((((i + 31 * salt) * 7919) % 1009) as f32 / 504.5 - 1.0) * size).collect()
}

pub(crate) fn decoder() -> Decoder {
    let fresh = Decoder::init(&config(), 5, &Device::Cpu).unwrap();
    fresh.with_flat(&numbers(fresh.parameter_count(), 1, 0.3)).unwrap()
}

pub(crate) fn adapters() -> Vec<Adapter> {
    let spec = LoraSpec::all(3);
    let len = factor_shapes(&config(), &spec).last().map(|s| s.offset + s.len()).unwrap();
    (2..5)
        .map(|salt| Adapter::from_flat(&config(), &spec, &numbers(len, salt, 0.4)).unwrap())
        .collect()
}

/// The same decoder, but its second layer sees 21 positions only.
pub(crate) fn windowed_decoder() -> Decoder {
    let window = SlidingWindow { size: 21, layers: vec![false, true] };
    let config = DecoderConfig { sliding_window: Some(window), ..config() };
    Decoder::from_weights(config, decoder().weights().clone(), &Device::Cpu).unwrap()
}

/// A decoder of the same shape with another vocabulary and end token.
pub(crate) fn decoder_with(vocab_size: usize, end: u32, positions: usize) -> Decoder {
    let config = DecoderConfig {
        vocab_size,
        eos_token_ids: vec![end],
        max_position_embeddings: positions,
        ..config()
    };
    let fresh = Decoder::init(&config, 5, &Device::Cpu).unwrap();
    fresh.with_flat(&numbers(fresh.parameter_count(), 1, 0.3)).unwrap()
}

/// Tokens of [`byte_tokenizer`].
pub(crate) const BYTE_VOCABULARY: usize = 256 + MERGES.len() + 1;
/// Its end token, the last one.
pub(crate) const END: u32 = BYTE_VOCABULARY as u32 - 1;
/// Pairs that are tokens of their own, besides the 256 bytes. `Ġ` stands for a space.
const MERGES: [&str; 12] =
    ["t h", "th e", "Ġ a", "i n", "{ \"", "\" :", "\" ,", "Ġ \"", "e r", "1 2", "Ã ©", "ł Ģ"];

/// A byte-level BPE tokenizer as GPT-2's, with a few merges and a special token.
pub(crate) fn byte_tokenizer() -> Tokenizer {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tokenizer.json"), byte_tokenizer_json().to_string()).unwrap();
    Tokenizer::load(dir.path()).unwrap()
}

pub(crate) fn byte_tokenizer_json() -> Value {
    let mut vocabulary: Map<String, Value> =
        (0..=255u8).map(|byte| (byte_symbol(byte).to_string(), json!(byte))).collect();
    for (merge, id) in MERGES.iter().zip(256..) {
        vocabulary.insert(merge.replace(' ', ""), json!(id));
    }
    json!({
        "version": "1.0",
        "added_tokens": [{
            "id": END, "content": "<|end|>", "special": true, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false,
        }],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true,
            "trim_offsets": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true,
            "trim_offsets": true},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": MERGES},
    })
}

/// A byte-fallback BPE tokenizer as Llama 2's, with `▁` for a space.
pub(crate) fn fallback_tokenizer() -> Tokenizer {
    let mut vocabulary = Map::new();
    let mut add = |token: String| {
        let id = vocabulary.len();
        vocabulary.insert(token, json!(id));
    };
    ["<unk>", "<s>", "</s>"].map(str::to_owned).into_iter().for_each(&mut add);
    (0..=255u8).map(|byte| format!("<0x{byte:02X}>")).for_each(&mut add);
    (' '..='~').filter(|&c| c != ' ').map(String::from).for_each(&mut add);
    ["▁", "é", "▁a", "{\"", "\":", "th", "the", "12"]
        .map(str::to_owned)
        .into_iter()
        .for_each(&mut add);
    let special = |(id, content): (usize, &str)| {
        json!({"id": id, "content": content, "special": true, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false})
    };
    let added: Vec<Value> = ["<unk>", "<s>", "</s>"].into_iter().enumerate().map(special).collect();
    let tokenizer = json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
        ]},
        "model": {"type": "BPE", "vocab": vocabulary, "byte_fallback": true, "fuse_unk": true,
            "unk_token": "<unk>",
            "merges": ["▁ a", "{ \"", "\" :", "t h", "th e", "1 2"]},
    });
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    Tokenizer::load(dir.path()).unwrap()
}

/// The printable character that stands for a byte.
fn byte_symbol(byte: u8) -> char {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if printable(byte) {
        return char::from(byte);
    }
    let hidden = (0..byte).filter(|&b| !printable(b)).count();
    char::from_u32(256 + u32::try_from(hidden).unwrap()).unwrap()
}
