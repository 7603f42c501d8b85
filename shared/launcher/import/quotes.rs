//! Which passage holds a question word for word.

use std::collections::HashMap;

use super::Passage;

/// Words that an index entry holds.
const HEAD: usize = 3;

/// Letters and digits of a text, lower case, word by word.
pub(super) fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let words = lower.split(|character: char| !character.is_alphanumeric());
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// All passages, by every run of three words.
pub(super) struct Quotes {
    texts: Vec<(String, Vec<String>)>,
    heads: HashMap<[String; HEAD], Vec<(usize, usize)>>,
}

impl Quotes {
    pub(super) fn of(passages: &[Passage]) -> Self {
        let texts: Vec<(String, Vec<String>)> =
            passages.iter().map(|passage| (passage.id.clone(), words(&passage.text))).collect();
        let mut heads: HashMap<[String; HEAD], Vec<(usize, usize)>> = HashMap::new();
        for (text, (_, words)) in texts.iter().enumerate() {
            for (at, run) in words.windows(HEAD).enumerate() {
                if let Ok(run) = <[String; HEAD]>::try_from(run.to_vec()) {
                    heads.entry(run).or_default().push((text, at));
                }
            }
        }
        Self { texts, heads }
    }

    /// Id of a passage that quotes the question. Questions of fewer than three words say too little
    /// to be quoted.
    pub(super) fn find(&self, question: &str) -> Option<&str> {
        let asked = words(question);
        let head = <[String; HEAD]>::try_from(asked.get(..HEAD)?.to_vec()).ok()?;
        let quotes = |(text, at): &&(usize, usize)| self.texts[*text].1[*at..].starts_with(&asked);
        let (text, _) = self.heads.get(&head)?.iter().find(quotes)?;
        Some(&self.texts[*text].0)
    }
}
