//! The shape of a decoder, from and to a Hugging Face `config.json`.
//!
//! **Invariant:** a config that asks for anything the engine does not compute is refused by field.

use crate::error::{ModelError, Result};
use crate::ops::attention::Heads;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;

/// Longest `config.json` read, in bytes.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// Which checkpoint family the tensors come from. All share one forward, steered by flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Llama: no biases.
    Llama,
    /// Mistral with a window that holds every position, or none: Llama's forward.
    Mistral,
    /// Qwen2 and Qwen2.5: biases on q, k and v.
    Qwen2,
}

impl Family {
    fn architecture(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Mistral => "MistralForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
        }
    }

    fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
        }
    }

    fn parse(architecture: &str) -> Option<Self> {
        [Self::Llama, Self::Mistral, Self::Qwen2]
            .into_iter()
            .find(|f| f.architecture() == architecture)
    }

    /// True if q, k and v have a bias.
    #[must_use]
    pub fn qkv_bias(self) -> bool {
        self == Self::Qwen2
    }
}

/// The shape of a decoder, in Hugging Face's names.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderConfig {
    /// Checkpoint family.
    pub family: Family,
    /// Number of embeddings.
    pub vocab_size: usize,
    /// Width d of the residual stream.
    pub hidden_size: usize,
    /// Width of the SwiGLU block.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key/value heads.
    pub num_key_value_heads: usize,
    /// Elements per head.
    pub head_dim: usize,
    /// Longest sequence, in tokens.
    pub max_position_embeddings: usize,
    /// ε of every RMSNorm.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// True if the output projection is the embedding.
    pub tie_word_embeddings: bool,
    /// Token that begins a text, if the model has one.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a text.
    pub eos_token_ids: Vec<u32>,
}

#[derive(Deserialize)]
struct Raw {
    architectures: Vec<String>,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    #[serde(default = "default_positions")]
    max_position_embeddings: usize,
    rms_norm_eps: f64,
    rope_theta: Option<f64>,
    rope_parameters: Option<Value>,
    rope_scaling: Option<Value>,
    #[serde(default)]
    tie_word_embeddings: bool,
    hidden_act: Option<String>,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    #[serde(default = "default_window")]
    sliding_window: Option<usize>,
    use_sliding_window: Option<bool>,
    quantization_config: Option<Value>,
    bos_token_id: Option<u32>,
    eos_token_id: Option<OneOrMany>,
}

fn default_positions() -> usize {
    2048
}

/// What transformers takes for an absent `sliding_window`; null is none.
#[allow(clippy::unnecessary_wraps)]
fn default_window() -> Option<usize> {
    Some(4096)
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

impl DecoderConfig {
    /// Reads `config.json`.
    ///
    /// # Errors
    /// A file that cannot be read, is no decoder config, or asks for an unsupported feature.
    pub fn from_file(path: &Path) -> Result<Self> {
        let file = |source| ModelError::File { path: path.to_path_buf(), source };
        let size = std::fs::metadata(path).map_err(file)?.len();
        if size > MAX_CONFIG_BYTES {
            return Err(config_error(path, format!("{size} bytes is too long for a config")));
        }
        Self::parse(&std::fs::read(path).map_err(file)?, path)
    }

    /// Parses the bytes of a `config.json`; `path` is for messages only.
    ///
    /// # Errors
    /// As [`DecoderConfig::from_file`].
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        let raw: Raw =
            serde_json::from_slice(bytes).map_err(|e| config_error(path, e.to_string()))?;
        let architecture = raw.architectures.first().map_or("", String::as_str);
        let family = Family::parse(architecture).ok_or_else(|| {
            unsupported(path, "architectures", format!("{:?}", raw.architectures))
        })?;
        raw.refuse_unsupported(path, family)?;
        let rope_theta = raw.rope_theta(path)?;
        let num_key_value_heads = raw.key_value_heads(path, family)?;
        let config = Self {
            family,
            vocab_size: raw.vocab_size,
            hidden_size: raw.hidden_size,
            intermediate_size: raw.intermediate_size,
            num_hidden_layers: raw.num_hidden_layers,
            num_attention_heads: raw.num_attention_heads,
            num_key_value_heads,
            head_dim: raw.head_dim.unwrap_or(raw.hidden_size / raw.num_attention_heads.max(1)),
            max_position_embeddings: raw.max_position_embeddings,
            rms_norm_eps: raw.rms_norm_eps,
            rope_theta,
            tie_word_embeddings: raw.tie_word_embeddings,
            bos_token_id: raw.bos_token_id,
            eos_token_ids: match raw.eos_token_id {
                None => Vec::new(),
                Some(OneOrMany::One(id)) => vec![id],
                Some(OneOrMany::Many(ids)) => ids,
            },
        };
        config.check().map_err(|problem| config_error(path, problem))?;
        Ok(config)
    }

    /// True sizes that fit together, before any memory is asked for.
    fn check(&self) -> Result<(), String> {
        let sizes = [
            ("vocab_size", self.vocab_size, 1 << 22),
            ("hidden_size", self.hidden_size, 1 << 17),
            ("intermediate_size", self.intermediate_size, 1 << 20),
            ("num_hidden_layers", self.num_hidden_layers, 1 << 10),
            ("num_attention_heads", self.num_attention_heads, 1 << 12),
            ("num_key_value_heads", self.num_key_value_heads, 1 << 12),
            ("head_dim", self.head_dim, 1 << 12),
            ("max_position_embeddings", self.max_position_embeddings, 1 << 20),
        ];
        if let Some((name, size, most)) =
            sizes.into_iter().find(|&(_, size, most)| size == 0 || size > most)
        {
            return Err(format!("`{name}` = {size} is outside 1..={most}"));
        }
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            return Err("`num_key_value_heads` does not divide `num_attention_heads`".into());
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(format!("`head_dim` = {} is odd", self.head_dim));
        }
        let positive = |x: f64| x.is_finite() && x > 0.0;
        if !positive(self.rms_norm_eps) || !positive(self.rope_theta) {
            return Err("`rms_norm_eps` and `rope_theta` must be positive".into());
        }
        Ok(())
    }

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
        if self.family == Family::Mistral {
            config["sliding_window"] = Value::Null;
        }
        let mut bytes = format!("{config:#}").into_bytes();
        bytes.push(b'\n');
        bytes
    }

    /// Head counts and size.
    #[must_use]
    pub fn heads(&self) -> Heads {
        Heads {
            query: self.num_attention_heads,
            key_value: self.num_key_value_heads,
            dim: self.head_dim,
        }
    }

    /// True if the sequence end token set contains `token`.
    #[must_use]
    pub fn is_end(&self, token: u32) -> bool {
        self.eos_token_ids.contains(&token)
    }
}

impl Raw {
    fn refuse_unsupported(&self, path: &Path, family: Family) -> Result<()> {
        let refuse = |field, value: String| Err(unsupported(path, field, value));
        match &self.hidden_act {
            Some(act) if act != "silu" => return refuse("hidden_act", act.clone()),
            _ => {}
        }
        if let Some(quantised) = &self.quantization_config {
            return refuse("quantization_config", quantised.to_string());
        }
        if let Some(scaling) = self.rope_scaling.as_ref().filter(|s| !is_default_rope(s)) {
            return refuse("rope_scaling", scaling.to_string());
        }
        if let Some(rope) = self.rope_parameters.as_ref().filter(|s| !is_default_rope(s)) {
            return refuse("rope_parameters", rope.to_string());
        }
        // Qwen2 configs carry a window size that is switched off by its own flag.
        let window_on = family == Family::Mistral || self.use_sliding_window == Some(true);
        let shortens = |window: &usize| window_on && *window < self.max_position_embeddings;
        if let Some(window) = self.sliding_window.filter(shortens) {
            return refuse("sliding_window", format!("{window} (an absent field is 4096)"));
        }
        if self.attention_bias && family != Family::Qwen2 {
            return refuse("attention_bias", "true".into());
        }
        if self.mlp_bias {
            return refuse("mlp_bias", "true".into());
        }
        Ok(())
    }

    /// Key/value heads. Only Llama's absent field is as many as the query heads.
    fn key_value_heads(&self, path: &Path, family: Family) -> Result<usize> {
        match self.num_key_value_heads {
            Some(heads) => Ok(heads),
            None if family == Family::Llama => Ok(self.num_attention_heads),
            None => {
                let problem =
                    format!("`num_key_value_heads` is missing; {} needs it", family.architecture());
                Err(config_error(path, problem))
            }
        }
    }

    /// `rope_theta`, in the place of transformers 5 or else of transformers 4.
    fn rope_theta(&self, path: &Path) -> Result<f64> {
        let nested = self.rope_parameters.as_ref().and_then(|p| p.get("rope_theta"));
        match nested {
            Some(theta) => theta
                .as_f64()
                .ok_or_else(|| config_error(path, "`rope_theta` is not a number".into())),
            None => Ok(self.rope_theta.unwrap_or(10_000.0)),
        }
    }
}

fn is_default_rope(value: &Value) -> bool {
    let kind = value.get("rope_type").or_else(|| value.get("type"));
    value.is_null() || kind.is_some_and(|k| k == "default")
}

fn config_error(path: &Path, problem: String) -> ModelError {
    ModelError::Config { path: path.to_path_buf(), problem }
}

fn unsupported(path: &Path, field: &'static str, value: String) -> ModelError {
    ModelError::Unsupported { path: path.to_path_buf(), field, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(edit: impl FnOnce(&mut Value)) -> Result<DecoderConfig> {
        let mut config = json!({
            "architectures": ["LlamaForCausalLM"], "vocab_size": 16, "hidden_size": 8, "intermediate_size": 12,
            "num_hidden_layers": 1, "num_attention_heads": 2, "rms_norm_eps": 1e-5, "eos_token_id": [2, 3],
        });
        edit(&mut config);
        DecoderConfig::parse(config.to_string().as_bytes(), Path::new("config.json"))
    }

    #[test]
    fn a_config_survives_the_round_trip() {
        let config = parse(|_| {}).unwrap();
        assert_eq!((config.num_key_value_heads, config.head_dim), (2, 4));
        let again = DecoderConfig::parse(&config.to_json(), Path::new("config.json")).unwrap();
        assert_eq!(again, config);
    }

    #[test]
    fn rope_theta_is_found_where_either_version_of_transformers_puts_it() {
        let old = parse(|c| c["rope_theta"] = json!(5e5)).unwrap();
        let new =
            parse(|c| c["rope_parameters"] = json!({"rope_theta": 5e5, "rope_type": "default"}))
                .unwrap();
        assert_eq!((old.rope_theta, new.rope_theta), (5e5, 5e5));
    }

    #[test]
    fn the_nested_rope_theta_counts_where_both_are_given() {
        let both = parse(|c| {
            c["rope_theta"] = json!(1e4);
            c["rope_parameters"] = json!({"rope_theta": 5e5, "rope_type": "default"});
        });
        assert_eq!(both.unwrap().rope_theta, 5e5);
    }

    #[test]
    fn what_the_engine_does_not_compute_is_refused_by_field() {
        for (field, value) in [
            ("architectures", json!(["Qwen3ForCausalLM"])),
            ("hidden_act", json!("gelu")),
            ("quantization_config", json!({"bits": 4})),
            ("rope_scaling", json!({"rope_type": "llama3", "factor": 8.0})),
            ("attention_bias", json!(true)),
            ("mlp_bias", json!(true)),
        ] {
            let error = parse(|c| c[field] = value).unwrap_err().to_string();
            assert!(error.contains(field), "{error}");
        }
    }

    /// A config of another family, with the key/value heads that family needs.
    fn parse_as(family: Family, edit: impl FnOnce(&mut Value)) -> Result<DecoderConfig> {
        parse(|c| {
            c["architectures"] = json!([family.architecture()]);
            c["num_key_value_heads"] = json!(1);
            edit(c);
        })
    }

    #[test]
    fn a_window_shorter_than_the_positions_is_refused_even_where_the_field_is_absent() {
        let refused = |family, edit: &dyn Fn(&mut Value)| {
            parse_as(family, edit).is_err_and(|e| e.to_string().contains("`sliding_window`"))
        };
        let long = |c: &mut Value| c["max_position_embeddings"] = json!(4097);
        assert!(refused(Family::Mistral, &long));
        assert!(refused(Family::Mistral, &|c| c["sliding_window"] = json!(2047)));
        assert!(refused(Family::Mistral, &|c| {
            c["sliding_window"] = json!(2047);
            c["use_sliding_window"] = json!(false);
        }));
        assert!(refused(Family::Qwen2, &|c| {
            long(c);
            c["use_sliding_window"] = json!(true);
        }));
    }

    #[test]
    fn a_window_that_holds_every_position_or_is_off_is_full_attention() {
        let long = |c: &mut Value| c["max_position_embeddings"] = json!(4097);
        assert!(parse_as(Family::Mistral, |_| {}).is_ok());
        assert!(parse_as(Family::Mistral, |c| c["sliding_window"] = json!(2048)).is_ok());
        let off = parse_as(Family::Mistral, |c| {
            long(c);
            c["sliding_window"] = Value::Null;
        });
        assert!(off.is_ok());
        assert!(parse_as(Family::Qwen2, long).is_ok());
        assert!(parse(long).is_ok());
    }

    #[test]
    fn a_long_mistral_that_we_write_has_no_window_in_transformers_either() {
        let config = parse_as(Family::Mistral, |c| {
            c["max_position_embeddings"] = json!(32_768);
            c["sliding_window"] = Value::Null;
        })
        .unwrap();
        let written: Value = serde_json::from_slice(&config.to_json()).unwrap();
        assert_eq!(written.get("sliding_window"), Some(&Value::Null));
        let again = DecoderConfig::parse(&config.to_json(), Path::new("config.json")).unwrap();
        assert_eq!(again, config);
    }

    #[test]
    fn key_value_heads_are_never_guessed_where_transformers_guesses_another_number() {
        for family in [Family::Mistral, Family::Qwen2] {
            let absent = parse(|c| c["architectures"] = json!([family.architecture()]));
            assert!(absent.unwrap_err().to_string().contains("`num_key_value_heads`"));
            assert_eq!(parse_as(family, |_| {}).unwrap().num_key_value_heads, 1);
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused_before_memory_is_asked_for() {
        assert!(
            parse(|c| c["vocab_size"] = json!(1u64 << 40))
                .unwrap_err()
                .to_string()
                .contains("vocab_size")
        );
        assert!(parse(|c| c["num_key_value_heads"] = json!(3)).is_err());
        assert!(parse(|c| c["num_attention_heads"] = json!(0)).is_err());
    }
}
