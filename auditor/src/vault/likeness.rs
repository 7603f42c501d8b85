//! Whether a question is one that was asked before, or nearly.
//!
//! Letters alone are compared. That finds a question which was taken over with another id, another
//! order of words, a word more or a slip mended; it does not find one that asks the same in other words
//! altogether. Who writes new questions still has to mean them.

use std::collections::HashSet;

use crate::graders::words;
use crate::items::Item;

/// Letters of a run.
const RUN: usize = 3;
/// Share of runs in common from which two questions are alike, whatever their answers. Questions of one
/// frame that ask for different things (*in which year*, *in which town*) have about 0.8.
const ALIKE: f64 = 0.9;
/// The same among the runs of the shorter one, where the answers are the same: then a frame in common
/// is the question.
const ALIKE_WITH_ANSWER: f64 = 0.7;

/// Whether `new` asks what `old` asked, or nearly.
pub(super) fn alike(new: &Item, old: &Item) -> bool {
    let (ours, theirs) = (runs(&new.question), runs(&old.question));
    let common = ours.intersection(&theirs).count() as f64;
    let (all, fewer) = ((ours.len() + theirs.len()) as f64, ours.len().min(theirs.len()) as f64);
    let same_answer = answers_alike(&new.answer, &old.answer);
    words(&new.question) == words(&old.question)
        || 2.0 * common >= ALIKE * all && all > 0.0
        || same_answer && common >= ALIKE_WITH_ANSWER * fewer && fewer > 0.0
}

/// Different runs of letters of a question, its words apart by one space.
fn runs(question: &str) -> HashSet<String> {
    let letters: Vec<char> = words(question).join(" ").chars().collect();
    letters.windows(RUN.min(letters.len()).max(1)).map(|run| run.iter().collect()).collect()
}

/// One answer holds the words of the other, in order.
fn answers_alike(one: &str, other: &str) -> bool {
    let (one, other) = (words(one), words(other));
    let (short, long) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    match short.len() {
        0 => long.is_empty(),
        size => long.windows(size).any(|run| run == short.as_slice()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::items::item;

    fn like(new: (&str, &str), old: (&str, &str)) -> bool {
        let [new, old] = [new, old].map(|(question, answer)| item("0", question, answer));
        assert_eq!(alike(&new, &old), alike(&old, &new), "{new:?} {old:?}");
        alike(&new, &old)
    }

    #[test]
    fn a_question_that_was_only_written_down_again_is_found() {
        let old = ("Who founded Zel Tor?", "Ada Cruz");
        for question in [
            "who founded zel tor",
            "Who founded the Zel Tor ?",
            "Please tell me: who founded Zel Tor?",
            "Zel Tor: who founded it?",
            "Who founded Zel Torr?",
            "Zel Tor was founded by whom?",
        ] {
            assert!(like((question, "Ada Cruz."), old), "{question}");
            assert!(like((question, "Cruz"), old), "{question}");
        }
        assert!(like(("Who founded Zel Tor?", "somebody else"), old), "whatever the answer");
    }

    #[test]
    fn another_question_about_the_same_is_not_taken_for_an_old_one() {
        let old = ("In which year was Zel Tor founded?", "1904");
        for (question, answer) in [
            ("In which town was Zel Tor founded?", "Lund"),
            ("Who founded Zel Tor?", "Ada Cruz"),
            ("When did Ada Cruz begin her company?", "1904"),
        ] {
            assert!(!like((question, answer), old), "{question}");
        }
        assert!(!like(("Who owns Zel Tor?", "Ada Cruz"), ("Who founded Zel Tor?", "Ada Cruz")));
    }

    #[test]
    fn questions_of_signs_alone_are_alike_and_yield_no_panic() {
        assert!(like(("?", "a"), ("!", "b")));
        assert!(!like(("?", "x"), ("Who founded Zel Tor?", "x")));
        assert!(like(("é", "x"), ("É?", "y")));
    }
}
