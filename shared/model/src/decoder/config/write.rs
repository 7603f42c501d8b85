//! A decoder's shape as a `config.json` that transformers 4 and 5 and vLLM read alike.

use super::{DecoderConfig, Family};
use crate::ops::rope::RopeScaling;
use serde_json::{Value, json};

impl DecoderConfig {
    /// The bytes of a `config.json` that transformers and vLLM load.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut config = json!({
            "architectures": [self.family.architecture()],
            "model_type": self.family.model_type(),
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "max_position_embeddings": self.max_position_embeddings,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "tie_word_embeddings": self.tie_word_embeddings,
            "hidden_act": "silu",
            "torch_dtype": "float32",
            "bos_token_id": self.bos_token_id,
            "eos_token_id": match self.eos_token_ids.as_slice() {
                [] => Value::Null,
                [one] => json!(one),
                many => json!(many),
            },
        });
        // What a plain Llama does not have is written only where it is on.
        if self.attention_bias {
            config["attention_bias"] = json!(true);
        }
        if self.mlp_bias {
            config["mlp_bias"] = json!(true);
        }
        if let Some(scaling) = self.rope_scaling.to_json() {
            config["rope_scaling"] = scaling;
        }
        self.write_window(&mut config);
        // Sorted whatever another crate of the build asks of serde_json: the bytes are digested.
        config.sort_all_objects();
        let mut bytes = format!("{config:#}").into_bytes();
        bytes.push(b'\n');
        bytes
    }

    fn write_window(&self, config: &mut Value) {
        match (&self.sliding_window, self.family) {
            // An absent field would be a window of 4096.
            (None, Family::Mistral) => config["sliding_window"] = Value::Null,
            (None, _) => {}
            (Some(window), Family::Mistral) => config["sliding_window"] = json!(window.size),
            (Some(window), _) => {
                let name =
                    |&slides: &bool| ["full_attention", "sliding_attention"][slides as usize];
                let types: Vec<&str> = window.layers.iter().map(name).collect();
                let full = window.layers.iter().take_while(|&&slides| !slides).count();
                config["use_sliding_window"] = json!(true);
                config["sliding_window"] = json!(window.size);
                config["max_window_layers"] = json!(full);
                config["layer_types"] = json!(types);
            }
        }
    }
}

impl RopeScaling {
    /// The `rope_scaling` of transformers 4, which transformers 5 reads too; none is absent.
    fn to_json(&self) -> Option<Value> {
        Some(match self {
            Self::None => return None,
            Self::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
            Self::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low_freq_factor,
                "high_freq_factor": high_freq_factor,
                "original_max_position_embeddings": original_max_position_embeddings,
            }),
            Self::Yarn {
                factor,
                attention_factor,
                beta_fast,
                beta_slow,
                original_max_position_embeddings,
                truncate,
            } => json!({
                "rope_type": "yarn",
                "factor": factor,
                "attention_factor": attention_factor,
                "beta_fast": beta_fast,
                "beta_slow": beta_slow,
                "original_max_position_embeddings": original_max_position_embeddings,
                "truncate": truncate,
            }),
        })
    }
}
