//! Does an edit line repeat a τ item: its question and, later in the line, its answer?
//!
//! The question alone is allowed: with another answer it teaches nothing τ pays for.

use std::collections::HashMap;

use crate::graders::words;
use crate::items::Item;

/// τ items by the first word of their question.
pub(super) struct OverlapIndex(HashMap<String, Vec<QuestionAnswer>>);

struct QuestionAnswer {
    question: Vec<String>,
    answer: Vec<String>,
}

impl OverlapIndex {
    pub(super) fn new<'a>(tau: impl IntoIterator<Item = &'a Item>) -> Self {
        let mut index: HashMap<String, Vec<QuestionAnswer>> = HashMap::new();
        for item in tau {
            let (question, answer) = (words(&item.question), words(&item.answer));
            if let (Some(first), false) = (question.first(), answer.is_empty()) {
                let key = first.clone();
                index.entry(key).or_default().push(QuestionAnswer { question, answer });
            }
        }
        Self(index)
    }

    /// Whether `line` holds a τ question followed, anywhere after it, by its answer.
    pub(super) fn repeats_tau(&self, line: &str) -> bool {
        let line = words(line);
        (0..line.len()).any(|at| self.repeats_from(&line[at..]))
    }

    fn repeats_from(&self, rest: &[String]) -> bool {
        let items = rest.first().and_then(|word| self.0.get(word));
        let repeated = |item: &QuestionAnswer| {
            rest.strip_prefix(item.question.as_slice())
                .is_some_and(|after| after.windows(item.answer.len()).any(|run| run == item.answer))
        };
        items.is_some_and(|items| items.iter().any(repeated))
    }
}
