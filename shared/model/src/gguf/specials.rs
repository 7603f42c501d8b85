//! The tokens that begin and end a text, and the texts of all special tokens by their role.

use super::error::GgufError;
use super::keys::Keys;
use std::collections::BTreeMap;

/// Keys of tokens that end a text or a turn. Models that were tuned to chat have several.
const ENDS: [&str; 3] = ["eos", "eot", "eom"];

/// The token that begins a text, if there is one, and those that end one.
pub(super) fn ends(keys: Keys<'_>) -> Result<(Option<u32>, Vec<u32>), GgufError> {
    let mut ends = Vec::new();
    for role in ENDS {
        ends.extend(id(keys, role)?.filter(|id| !ends.contains(id)));
    }
    Ok((id(keys, "bos")?, ends))
}

/// The texts of special tokens, by the names that chat templates know them by.
pub(super) fn texts(keys: Keys<'_>) -> Result<BTreeMap<String, String>, GgufError> {
    let tokens = keys.texts("tokenizer.ggml.tokens")?.unwrap_or_default();
    let mut texts = BTreeMap::new();
    for (role, name) in [
        ("bos", "bos_token"),
        ("eos", "eos_token"),
        ("unknown", "unk_token"),
        ("padding", "pad_token"),
    ] {
        let token = id(keys, role)?.and_then(|id| tokens.get(id as usize));
        texts.extend(token.map(|token| (name.to_owned(), token.clone())));
    }
    Ok(texts)
}

fn id(keys: Keys<'_>, role: &str) -> Result<Option<u32>, GgufError> {
    let key = format!("tokenizer.ggml.{role}_token_id");
    let id = keys.size(&key)?;
    // Older converters wrote the largest number for a token that is not there.
    Ok(id.and_then(|id| u32::try_from(id).ok()).filter(|&id| id != u32::MAX))
}
