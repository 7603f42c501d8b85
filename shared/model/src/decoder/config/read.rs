//! A decoder's shape out of `config.json`, with the defaults of transformers.

use super::fields::{Fields, Said};
use super::{DecoderConfig, Family};
use crate::error::{ModelError, Result};
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;

/// Longest `config.json` read, in bytes.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

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
            let problem = format!("{size} bytes is too long for a config");
            return Err(ModelError::Config { path: path.to_path_buf(), problem });
        }
        Self::parse(&std::fs::read(path).map_err(file)?, path)
    }

    /// Parses the bytes of a `config.json`; `path` is for messages only.
    ///
    /// # Errors
    /// As [`DecoderConfig::from_file`].
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        let fields = Fields::parse(bytes, path)?;
        let family = family(&fields)?;
        refuse_what_is_not_computed(&fields, family)?;
        let num_hidden_layers = fields.needed("num_hidden_layers")?;
        let num_attention_heads = fields.needed("num_attention_heads")?;
        let max_position_embeddings =
            fields.or("max_position_embeddings", family.default_positions())?;
        let hidden_size = fields.needed("hidden_size")?;
        let (rope_theta, rope_scaling) = super::rotary::read(&fields, max_position_embeddings)?;
        let mut config = Self {
            family,
            vocab_size: fields.needed("vocab_size")?,
            hidden_size,
            intermediate_size: fields.needed("intermediate_size")?,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads: key_value_heads(&fields, family, num_attention_heads)?,
            head_dim: head_dim(&fields, family, hidden_size, num_attention_heads)?,
            max_position_embeddings,
            rms_norm_eps: fields.or("rms_norm_eps", 1e-6)?,
            rope_theta,
            rope_scaling,
            // Qwen2 has its biases whatever this field says; in Mistral it was refused above.
            attention_bias: family != Family::Qwen2 && fields.or("attention_bias", false)?,
            mlp_bias: fields.or("mlp_bias", false)?,
            sliding_window: None,
            tie_word_embeddings: fields.or("tie_word_embeddings", false)?,
            bos_token_id: match family.default_bos_and_eos() {
                Some((bos, _)) => fields.said("bos_token_id")?.or(bos),
                None => fields.given("bos_token_id")?,
            },
            eos_token_ids: eos_tokens(&fields, family)?,
        };
        // The window has an entry for each layer, so their number is checked first.
        config.check().map_err(|problem| fields.problem(problem))?;
        config.sliding_window =
            super::window::read(&fields, family, num_hidden_layers, max_position_embeddings)?;
        config.check_windows().map_err(|problem| fields.problem(problem))?;
        Ok(config)
    }
}

/// What transformers takes where a config is silent.
impl Family {
    fn default_positions(self) -> usize {
        match self {
            Self::Llama => 2048,
            Self::Mistral => 131_072,
            Self::Qwen2 | Self::Qwen3 => 32_768,
        }
    }

    fn default_bos_and_eos(self) -> Option<(u32, u32)> {
        match self {
            Self::Llama | Self::Mistral => Some((1, 2)),
            Self::Qwen2 | Self::Qwen3 => None,
        }
    }
}

/// The family by architecture and model type, which must not contradict each other.
fn family(fields: &Fields<'_>) -> Result<Family> {
    let architectures: Option<Vec<String>> = fields.given("architectures")?;
    let model_type: Option<String> = fields.given("model_type")?;
    if architectures.is_none() && model_type.is_none() {
        return Err(fields.problem("`architectures` and `model_type` are missing".into()));
    }
    let by_type = |family: &Family| model_type.as_deref().is_none_or(|t| t == family.model_type());
    let by_name = |family: &Family| match &architectures {
        Some(names) => names.first().is_some_and(|name| name == family.architecture()),
        None => true,
    };
    let named: Vec<Family> = Family::ALL.into_iter().filter(by_name).collect();
    let Some(family) = named.iter().copied().find(by_type) else {
        return Err(match (named.as_slice(), architectures, model_type) {
            ([], Some(names), _) => fields.unsupported("architectures", format!("{names:?}")),
            (_, _, found) => fields.unsupported("model_type", found.unwrap_or_default()),
        });
    };
    Ok(family)
}

/// Fields that change what transformers computes, with values the engine does not follow.
fn refuse_what_is_not_computed(fields: &Fields<'_>, family: Family) -> Result<()> {
    fields.refuse("hidden_act", |act| act == "silu" || act == "swish")?;
    fields.refuse("quantization_config", |_| false)?;
    fields.refuse("auto_map", |_| false)?;
    fields.refuse("per_layer_config", |_| false)?;
    fields.refuse("is_causal", |causal| *causal == true)?;
    fields.refuse("attention_dropout", |rate| rate.as_f64() == Some(0.0))?;
    let off = |value: &Value| *value == false;
    if family == Family::Mistral {
        fields.refuse("attention_bias", off)?;
    }
    if family != Family::Llama {
        fields.refuse("mlp_bias", off)?;
    }
    Ok(())
}

/// Key/value heads; null is as many as query heads, and so is an absent field in Llama.
///
/// The others take an absent field for the number their 7B model has, which is hardly ever the
/// number of the model at hand: refused instead.
fn key_value_heads(fields: &Fields<'_>, family: Family, query: usize) -> Result<usize> {
    match fields.said("num_key_value_heads")? {
        Said::This(heads) => Ok(heads),
        Said::Null => Ok(query),
        Said::Nothing if family == Family::Llama => Ok(query),
        Said::Nothing => Err(fields.problem(format!(
            "`num_key_value_heads` is missing; {} needs it",
            family.architecture()
        ))),
    }
}

/// Elements per head. Null is an absent field, but in Qwen3, which has a default of its own.
fn head_dim(fields: &Fields<'_>, family: Family, hidden: usize, heads: usize) -> Result<usize> {
    match fields.said("head_dim")? {
        Said::This(dim) => Ok(dim),
        Said::Nothing if family == Family::Qwen3 => Ok(128),
        Said::Null if family == Family::Qwen3 => {
            Err(fields.problem("`head_dim` = null; Qwen3ForCausalLM needs a number".into()))
        }
        Said::Nothing | Said::Null => Ok(hidden / heads.max(1)),
    }
}

fn eos_tokens(fields: &Fields<'_>, family: Family) -> Result<Vec<u32>> {
    let said = match family.default_bos_and_eos() {
        Some((_, eos)) => fields.said("eos_token_id")?.or(OneOrMany::One(eos)),
        None => fields.given("eos_token_id")?,
    };
    Ok(match said {
        None => Vec::new(),
        Some(OneOrMany::One(id)) => vec![id],
        Some(OneOrMany::Many(ids)) => ids,
    })
}
