//! A decoder's shape out of the metadata and the tensors' names.
//!
//! **Invariant:** a key of the architecture that is not known here is refused by its name: it could
//! change a number.

use super::error::GgufError;
use super::header::Header;
use super::keys::{Keys, unsupported};
use super::names::EMBEDDING;
use super::rotary;
use super::value::Value;
use crate::decoder::{DecoderConfig, Family, SlidingWindow};

/// Keys below the architecture's name, as they are read here or in `rotary`.
const KNOWN: [&str; 32] = [
    "vocab_size",
    "context_length",
    "embedding_length",
    "block_count",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "attention.sliding_window",
    "attention.causal",
    "attention.clamp_kqv",
    "attention.scale",
    "expert_count",
    "expert_used_count",
    "use_parallel_residual",
    "tensor_data_layout",
    "pooling_type",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.attn_factor",
    "rope.scaling.finetuned",
    "rope.scaling.yarn_log_multiplier",
    "rope.scaling.yarn_ext_factor",
    "rope.scaling.yarn_attn_factor",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
];

/// The architecture, and keys under its name.
pub(super) struct Architecture<'a> {
    pub(super) name: &'a str,
    pub(super) keys: Keys<'a>,
}

impl<'a> Architecture<'a> {
    /// Refuses what is no decoder, and keys that nobody knows.
    pub(super) fn of(header: &'a Header) -> Result<Self, GgufError> {
        let keys = Keys(&header.metadata);
        whole(keys)?;
        const ARCHITECTURE: &str = "general.architecture";
        let name = keys.text(ARCHITECTURE)?;
        let name = name.ok_or_else(|| GgufError::MissingKey(ARCHITECTURE.to_owned()))?;
        if !["llama", "qwen2", "qwen3"].contains(&name) {
            return Err(unsupported(ARCHITECTURE, super::shown(name)));
        }
        let under = |key: &&String| key.starts_with(name) && key[name.len()..].starts_with('.');
        for key in header.metadata.keys().filter(under) {
            if !KNOWN.contains(&&key[name.len() + 1..]) {
                let value = keys.value(key).map(Value::shown).unwrap_or_default();
                return Err(unsupported(key, value));
            }
        }
        Ok(Self { name, keys })
    }

    /// A key's full name.
    pub(super) fn key(&self, below: &str) -> String {
        format!("{}.{below}", self.name)
    }
}

/// One file that is a model, and no part or adapter.
fn whole(keys: Keys<'_>) -> Result<(), GgufError> {
    keys.refuse("general.type", |kind| *kind == Value::Text("model".to_owned()))?;
    match keys.size("split.count")? {
        Some(parts) if parts > 1 => return Err(GgufError::Split(parts as u64)),
        _ => {}
    }
    // Blocks of a few bits have had this layout since 2023.
    keys.refuse("general.quantization_version", |version| *version == Value::Int(2))
}

/// The shape of the decoder.
pub(super) fn read(header: &Header) -> Result<DecoderConfig, GgufError> {
    let architecture = Architecture::of(header)?;
    let (keys, key) = (architecture.keys, |below: &str| architecture.key(below));
    refuse_what_is_not_computed(&architecture)?;
    let hidden_size = keys.needed_size(&key("embedding_length"))?;
    let num_hidden_layers = keys.needed_size(&key("block_count"))?;
    let num_attention_heads = needed_of_layers(keys, &key("attention.head_count"))?;
    let of_keys = keys.size_of_layers(&key("attention.head_count_kv"))?;
    let head_dim = head_dim(&architecture, hidden_size, num_attention_heads)?;
    let max_position_embeddings = keys.needed_size(&key("context_length"))?;
    let embedding = header
        .tensors
        .get(EMBEDDING)
        .ok_or_else(|| GgufError::MissingTensor(EMBEDDING.to_owned()))?;
    let has = |name: &str| header.tensors.contains_key(name);
    let (rope_theta, rope_scaling) = rotary::read(&architecture)?;
    let (bos_token_id, eos_token_ids) = super::specials::ends(keys)?;
    let mut config = DecoderConfig {
        family: match architecture.name {
            "qwen2" => Family::Qwen2,
            "qwen3" => Family::Qwen3,
            _ => Family::Llama,
        },
        vocab_size: embedding.shape.first().copied().unwrap_or(0),
        hidden_size,
        intermediate_size: needed_of_layers(keys, &key("feed_forward_length"))?,
        num_hidden_layers,
        num_attention_heads,
        num_key_value_heads: of_keys.unwrap_or(num_attention_heads),
        head_dim,
        max_position_embeddings,
        rms_norm_eps: keys.needed_number(&key("attention.layer_norm_rms_epsilon"))?,
        rope_theta,
        rope_scaling,
        attention_bias: architecture.name != "qwen2" && has("blk.0.attn_q.bias"),
        mlp_bias: has("blk.0.ffn_gate.bias"),
        sliding_window: None,
        tie_word_embeddings: !has(super::names::HEAD),
        bos_token_id,
        eos_token_ids,
    };
    let refuse = |problem| GgufError::Value { key: architecture.name.to_owned(), problem };
    config.check().map_err(refuse)?;
    if let Some(size) = window(&architecture, max_position_embeddings)? {
        config.family = Family::Mistral;
        let layers = vec![true; num_hidden_layers];
        config.sliding_window = Some(SlidingWindow { size, layers });
        config.check().map_err(refuse)?;
    }
    Ok(config)
}

fn needed_of_layers(keys: Keys<'_>, key: &str) -> Result<usize, GgufError> {
    keys.size_of_layers(key)?.ok_or_else(|| GgufError::MissingKey(key.to_owned()))
}

/// Keys whose presence is fine and whose value may not be.
fn refuse_what_is_not_computed(architecture: &Architecture<'_>) -> Result<(), GgufError> {
    let (keys, key) = (architecture.keys, |below: &str| architecture.key(below));
    let zero = |value: &Value| *value == Value::Int(0) || *value == Value::Float(0.0);
    for below in ["expert_count", "expert_used_count", "attention.clamp_kqv", "attention.scale"] {
        keys.refuse(&key(below), zero)?;
    }
    keys.refuse(&key("pooling_type"), zero)?;
    keys.refuse(&key("attention.causal"), |value| *value == Value::Bool(true))?;
    keys.refuse(&key("use_parallel_residual"), |value| *value == Value::Bool(false))?;
    // The order in which old converters of Llama say that they left the rows, and the one they lie in.
    let own = |value: &Value| *value == Value::Text("Meta AI original pth".to_owned());
    keys.refuse(&key("tensor_data_layout"), |value| architecture.name == "llama" && own(value))
}

/// Elements per head; all of them must be rotated.
fn head_dim(
    architecture: &Architecture<'_>,
    hidden: usize,
    heads: usize,
) -> Result<usize, GgufError> {
    let (keys, key) = (architecture.keys, |below: &str| architecture.key(below));
    let dim = match keys.size(&key("attention.key_length"))? {
        Some(dim) => dim,
        None => hidden / heads.max(1),
    };
    for below in ["attention.value_length", "rope.dimension_count"] {
        let given = keys.size(&key(below))?;
        if let Some(other) = given.filter(|&other| other != dim) {
            return Err(unsupported(&key(below), format!("{other}, with heads of {dim},")));
        }
    }
    Ok(dim)
}

/// The window of every layer, where one is shorter than the longest text: Mistral's first models.
fn window(architecture: &Architecture<'_>, longest: usize) -> Result<Option<usize>, GgufError> {
    let key = architecture.key("attention.sliding_window");
    match architecture.keys.size(&key)?.filter(|&size| size < longest) {
        None | Some(0) => Ok(None),
        Some(size) if architecture.name == "llama" => Ok(Some(size)),
        // Which layers have it, the file does not say.
        Some(size) => Err(unsupported(&key, size.to_string())),
    }
}
