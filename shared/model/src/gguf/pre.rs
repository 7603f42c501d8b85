//! How texts are cut before byte pairs are merged, by the name that `tokenizer.ggml.pre` gives it.
//!
//! Source: the `tokenizer.json` of the models that the names stand for.

use super::error::GgufError;
use serde_json::{Value, json};

/// Whole words that are tokens are taken as they are, whatever their merges.
pub(super) struct Cut {
    pub(super) normalizer: Value,
    pub(super) pre_tokenizer: Value,
    pub(super) ignore_merges: bool,
}

/// Words as Llama 3 cuts them, with runs of so many digits.
macro_rules! words {
    ($digits:literal) => {
        concat!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|",
            $digits,
            r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )
    };
}

const LLAMA3: &str = words!(r"\p{N}{1,3}");
const QWEN2: &str = words!(r"\p{N}");
/// Mistral's later models: words end where small letters turn into large ones.
const TEKKEN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|",
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// The way of a name.
pub(super) fn of(name: &str) -> Result<Cut, GgufError> {
    let bytes = |own_words: bool| {
        json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
            "use_regex": own_words,
        })
    };
    let split = |pattern: &str| {
        let split = json!({
            "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated",
            "invert": false,
        });
        json!({ "type": "Sequence", "pretokenizers": [split, bytes(false)] })
    };
    let (normalizer, pre_tokenizer, ignore_merges) = match name {
        "gpt-2" | "gpt2" => (Value::Null, bytes(true), false),
        "llama-bpe" | "llama3" | "llama-v3" => (Value::Null, split(LLAMA3), true),
        "qwen2" => (json!({ "type": "NFC" }), split(QWEN2), false),
        "tekken" => (Value::Null, split(TEKKEN), true),
        "smollm" => {
            let digits = json!({ "type": "Digits", "individual_digits": true });
            let both = json!({ "type": "Sequence", "pretokenizers": [digits, bytes(true)] });
            (Value::Null, both, false)
        }
        other => {
            return Err(GgufError::Tokenizer(format!(
                "`tokenizer.ggml.pre` = {} is not known; gpt-2, llama-bpe, qwen2, smollm and tekken are",
                super::shown(other)
            )));
        }
    };
    Ok(Cut { normalizer, pre_tokenizer, ignore_merges })
}
