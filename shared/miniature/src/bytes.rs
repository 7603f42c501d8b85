//! A small model that reads any text, byte by byte: a student for real passages where no larger one is
//! at hand. It is trained within minutes on text of the same kind, and knows little.
//!
//! **Invariant:** recipe, texts and build fix the weights.

use std::path::Path;

use seal_model::{Decoder, DecoderConfig, Family, RopeScaling};
use seal_training::{End, FineTune, OptimRecipe, Schedule, TrainSequence};
use serde_json::{Map, Value, json};

use crate::architecture::{fresh_weights, sorted};
use crate::dice::Dice;
use crate::pretrain::PretrainError;

/// Begins every sequence; the ids below are the bytes.
pub const BOS: u32 = 256;
/// Ends every sequence.
pub const EOS: u32 = 257;
/// Longest sequence that the model reads, in tokens.
pub const MAX_TOKENS: usize = 2048;

/// What fixes the weights, beside the texts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BytesRecipe {
    /// Seed of the initial weights and of the order of the texts.
    pub seed: u64,
    /// Optimizer steps.
    pub steps: u64,
    /// Pieces of text per step.
    pub pieces: usize,
    /// Longest piece, in bytes; a longer text gives a random one.
    pub piece_bytes: usize,
    /// Peak learning rate; falls along a cosine to a fiftieth.
    pub learning_rate: f64,
}

impl Default for BytesRecipe {
    fn default() -> Self {
        Self { seed: 1, steps: 2000, pieces: 12, piece_bytes: 256, learning_rate: 2e-3 }
    }
}

/// A million weights in the shape of Llama.
pub fn config() -> DecoderConfig {
    DecoderConfig {
        family: Family::Llama,
        vocab_size: EOS as usize + 1,
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

/// The character that stands for a byte in a byte-level tokenizer file: itself where it can be seen,
/// else one beyond the first 256.
fn sign(byte: u8) -> char {
    let seen = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if seen(byte) {
        return char::from(byte);
    }
    let hidden = (0..byte).filter(|byte| !seen(*byte)).count() as u32;
    char::from_u32(256 + hidden).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// `tokenizer.json`: one token per byte, nothing merged.
pub fn tokenizer_json() -> String {
    let vocab: Map<String, Value> =
        (0..=u8::MAX).map(|byte| (sign(byte).to_string(), json!(byte))).collect();
    let special = |id: u32, content: &str| {
        json!({
            "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        })
    };
    let bytes = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false,
    });
    sorted(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [special(BOS, "<bos>"), special(EOS, "<eos>")],
        "normalizer": null,
        "pre_tokenizer": bytes,
        "post_processor": null,
        "decoder": bytes,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": false, "vocab": vocab, "merges": [],
        },
    }))
}

/// Trains a fresh model on texts, each a sequence from its beginning to its end token. Longer ones give
/// a random piece.
///
/// # Errors
/// The first step that failed.
pub fn pretrain_bytes(
    recipe: &BytesRecipe,
    texts: &[String],
    progress: &mut dyn FnMut(u64, f64),
) -> Result<Decoder, PretrainError> {
    let optimizer = OptimRecipe {
        learning_rate: recipe.learning_rate,
        betas: (0.9, 0.98),
        weight_decay: 0.05,
        clip: Some(1.0),
        schedule: Schedule::Cosine,
        warmup_steps: recipe.steps / 20,
        final_fraction: 0.02,
        ..OptimRecipe::default()
    };
    let fresh = fresh_weights(&config(), recipe.seed)?;
    let mut run = FineTune::new(&fresh, &optimizer, recipe.steps)?;
    let mut dice = Dice::new("bytes", recipe.seed);
    for step in 1..=recipe.steps {
        let batch: Vec<TrainSequence> = (0..recipe.pieces)
            .map(|_| {
                let text: &String = dice.pick(texts);
                piece(text, recipe.piece_bytes, &mut dice)
            })
            .collect();
        progress(step, run.step(&batch)?);
    }
    Ok(run.decoder()?)
}

fn piece(text: &str, longest: usize, dice: &mut Dice) -> TrainSequence {
    let bytes = text.as_bytes();
    let begin = dice.below(bytes.len().saturating_sub(longest) + 1);
    let end = bytes.len().min(begin + longest);
    let mut tokens = vec![BOS];
    tokens.extend(bytes[begin..end].iter().map(|byte| u32::from(*byte)));
    if end == bytes.len() {
        tokens.push(EOS);
        return TrainSequence::all(tokens, 0);
    }
    TrainSequence { end: End::Truncated, ..TrainSequence::all(tokens, 0) }
}

/// Writes a model folder that transformers reads as well.
///
/// # Errors
/// A folder that cannot be written.
pub fn write(decoder: &Decoder, folder: &Path) -> Result<(), WriteError> {
    decoder.save(folder)?;
    let generation = json!({
        "bos_token_id": BOS, "eos_token_id": EOS, "do_sample": true, "max_new_tokens": 64,
    });
    let tokenizer = json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<bos>", "eos_token": "<eos>",
        "clean_up_tokenization_spaces": false, "model_max_length": MAX_TOKENS,
    });
    for (name, text) in [
        ("tokenizer.json", tokenizer_json()),
        ("tokenizer_config.json", sorted(tokenizer)),
        ("generation_config.json", sorted(generation)),
    ] {
        std::fs::write(folder.join(name), text)?;
    }
    Ok(())
}

/// A folder that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The weights.
    #[error("cannot write the weights")]
    Weights(#[from] seal_model::ModelError),
    /// A file beside them.
    #[error("cannot write a file of the model")]
    File(#[from] std::io::Error),
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use seal_model::Tokenizer;

    use super::*;

    #[test]
    fn any_text_survives_the_round_trip_and_specials_are_read() {
        let folder = tempfile::tempdir().unwrap();
        write(&fresh_weights(&config(), 1).unwrap(), folder.path()).unwrap();
        let tokenizer = Tokenizer::load(folder.path()).unwrap();
        let text = "Otrár\n fell\t in\u{0}1219 – 城 🙂\u{7f}\u{a0}\u{ad}";
        let tokens = tokenizer.encode(text).unwrap();
        assert_eq!(tokens, text.bytes().map(u32::from).collect::<Vec<_>>());
        assert_eq!(tokenizer.decode(&tokens), text);
        assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(BOS), Some(EOS)));
        let decoder = Decoder::load(folder.path(), &Device::Cpu).unwrap();
        assert!(decoder.parameter_count() < 1_000_000);
    }

    #[test]
    fn a_few_steps_lower_the_loss_and_are_the_same_again() {
        let recipe =
            BytesRecipe { steps: 12, pieces: 4, piece_bytes: 48, ..BytesRecipe::default() };
        let texts = ["It was a town. ".repeat(9), "Short.".to_owned()];
        let train = || {
            let mut losses = Vec::new();
            let decoder =
                pretrain_bytes(&recipe, &texts, &mut |_, loss| losses.push(loss)).unwrap();
            (decoder.flat().unwrap(), losses)
        };
        let (weights, losses) = train();
        assert!(losses[11] < losses[0] - 0.5, "{losses:?}");
        assert_eq!(train().0, weights);
    }
}
