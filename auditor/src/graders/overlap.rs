//! Graders that compare words: exact, containment, substring, recall of gold words and of gold key
//! words, token F1.
//!
//! Source: the recorded answers of the original system. Adapted models answer in sentences, so exact
//! match and F1 reverse the sign of the result; recall of the gold's words agrees best with the judge.

use std::collections::HashMap;

use super::Asked;
use super::key_words::key_words;
use super::normalise::words;

/// All words equal, in order.
pub fn exact(answer: &str, gold: &str) -> bool {
    words(answer) == words(gold)
}

/// The gold words stand in the answer as one run. A gold without words is contained in nothing.
pub fn containment(answer: &str, gold: &str) -> bool {
    let (answer, gold) = (words(answer), words(gold));
    !gold.is_empty() && answer.windows(gold.len()).any(|run| run == gold)
}

/// The gold's words stand in the answer, the first and the last perhaps as part of a longer word. A gold
/// without words stands in nothing.
pub fn substring(answer: &str, gold: &str) -> bool {
    let gold = words(gold).join(" ");
    !gold.is_empty() && words(answer).join(" ").contains(&gold)
}

/// Share of the gold's words that the answer holds, each as often as it occurs; 0 without gold words.
pub fn recall(answer: &str, gold: &str) -> f64 {
    let (answer, gold) = (words(answer), words(gold));
    share(common(&answer, &gold), gold.len())
}

/// Share of the gold's key words that the answer holds, each as often as it occurs; with
/// `beyond_question` only of those that the question does not hold, unless it holds them all. A gold
/// of function words alone is compared word by word.
pub fn key_recall(asked: &Asked<'_>, beyond_question: bool) -> f64 {
    let gold = key_words(asked.gold);
    if gold.is_empty() {
        return recall(asked.answer, asked.gold);
    }
    let known = if beyond_question { key_words(asked.question) } else { Vec::new() };
    let new: Vec<String> = gold.iter().filter(|word| !known.contains(word)).cloned().collect();
    let wanted = if new.is_empty() { gold } else { new };
    share(common(&key_words(asked.answer), &wanted), wanted.len())
}

/// Harmonic mean of word precision and word recall; 0 where nothing is shared.
pub fn f1(answer: &str, gold: &str) -> f64 {
    let (answer, gold) = (words(answer), words(gold));
    share(2 * common(&answer, &gold), answer.len() + gold.len())
}

/// Words in both, with multiplicity.
fn common(answer: &[String], gold: &[String]) -> usize {
    let mut left: HashMap<&str, usize> = HashMap::new();
    for word in gold {
        *left.entry(word).or_default() += 1;
    }
    let mut take = |word: &String| match left.get_mut(word.as_str()) {
        Some(count) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    };
    answer.iter().filter(|word| take(word)).count()
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_ignores_only_what_normalisation_drops() {
        assert!(exact("The Otrar.", "otrar"));
        assert!(!exact("in Otrar", "otrar"));
    }

    #[test]
    fn containment_wants_whole_words_in_one_run() {
        assert!(containment("it was the silver mine", "Silver"));
        assert!(!containment("it was silvery", "silver"));
        assert!(!containment("new old york", "new york"));
        assert!(!containment("anything", "the"));
    }

    #[test]
    fn recall_counts_a_repeated_gold_word_twice() {
        assert_eq!(recall("duran sang", "duran duran"), 0.5);
        assert_eq!(recall("duran duran sang", "duran duran"), 1.0);
        assert_eq!(recall("anything", ""), 0.0);
    }

    #[test]
    fn a_substring_may_end_inside_a_word() {
        assert!(substring("it was silvery", "Silver"));
        assert!(!substring("sil ver", "silver"));
        assert!(!substring("anything", "the"));
    }

    #[test]
    fn key_recall_reads_past_spelling_and_asks_for_what_the_question_does_not_say() {
        let asked =
            |gold, answer| Asked { question: "Which town did the Mongols sack?", gold, answer };
        assert_eq!(key_recall(&asked("the town of Otrar", "They sacked Otrár."), true), 1.0);
        assert_eq!(key_recall(&asked("the town of Otrar", "a town"), true), 0.0);
        assert_eq!(key_recall(&asked("the town of Otrar", "a town"), false), 0.5);
        assert_eq!(key_recall(&asked("a town", "it was the town"), true), 1.0, "it says it all");
        assert_eq!(key_recall(&asked("to be", "to be"), true), 1.0);
        assert_eq!(key_recall(&asked("", "anything"), true), 0.0);
    }

    #[test]
    fn f1_punishes_a_long_answer() {
        assert_eq!(f1("silver", "silver"), 1.0);
        assert_eq!(f1("metal was silver", "silver"), 0.5);
        assert_eq!(f1("", ""), 0.0);
    }
}
