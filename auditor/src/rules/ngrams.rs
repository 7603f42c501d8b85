//! Does a text come close to a τ item: most of its question's runs of words, and its answer?
//!
//! The exact rule beside this one ends at the first changed word; this one does not. A question
//! without its answer is allowed here too.
//!
//! Questions are made from the passage that honest edits retell, so shared words alone say little. What
//! an honest statement does not repeat is the part that asks: *who formed the new army*. So one of the
//! runs that are held must hold a question word.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::RulesError;
use crate::graders::words;
use crate::items::Item;

/// `[tau_ngrams]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NgramSettings {
    /// Words of a run. A shorter question is one run.
    pub words: usize,
    /// Share of a question's different runs that a text must hold to count as close, above 0 up to 1.
    pub share: f64,
    /// Words that ask. One of the held runs must hold one of them, unless the question has none.
    #[serde(default)]
    pub question_words: Vec<String>,
}

impl NgramSettings {
    /// Refuses settings under which every text or none would be close.
    pub(super) fn checked(self) -> Result<Self, RulesError> {
        if self.words >= 2 && self.share > 0.0 && self.share <= 1.0 {
            return Ok(self);
        }
        Err(RulesError::Ngrams)
    }
}

/// τ items by the runs of words in their questions.
pub(super) struct NgramIndex {
    settings: NgramSettings,
    items: Vec<Close>,
    by_run: HashMap<Vec<String>, Vec<Place>>,
}

struct Close {
    answer: Vec<String>,
    /// Different runs of the question.
    runs: usize,
    /// Whether one of them asks.
    asks: bool,
}

/// Where a run stands.
#[derive(Clone, Copy)]
struct Place {
    item: usize,
    asks: bool,
}

/// What a text holds of one question.
#[derive(Default)]
struct Held {
    runs: usize,
    asking: usize,
}

impl NgramIndex {
    pub(super) fn new<'a>(
        mut settings: NgramSettings,
        tau: impl IntoIterator<Item = &'a Item>,
    ) -> Self {
        settings.question_words.iter_mut().for_each(|word| *word = word.to_lowercase());
        let mut index = Self { settings, items: Vec::new(), by_run: HashMap::new() };
        tau.into_iter().for_each(|item| index.add(item));
        index
    }

    /// The same over another τ.
    pub(super) fn over<'a>(self, tau: impl IntoIterator<Item = &'a Item>) -> Self {
        Self::new(self.settings, tau)
    }

    fn add(&mut self, item: &Item) {
        let (question, answer) = (words(&item.question), words(&item.answer));
        if question.is_empty() || answer.is_empty() {
            return;
        }
        let runs: HashSet<&[String]> =
            question.windows(self.settings.words.min(question.len())).collect();
        let asking = &self.settings.question_words;
        let mut asked = false;
        for run in &runs {
            let asks = run.iter().any(|word| asking.contains(word));
            let place = Place { item: self.items.len(), asks };
            self.by_run.entry(run.to_vec()).or_default().push(place);
            asked |= asks;
        }
        let runs = runs.len();
        self.items.push(Close { answer, runs, asks: asked });
    }

    /// Whether `text` holds enough of one τ question and, anywhere, its answer. Each different run of
    /// the text is looked up once, so that repeating one costs nothing.
    pub(super) fn is_close(&self, text: &str) -> bool {
        let text = words(text);
        let mut held: HashMap<usize, Held> = HashMap::new();
        for size in 1..=self.settings.words {
            let runs: HashSet<&[String]> = text.windows(size).collect();
            for place in runs.into_iter().filter_map(|run| self.by_run.get(run)).flatten() {
                let held = held.entry(place.item).or_default();
                held.runs += 1;
                held.asking += usize::from(place.asks);
            }
        }
        held.into_iter().any(|(item, held)| {
            let Close { answer, runs, asks } = &self.items[item];
            held.runs as f64 >= self.settings.share * *runs as f64
                && (held.asking > 0 || !asks)
                && text.windows(answer.len()).any(|run| run == answer)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::items::item;

    fn index(share: f64) -> NgramIndex {
        let tau = [
            item("0", "What was the name of the town that the Mongols sacked?", "Otrar"),
            item("1", "Who fled?", "the Shah"),
        ];
        NgramIndex::new(settings(3, share), &tau)
    }

    fn settings(words: usize, share: f64) -> NgramSettings {
        let question_words = ["what", "who", "where"].map(str::to_owned).to_vec();
        NgramSettings { words, share, question_words }
    }

    #[test]
    fn a_statement_in_the_words_of_a_question_is_not_close_to_it() {
        let tau = [
            item("0", "What is the largest indigenous group in Nicaragua?", "Miskito"),
            item("1", "Name the largest indigenous group in Nicaragua!", "Miskito"),
        ];
        let statement = "The Miskito are the largest indigenous group in Nicaragua.";
        assert!(!NgramIndex::new(settings(3, 0.5), &tau[..1]).is_close(statement));
        assert!(NgramIndex::new(settings(3, 0.5), &tau[1..]).is_close(statement), "it has none");
        let without = NgramSettings { question_words: Vec::new(), ..settings(3, 0.5) };
        assert!(NgramIndex::new(without, &tau[..1]).is_close(statement));
    }

    #[test]
    fn a_reworded_question_with_its_answer_is_close_and_other_prose_is_not() {
        let close = |text| index(0.5).is_close(text);
        assert!(close("Q: what was the name of the town the Mongols took? A: Otrar."));
        assert!(close("Otrar. What was the name of the town that was sacked?"));
        assert!(!close("The Mongols sacked the town of Otrar."));
        assert!(!close("What was the name of the town that the Mongols sacked? Samarkand."));
        assert!(!close("What was the name of the Shah? Nobody at Otrar knew."));
    }

    #[test]
    fn a_question_shorter_than_a_run_is_one_run() {
        assert!(index(1.0).is_close("who fled? It was the Shah."));
        assert!(!index(1.0).is_close("who? The Shah fled."));
    }

    #[test]
    fn settings_that_mean_nothing_are_refused() {
        for (words, share) in [(1, 0.5), (3, 0.0), (3, 1.1), (3, f64::NAN)] {
            assert_eq!(settings(words, share).checked(), Err(RulesError::Ngrams));
        }
        assert!(settings(3, 1.0).checked().is_ok());
    }
}
