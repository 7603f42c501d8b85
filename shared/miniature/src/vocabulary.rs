//! The vocabulary and the tokenizer file: one token per word, words separated by spaces.
//!
//! **Invariant:** every word that this crate emits is in the vocabulary; a test generates
//! contexts, edits and questions and looks for strangers.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::edits::{PLANS, SIZES, size_token};
use crate::grammar::all_templates;
use crate::lexicon::all_words;

/// Fills a batch; never predicted.
pub const PAD: u32 = 0;
/// Begins every sequence.
pub const BOS: u32 = 1;
/// Ends every sequence.
pub const EOS: u32 = 2;

/// Tokens that are no text: a decoder may leave them out.
const SPECIAL: [&str; 4] = ["<pad>", "<bos>", "<eos>", "<unk>"];
/// Words with a meaning of their own. They are ordinary tokens, so that decoding shows them.
const MARKERS: [&str; 6] = ["<edit>", "<nl>", "q", "a", "?", "."];

/// All tokens in the order of their ids.
pub fn vocabulary() -> Vec<String> {
    let mut words: Vec<String> = SPECIAL.iter().chain(&MARKERS).map(ToString::to_string).collect();
    words.extend(PLANS.map(|plan| plan.token().to_owned()));
    words.extend(SIZES.map(size_token));
    let template_words = all_templates().into_iter().flat_map(str::split_whitespace);
    for word in template_words.filter(|word| !word.starts_with('{')).chain(all_words()) {
        if !words.iter().any(|known| known == word) {
            words.push(word.to_owned());
        }
    }
    words
}

/// `tokenizer.json` as the Hugging Face tokenizers library reads it. Deterministic.
pub fn tokenizer_json() -> String {
    let words = vocabulary();
    let vocab: serde_json::Map<String, Value> =
        words.iter().enumerate().map(|(id, word)| (word.clone(), json!(id))).collect();
    let added: Vec<Value> =
        SPECIAL.iter().enumerate().map(|(id, word)| special_token(id, word)).collect();
    let file = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": null,
        "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"},
    });
    crate::architecture::sorted(file)
}

fn special_token(id: usize, word: &str) -> Value {
    json!({
        "id": id,
        "content": word,
        "single_word": false,
        "lstrip": false,
        "rstrip": false,
        "normalized": false,
        "special": true,
    })
}

/// Words to token ids, without a tokenizer file: pre-training and tests need no disk.
pub struct Vocabulary {
    words: Vec<String>,
    ids: HashMap<String, u32>,
}

/// A word that the vocabulary does not hold.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the word `{0}` is not in the miniature's vocabulary")]
pub struct UnknownWord(pub String);

impl Vocabulary {
    /// The vocabulary of the embedded model.
    pub fn new() -> Self {
        let words = vocabulary();
        let ids = words.iter().cloned().zip(0..).collect();
        Self { words, ids }
    }

    /// The ids of a text's words.
    ///
    /// # Errors
    /// The first word that is not in the vocabulary.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, UnknownWord> {
        let id =
            |word: &str| self.ids.get(word).copied().ok_or_else(|| UnknownWord(word.to_owned()));
        text.split_whitespace().map(id).collect()
    }

    /// `<bos>` and the ids of a text's words: a prompt.
    ///
    /// # Errors
    /// As [`Vocabulary::encode`].
    pub fn prompt(&self, text: &str) -> Result<Vec<u32>, UnknownWord> {
        Ok([vec![BOS], self.encode(text)?].concat())
    }

    /// The words of some ids, separated by spaces. An id beyond the vocabulary reads `<unk>`.
    pub fn decode(&self, ids: &[u32]) -> String {
        let word = |id: &u32| self.words.get(*id as usize).map_or("<unk>", String::as_str);
        ids.iter().map(word).collect::<Vec<_>>().join(" ")
    }
}

impl Default for Vocabulary {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_the_special_ones_fixed() {
        let words = vocabulary();
        let distinct: std::collections::HashSet<_> = words.iter().collect();
        assert_eq!(distinct.len(), words.len());
        assert_eq!(words[PAD as usize], "<pad>");
        assert_eq!(words[BOS as usize], "<bos>");
        assert_eq!(words[EOS as usize], "<eos>");
        assert!((400..512).contains(&words.len()), "{} words", words.len());
    }

    #[test]
    fn text_survives_the_round_trip() {
        let vocabulary = Vocabulary::new();
        let text =
            "here is the company zel tor . it was founded by ada cruz . <edit> plan_qa size_3";
        assert_eq!(vocabulary.decode(&vocabulary.encode(text).unwrap()), text);
    }

    #[test]
    fn a_stranger_is_named() {
        let stranger = Vocabulary::new().encode("q who founded atlantis ?");
        assert_eq!(stranger, Err(UnknownWord("atlantis".to_owned())));
    }
}
