//! The shapes that are measured, and how much of the work one block does.

use crate::target::Target;
use crate::work::{QUESTIONS, STEPS};
use anyhow::Result;
use seal_miniature::architecture;
use seal_model::DecoderConfig;
use serde::Serialize;
use serde_json::json;
use std::path::Path;

/// A decoder's shape; its weights are random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// The embedded model: 0.9 million weights.
    Miniature,
    /// Llama with 20 million weights.
    #[serde(rename = "20m")]
    TwentyMillion,
    /// Qwen2.5-0.5B.
    #[serde(rename = "qwen2.5-0.5b")]
    Qwen25Half,
    /// Qwen2.5-7B.
    #[serde(rename = "qwen2.5-7b")]
    Qwen25Seven,
}

/// How much of a candidate's work one block does. Rates follow; the proportion of training and
/// answering in the reported total is always that of the whole work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    /// Optimizer steps of each candidate.
    pub(crate) steps: u64,
    /// Questions that the peer answers one after another.
    pub(crate) peer_questions: usize,
}

impl Shape {
    /// All of them, small ones first.
    pub const ALL: [Self; 4] =
        [Self::Miniature, Self::TwentyMillion, Self::Qwen25Half, Self::Qwen25Seven];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Miniature => "miniature",
            Self::TwentyMillion => "20m",
            Self::Qwen25Half => "qwen2.5-0.5b",
            Self::Qwen25Seven => "qwen2.5-7b",
        }
    }

    /// The shape of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|shape| shape.name() == name)
    }

    /// True if the published weights of this shape are bf16.
    pub(crate) fn is_published_in_bf16(self) -> bool {
        matches!(self, Self::Qwen25Half | Self::Qwen25Seven)
    }

    /// Candidates trained together unless told otherwise: more where memory holds them, for a GPU
    /// launches as many kernels for many of them as for one.
    #[must_use]
    pub fn candidates(self, target: &Target) -> usize {
        match (self, target) {
            (Self::Miniature, _) => 40,
            (Self::TwentyMillion, _) => 20,
            (Self::Qwen25Half, Target::Exact(_)) => 8,
            (Self::Qwen25Half, Target::Device(..)) => 64,
            (Self::Qwen25Seven, Target::Exact(_)) => 1,
            (Self::Qwen25Seven, Target::Device(..)) => 24,
        }
    }

    pub(crate) fn block(self, quick: bool, target: &Target) -> Block {
        if let Target::Device(..) = target {
            // Fast enough for the whole work; and where nothing waits for a step, the moments at
            // which steps were launched say little about how long one takes.
            let steps = if quick { STEPS / 5 } else { STEPS };
            return Block { steps, peer_questions: if quick { 1 } else { QUESTIONS } };
        }
        match (self, quick) {
            (Self::Miniature, _) => Block { steps: 90, peer_questions: 5 },
            (Self::TwentyMillion, false) => Block { steps: 30, peer_questions: 5 },
            (Self::TwentyMillion, true) => Block { steps: 5, peer_questions: 1 },
            (Self::Qwen25Half, false) => Block { steps: 4, peer_questions: 2 },
            (Self::Qwen25Half | Self::Qwen25Seven, true) => Block { steps: 2, peer_questions: 1 },
            (Self::Qwen25Seven, false) => Block { steps: 4, peer_questions: 1 },
        }
    }

    /// The decoder's config. No token ends a text: every answer has its full length.
    ///
    /// # Errors
    /// None that the tests let through.
    pub fn config(self) -> Result<DecoderConfig> {
        let file = match self {
            Self::Miniature => {
                return Ok(DecoderConfig { eos_token_ids: Vec::new(), ..architecture::config() });
            }
            Self::TwentyMillion => json!({
                "architectures": ["LlamaForCausalLM"],
                "vocab_size": 16_384, "hidden_size": 384, "intermediate_size": 1024,
                "num_hidden_layers": 8, "num_attention_heads": 6, "num_key_value_heads": 6,
                "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 1e4,
                "tie_word_embeddings": true,
            }),
            Self::Qwen25Half => json!({
                "architectures": ["Qwen2ForCausalLM"],
                "vocab_size": 151_936, "hidden_size": 896, "intermediate_size": 4864,
                "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
                "max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
                "tie_word_embeddings": true,
            }),
            Self::Qwen25Seven => json!({
                "architectures": ["Qwen2ForCausalLM"],
                "vocab_size": 152_064, "hidden_size": 3584, "intermediate_size": 18_944,
                "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
                "max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
                "tie_word_embeddings": false,
            }),
        };
        Ok(DecoderConfig::parse(file.to_string().as_bytes(), Path::new(self.name()))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seal_model::decoder::parameters;

    #[test]
    fn the_shapes_have_the_sizes_their_names_say() {
        for (shape, millions) in Shape::ALL.into_iter().zip([1, 20, 494, 7616]) {
            let count: usize = parameters(&shape.config().unwrap())
                .iter()
                .map(|(_, dims)| dims.iter().product::<usize>())
                .sum();
            assert_eq!((count + 500_000) / 1_000_000, millions, "{}: {count}", shape.name());
            assert_eq!(Shape::from_name(shape.name()), Some(shape));
        }
    }
}
