//! A `tokenizer.json` out of the metadata: byte-level BPE, and SentencePiece's BPE with byte fallback.
//!
//! **Invariant:** every token has the id that the file gives it, or the tokenizer is refused.

use super::error::GgufError;
use super::keys::Keys;
use super::{pieces, pre, shown};
use serde_json::{Map, Value, json};

const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
/// Types of tokens: those that stand for something else than their text.
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
/// Recognised in texts, as control tokens are, and part of them.
const OWN: i64 = 4;
/// What SentencePiece writes for a space.
const SPACE: &str = "▁";

/// The tokenizer as JSON.
pub(super) fn json(keys: Keys<'_>) -> Result<Value, GgufError> {
    const MODEL: &str = "tokenizer.ggml.model";
    let tokens = keys.texts(TOKENS)?.unwrap_or_default();
    if tokens.is_empty() {
        return Err(GgufError::Tokenizer(format!(
            "lacks the tokens of its tokenizer (`{TOKENS}`)"
        )));
    }
    let vocabulary = vocabulary(tokens)?;
    match keys.text(MODEL)? {
        Some("gpt2") => byte_level(keys, vocabulary),
        Some("llama") => sentence_piece(keys, tokens, vocabulary),
        other => Err(GgufError::Tokenizer(format!(
            "`{MODEL}` = {} is not read; gpt2 (byte-level BPE) and llama (SentencePiece) are",
            shown(other.unwrap_or("absent"))
        ))),
    }
}

fn vocabulary(tokens: &[String]) -> Result<Map<String, Value>, GgufError> {
    let mut vocabulary = Map::new();
    for (id, token) in tokens.iter().enumerate() {
        if vocabulary.insert(token.clone(), json!(id)).is_some() {
            return Err(GgufError::Tokenizer(format!("has the token `{}` twice", shown(token))));
        }
    }
    Ok(vocabulary)
}

/// As GPT-2's and all that came after it.
fn byte_level(keys: Keys<'_>, vocabulary: Map<String, Value>) -> Result<Value, GgufError> {
    const PRE: &str = "tokenizer.ggml.pre";
    let name = keys.text(PRE)?.ok_or_else(|| {
        GgufError::Tokenizer(format!("lacks the key `{PRE}`, which says how texts are cut"))
    })?;
    let pre::Cut { normalizer, pre_tokenizer, ignore_merges } = pre::of(name)?;
    let merges: Vec<Value> = keys
        .texts("tokenizer.ggml.merges")?
        .unwrap_or_default()
        .iter()
        .map(|merge| pair(merge, &vocabulary))
        .collect::<Result<_, _>>()?;
    Ok(json!({
        "version": "1.0",
        "added_tokens": added(keys, &[CONTROL, OWN])?,
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": null,
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": ignore_merges, "vocab": vocabulary, "merges": merges,
        },
    }))
}

/// One merge, both parts and what they make in the vocabulary.
fn pair(merge: &str, vocabulary: &Map<String, Value>) -> Result<Value, GgufError> {
    let parts = merge.split_once(' ').filter(|(_, right)| !right.contains(' '));
    let known = parts.filter(|(left, right)| {
        [(*left).to_owned(), (*right).to_owned(), format!("{left}{right}")]
            .iter()
            .all(|part| vocabulary.contains_key(part))
    });
    let wrong = || GgufError::Tokenizer(format!("has the merge `{}` of no tokens", shown(merge)));
    known.map(|(left, right)| json!([left, right])).ok_or_else(wrong)
}

/// As Llama's and Mistral's first models.
fn sentence_piece(
    keys: Keys<'_>,
    tokens: &[String],
    vocabulary: Map<String, Value>,
) -> Result<Value, GgufError> {
    const SCORES: &str = "tokenizer.ggml.scores";
    let scores = keys.floats(SCORES)?.unwrap_or_default();
    if scores.len() != tokens.len() {
        return Err(GgufError::Tokenizer(format!(
            "has {} tokens and {} scores of them (`{SCORES}`)",
            tokens.len(),
            scores.len()
        )));
    }
    let unknown = keys.size("tokenizer.ggml.unknown_token_id")?.unwrap_or(0);
    let prefix = keys.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let replace = json!({ "type": "Replace", "pattern": { "String": " " }, "content": SPACE });
    let prepend = prefix.then(|| json!({ "type": "Prepend", "prepend": SPACE }));
    let normalizers: Vec<Value> = prepend.into_iter().chain([replace]).collect();
    let back = [
        json!({ "type": "Replace", "pattern": { "String": SPACE }, "content": " " }),
        json!({ "type": "ByteFallback" }),
        json!({ "type": "Fuse" }),
    ];
    let strip = prefix.then(|| json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    let decoders: Vec<Value> = back.into_iter().chain(strip).collect();
    let merges: Vec<Value> =
        pieces::merges(tokens, scores).into_iter().map(|(l, r)| json!([l, r])).collect();
    Ok(json!({
        "version": "1.0",
        "added_tokens": added(keys, &[UNKNOWN, CONTROL, OWN])?,
        "normalizer": { "type": "Sequence", "normalizers": normalizers },
        "pre_tokenizer": null,
        "post_processor": null,
        "decoder": { "type": "Sequence", "decoders": decoders },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": tokens.get(unknown),
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true,
            "byte_fallback": true, "ignore_merges": false, "vocab": vocabulary, "merges": merges,
        },
    }))
}

/// Tokens that are recognised in a text before it is cut.
fn added(keys: Keys<'_>, types: &[i64]) -> Result<Vec<Value>, GgufError> {
    let tokens = keys.texts(TOKENS)?.unwrap_or_default();
    let given = keys.ints(TYPES)?.unwrap_or_default();
    if given.len() != tokens.len() {
        return Err(GgufError::Tokenizer(format!(
            "has {} tokens and {} types of them (`{TYPES}`)",
            tokens.len(),
            given.len()
        )));
    }
    let of_types =
        tokens.iter().zip(given).enumerate().filter(|(_, (_, kind))| types.contains(kind));
    let added = of_types.map(|(id, (token, kind))| {
        json!({
            "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": *kind != OWN,
        })
    });
    Ok(added.collect())
}
