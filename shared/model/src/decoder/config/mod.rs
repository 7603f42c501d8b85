//! The shape of a decoder, from and to a Hugging Face `config.json`.
//!
//! **Invariant:** a config that asks for anything the engine does not compute is refused by field.

mod fields;
mod read;
mod rotary;
#[cfg(test)]
mod tests;
mod window;
mod write;

use crate::ops::attention::Heads;
use crate::ops::rope::RopeScaling;

/// Which checkpoint family the tensors come from. All share one forward, steered by flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Llama.
    Llama,
    /// Mistral: Llama's forward; every layer may have a sliding window.
    Mistral,
    /// Qwen2 and Qwen2.5: biases on q, k and v; some layers may have a sliding window.
    Qwen2,
    /// Qwen3: every query and key head normalised; some layers may have a sliding window.
    Qwen3,
}

impl Family {
    const ALL: [Self; 4] = [Self::Llama, Self::Mistral, Self::Qwen2, Self::Qwen3];

    fn architecture(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Mistral => "MistralForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
        }
    }

    fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }

    /// True if q, k and v have a bias whatever the config says.
    #[must_use]
    pub fn qkv_bias(self) -> bool {
        self == Self::Qwen2
    }

    /// True if every query and key head is normalised before its rotation.
    #[must_use]
    pub fn normalises_heads(self) -> bool {
        self == Self::Qwen3
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
    /// How the rotary frequencies were stretched.
    pub rope_scaling: RopeScaling,
    /// Biases on q, k, v and o: Llama and Qwen3. Those of Qwen2 do not depend on it.
    pub attention_bias: bool,
    /// Biases on gate, up and down: Llama.
    pub mlp_bias: bool,
    /// Layers whose queries see a part of their past; none: all see everything.
    pub sliding_window: Option<SlidingWindow>,
    /// True if the output projection is the embedding.
    pub tie_word_embeddings: bool,
    /// Token that begins a text, if the model has one.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a text.
    pub eos_token_ids: Vec<u32>,
}

/// Attention that sees a part of the past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlidingWindow {
    /// Latest positions a query sees, its own included.
    pub size: usize,
    /// By layer: whether it has the window. Mistral has it in every layer.
    pub layers: Vec<bool>,
}

impl DecoderConfig {
    /// True sizes that fit together, before any memory is asked for.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.check_sizes()?;
        self.check_numbers()?;
        self.check_biases()?;
        self.check_windows()
    }

    fn check_sizes(&self) -> Result<(), String> {
        let sizes = [
            ("vocab_size", self.vocab_size, 1 << 22),
            ("hidden_size", self.hidden_size, 1 << 17),
            ("intermediate_size", self.intermediate_size, 1 << 20),
            ("num_hidden_layers", self.num_hidden_layers, 1 << 10),
            ("num_attention_heads", self.num_attention_heads, 1 << 12),
            ("num_key_value_heads", self.num_key_value_heads, 1 << 12),
            ("head_dim", self.head_dim, 1 << 12),
            ("max_position_embeddings", self.max_position_embeddings, 1 << 22),
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
        Ok(())
    }

    fn check_numbers(&self) -> Result<(), String> {
        let positive = |x: f64| x.is_finite() && x > 0.0;
        if !positive(self.rms_norm_eps) || !positive(self.rope_theta) {
            return Err("`rms_norm_eps` and `rope_theta` must be positive".into());
        }
        self.rope_scaling.check(self.rope_theta)
    }

    fn check_biases(&self) -> Result<(), String> {
        let absent = |field: &str| Err(format!("{} has no `{field}`", self.family.architecture()));
        match self.family {
            Family::Mistral | Family::Qwen2 if self.attention_bias => absent("attention_bias"),
            Family::Mistral | Family::Qwen2 | Family::Qwen3 if self.mlp_bias => absent("mlp_bias"),
            _ => Ok(()),
        }
    }

    fn check_windows(&self) -> Result<(), String> {
        let Some(window) = &self.sliding_window else { return Ok(()) };
        if window.size == 0 {
            return Err("`sliding_window` = 0 sees nothing; null is none".into());
        }
        if window.layers.len() != self.num_hidden_layers {
            let (found, layers) = (window.layers.len(), self.num_hidden_layers);
            return Err(format!("`layer_types` names {found} layers, the model has {layers}"));
        }
        match self.family {
            Family::Llama => Err("LlamaForCausalLM has no `sliding_window`".into()),
            Family::Mistral if window.layers.contains(&false) => {
                Err("MistralForCausalLM has its `sliding_window` in every layer".into())
            }
            _ => Ok(()),
        }
    }

    /// Head counts, size and window of one layer.
    #[must_use]
    pub fn heads(&self, layer: usize) -> Heads {
        Heads {
            query: self.num_attention_heads,
            key_value: self.num_key_value_heads,
            dim: self.head_dim,
            window: self.window(layer),
        }
    }

    /// Latest positions a query of one layer sees, its own included; none: all of its past.
    #[must_use]
    pub fn window(&self, layer: usize) -> Option<usize> {
        let window = self.sliding_window.as_ref()?;
        window.layers.get(layer)?.then_some(window.size)
    }

    /// True if the sequence end token set contains `token`.
    #[must_use]
    pub fn is_end(&self, token: u32) -> bool {
        self.eos_token_ids.contains(&token)
    }
}
