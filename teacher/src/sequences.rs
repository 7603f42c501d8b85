//! From a policy's text to training sequences, by the rules of the original system.
//!
//! Two states of that system were published, and recorded data of both exist; so there are two rules.
//! August differs from June in that it drops a train of thought, keeps at most thirty pieces, drops
//! blank ones, and may leave the context to the caller.
//!
//! **Invariant:** pure; the same text gives the same sequences to the letter.
//!
//! Source: recorded inputs and outputs of the original system in its states of June and August 2025,
//! and the behaviour of its public code; written anew.

use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::python_text::{lines, strip, strip_start};

/// What stands between two documents of one completion.
const DOCUMENT_SEPARATOR: &str = "---";
/// The first word of a self-QA piece, and the head that the first piece lacks: it stood in the prompt.
const QUESTION: &str = "Question";
const FIRST_QUESTION: &str = "Question 1: ";
/// Most pieces of one completion under the August rule.
const AUGUST_PIECES: usize = 30;

// `[\s\x1c-\x1f]` is Python's `\s`: see `python_text`.
static QUESTION_MARK: LazyLock<Regex> = LazyLock::new(|| pattern(r"Question[\s\x1c-\x1f]+\d+:"));
static NEXT_QUESTION: LazyLock<Regex> = LazyLock::new(|| pattern(r"\nQuestion[\s\x1c-\x1f]+\d+:"));
static ANSWER_MARK: LazyLock<Regex> = LazyLock::new(|| pattern(r"Answer[\s\x1c-\x1f]*:"));
static THOUGHT_END: LazyLock<Regex> = LazyLock::new(|| pattern(r"\nImplications:"));

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is a constant")
}

/// Which state of the original system is followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SequenceRule {
    /// June 2025.
    #[default]
    June,
    /// August 2025.
    August,
}

/// Builds the sequences of one completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceBuilder {
    /// The rule.
    pub rule: SequenceRule,
    /// Each line, or each question with its answer, is a sequence of its own. Off: each document is.
    pub split_newlines: bool,
    /// Append the context as the last sequence.
    pub with_context: bool,
}

impl SequenceBuilder {
    /// The rule as it was published: with the context at the end.
    pub fn new(rule: SequenceRule, split_newlines: bool) -> Self {
        Self { rule, split_newlines, with_context: true }
    }

    /// Every sequence of a completion: the title, a line break, a piece; the context last.
    pub fn build(&self, title: &str, context: &str, completion: &str) -> Vec<String> {
        let mut sequences: Vec<String> =
            self.pieces(completion).iter().map(|piece| titled(title, piece)).collect();
        if self.with_context {
            sequences.push(context_sequence(title, context));
        }
        sequences
    }

    /// The pieces of a completion, without title and context. Under the June rule a completion without
    /// text that is not split at line breaks yields one empty piece, as it did there.
    pub fn pieces(&self, completion: &str) -> Vec<String> {
        let completion = match self.rule {
            SequenceRule::June => completion,
            SequenceRule::August => without_thought(completion),
        };
        let mut pieces = match self.split_newlines {
            false => owned(documents(completion)),
            true if is_self_qa(completion) => questions(completion),
            true => owned(statements(completion)),
        };
        if self.rule == SequenceRule::August {
            // In this order: a blank piece counts among the thirty.
            pieces.truncate(AUGUST_PIECES);
            pieces.retain(|piece| !strip(piece).is_empty());
        }
        pieces
    }
}

/// One sequence.
pub fn titled(title: &str, piece: &str) -> String {
    format!("{title}\n{piece}")
}

/// The sequence of the context itself.
pub fn context_sequence(title: &str, context: &str) -> String {
    titled(title, strip(context))
}

fn owned(pieces: Vec<&str>) -> Vec<String> {
    pieces.into_iter().map(str::to_owned).collect()
}

/// What follows the first line that begins the list after a train of thought; all, without one.
fn without_thought(completion: &str) -> &str {
    THOUGHT_END.find(completion).map_or(completion, |found| strip_start(&completion[found.end()..]))
}

/// The documents between separators; without any, the whole text, be it empty.
fn documents(completion: &str) -> Vec<&str> {
    let parts = completion.split(DOCUMENT_SEPARATOR).map(strip);
    let documents: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    if documents.is_empty() { vec![strip(completion)] } else { documents }
}

/// The lines of every document, without the opener of a chatty list.
fn statements(completion: &str) -> Vec<&str> {
    let documents = documents(completion);
    let mut statements: Vec<&str> = documents
        .into_iter()
        .flat_map(|document| lines(document).map(strip))
        .filter(|line| !line.is_empty())
        .collect();
    if statements.get(1).is_some_and(|second| second.starts_with("1.")) {
        statements.remove(0);
    }
    statements
}

fn is_self_qa(completion: &str) -> bool {
    QUESTION_MARK.is_match(completion) && ANSWER_MARK.is_match(completion)
}

/// Cut before every line that begins a question. Separators and blank lines stay in the pieces.
fn questions(completion: &str) -> Vec<String> {
    let completion = strip(completion);
    let mut pieces = Vec::new();
    let mut begin = 0;
    for next in NEXT_QUESTION.find_iter(completion) {
        pieces.push(completion[begin..next.start()].to_owned());
        begin = next.start() + 1;
    }
    pieces.push(completion[begin..].to_owned());
    let first = strip(&pieces[0]);
    if !first.starts_with(QUESTION) {
        pieces[0] = format!("{FIRST_QUESTION}{first}");
    }
    pieces
}

#[cfg(test)]
mod tests;
