//! A sound model folder that fits into no machine and takes no disk.

#![allow(clippy::unwrap_used, unreachable_pub)]

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use seal_model::DecoderConfig;
use seal_model::decoder::parameters;
use serde_json::{Map, json};

/// Writes `config.json` and a `model.safetensors` whose weights are a hole of hundreds of GiB;
/// returns its length.
pub fn write(folder: &Path) -> u64 {
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "vocab_size": 128_256, "hidden_size": 16_384,
        "intermediate_size": 53_248, "num_hidden_layers": 80, "num_attention_heads": 128,
        "num_key_value_heads": 8, "max_position_embeddings": 131_072, "rms_norm_eps": 1e-5,
        "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2,
    });
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let config = DecoderConfig::parse(config.to_string().as_bytes(), folder).unwrap();
    let (mut header, mut end) = (Map::new(), 0u64);
    for (name, shape) in parameters(&config) {
        let start = end;
        end += shape.iter().map(|&size| size as u64).product::<u64>() * 2;
        let entry = json!({ "dtype": "BF16", "shape": shape, "data_offsets": [start, end] });
        header.insert(name, entry);
    }
    let header = json!(header).to_string();
    let mut file = File::create(folder.join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    let length = 8 + header.len() as u64 + end;
    file.set_len(length).unwrap();
    length
}
