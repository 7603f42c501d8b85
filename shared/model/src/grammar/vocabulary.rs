//! A tokenizer's tokens as the bytes they stand for.
//!
//! Special tokens stand for none. Of two tokens with the same bytes the ordinary one counts, not the
//! fallback for a single byte.

use super::GrammarError;
use crate::decoder::DecoderConfig;
use crate::tokenizer::Tokenizer;
use serde_json::Value;
use std::collections::HashSet;
use std::sync::Arc;
use toktrie::{TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};

/// Longest token in bytes; the trie holds no longer ones.
const MAX_TOKEN_BYTES: usize = 1000;
/// Most tokens; the trie counts them in 24 bits, and its nodes in 22.
const MAX_TOKENS: usize = 1 << 20;

/// How a tokenizer writes bytes as the characters of its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spelling {
    /// GPT-2's: a printable character for each byte.
    ByteLevel,
    /// SentencePiece's: text with this character for a space, and `<0xE9>` for a single byte.
    Fallback { space: char },
}

/// The tokens of `tokenizer` in a vocabulary as large as the model's.
pub(super) fn environment(
    tokenizer: &Tokenizer,
    config: &DecoderConfig,
) -> Result<TokEnv, GrammarError> {
    if config.vocab_size > MAX_TOKENS {
        return Err(GrammarError::Tokenizer(format!("{} tokens are too many", config.vocab_size)));
    }
    let mut words = token_bytes(tokenizer, config.vocab_size)?;
    let ends: Vec<TokenId> =
        config.eos_token_ids.iter().copied().filter(|&e| (e as usize) < words.len()).collect();
    for &end in &ends {
        // An end token is never text; the marker says so.
        words[end as usize] = format!("\u{0}<end {end}>").into_bytes();
        words[end as usize][0] = TokTrie::SPECIAL_TOKEN_MARKER;
    }
    #[allow(clippy::cast_possible_truncation)]
    let size = words.len() as u32;
    let first = ends.first().copied().unwrap_or(toktrie::INVALID_TOKEN);
    let trie = TokTrie::from(&TokRxInfo::new(size, first), &words);
    let trie = if ends.is_empty() { trie } else { trie.with_eos_tokens(&ends) };
    Ok(Arc::new(Environment { trie }))
}

struct Environment {
    trie: TokTrie,
}

impl TokenizerEnv for Environment {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        self.trie.greedy_tokenize(bytes)
    }

    fn tokenize_is_canonical(&self) -> bool {
        false
    }
}

/// The bytes of each of the first `size` tokens; none for special, missing and double ones.
fn token_bytes(tokenizer: &Tokenizer, size: usize) -> Result<Vec<Vec<u8>>, GrammarError> {
    let inner = tokenizer.inner();
    let decoder = inner.get_decoder().and_then(|decoder| serde_json::to_value(decoder).ok());
    let spelling = decoder.as_ref().and_then(Spelling::of).ok_or_else(|| {
        let kind = decoder.as_ref().map_or(Value::Null, |decoder| decoder["type"].clone());
        GrammarError::Tokenizer(format!("its decoder is {kind}"))
    })?;
    let added = inner.get_added_tokens_decoder();
    let mut words = vec![Vec::new(); size];
    let mut fallbacks = Vec::new();
    for (token, id) in inner.get_vocab(true) {
        let Some(word) = words.get_mut(id as usize) else { continue };
        if let Some(added) = added.get(&id) {
            *word = if added.special { Vec::new() } else { token.into_bytes() };
        } else if let Some(byte) = spelling.fallback_byte(&token) {
            *word = vec![byte];
            fallbacks.push(id);
        } else {
            *word = spelling.bytes(&token);
        }
    }
    leave_out_doubles(&mut words, &fallbacks);
    Ok(words)
}

fn leave_out_doubles(words: &mut [Vec<u8>], fallbacks: &[u32]) {
    for word in &mut *words {
        // A marker in front would make it special.
        let special = word.len() > 1 && word[0] == TokTrie::SPECIAL_TOKEN_MARKER;
        if special || word.len() > MAX_TOKEN_BYTES {
            word.clear();
        }
    }
    let fallback: HashSet<u32> = fallbacks.iter().copied().collect();
    let mut known = HashSet::new();
    for last in [false, true] {
        for (word, id) in words.iter_mut().zip(0..) {
            if fallback.contains(&id) == last && !word.is_empty() && !known.insert(word.clone()) {
                word.clear();
            }
        }
    }
}

impl Spelling {
    /// From the decoder of a `tokenizer.json`.
    fn of(decoder: &Value) -> Option<Self> {
        let kind = |decoder: &Value, name: &str| decoder["type"] == name;
        if kind(decoder, "ByteLevel") {
            return Some(Self::ByteLevel);
        }
        if kind(decoder, "Metaspace") {
            return Some(Self::Fallback { space: one_char(&decoder["replacement"])? });
        }
        let steps = decoder["decoders"].as_array().filter(|_| kind(decoder, "Sequence"))?;
        if steps.iter().any(|step| kind(step, "ByteLevel")) {
            return Some(Self::ByteLevel);
        }
        let replaces_by_space = |step: &&Value| kind(step, "Replace") && step["content"] == " ";
        let space = steps.iter().find(replaces_by_space).map(|step| &step["pattern"]["String"]);
        let metaspace = || steps.iter().find(|s| kind(s, "Metaspace")).map(|s| &s["replacement"]);
        let falls_back = steps.iter().any(|step| kind(step, "ByteFallback"));
        let space = space.filter(|_| falls_back).or_else(metaspace)?;
        Some(Self::Fallback { space: one_char(space)? })
    }

    /// The byte of a token such as `<0xE9>`.
    fn fallback_byte(self, token: &str) -> Option<u8> {
        let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
        let spelled = self != Self::ByteLevel && digits.len() == 2;
        u8::from_str_radix(digits, 16).ok().filter(|_| spelled)
    }

    fn bytes(self, token: &str) -> Vec<u8> {
        match self {
            // As the decoder does: a token with a character that stands for no byte is itself.
            Self::ByteLevel => {
                let bytes: Option<Vec<u8>> = token.chars().map(byte_of).collect();
                bytes.unwrap_or_else(|| token.as_bytes().to_vec())
            }
            Self::Fallback { space } => token.replace(space, " ").into_bytes(),
        }
    }
}

fn one_char(value: &Value) -> Option<char> {
    let mut chars = value.as_str()?.chars();
    chars.next().filter(|_| chars.next().is_none())
}

/// The byte that GPT-2 writes as `symbol`: itself where it is printable, else one of the characters
/// from U+0100 on, in the order of the bytes.
fn byte_of(symbol: char) -> Option<u8> {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    match u8::try_from(symbol) {
        Ok(byte) => printable(byte).then_some(byte),
        Err(_) => {
            let place = u32::from(symbol).checked_sub(0x100)?;
            (0..=255u8).filter(|&byte| !printable(byte)).nth(place as usize)
        }
    }
}

#[cfg(test)]
mod tests;
