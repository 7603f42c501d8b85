//! How alike two texts are by their words: BM25 with the usual constants.
//!
//! Source: S. Robertson, H. Zaragoza, "The probabilistic relevance framework: BM25 and beyond" (2009).

use std::collections::{BTreeMap, BTreeSet};

/// How soon more of one word counts no more.
const SATURATION: f64 = 1.2;
/// How much a long text is held against it.
const LENGTH: f64 = 0.75;

/// All texts, the most similar to the query first; equals stay in their order.
pub(crate) fn most_similar(query: &str, texts: &[&str]) -> Vec<usize> {
    let counts: Vec<BTreeMap<String, f64>> = texts.iter().map(|text| count(text)).collect();
    let lengths: Vec<f64> = counts.iter().map(|words| words.values().sum()).collect();
    let mean = lengths.iter().sum::<f64>() / (lengths.len().max(1) as f64);
    let asked: BTreeSet<String> = words(query).collect();
    let rarity = |word: &String| {
        let with = counts.iter().filter(|words| words.contains_key(word)).count() as f64;
        ((texts.len() as f64 - with + 0.5) / (with + 0.5) + 1.0).ln()
    };
    let weights: Vec<(&String, f64)> = asked.iter().map(|word| (word, rarity(word))).collect();
    let score = |at: usize| -> f64 {
        let norm = SATURATION * (1.0 - LENGTH + LENGTH * lengths[at] / mean.max(1.0));
        let part = |(word, weight): &(&String, f64)| {
            let times = counts[at].get(*word).copied().unwrap_or_default();
            weight * times * (SATURATION + 1.0) / (times + norm)
        };
        weights.iter().map(part).sum()
    };
    let mut order: Vec<(usize, f64)> = (0..texts.len()).map(|at| (at, score(at))).collect();
    order.sort_by(|left, right| right.1.total_cmp(&left.1));
    order.into_iter().map(|(at, _)| at).collect()
}

fn words(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase)
}

fn count(text: &str) -> BTreeMap<String, f64> {
    let mut counts = BTreeMap::new();
    words(text).for_each(|word| *counts.entry(word).or_default() += 1.0);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_common_words_count_most() {
        let texts = [
            "the market of the town is the largest",
            "The Mongols crossed the river in winter.",
            "the the the the the the",
        ];
        let order = most_similar("When did the mongols cross the river?", &texts);
        assert_eq!(order[0], 1);
        assert!(most_similar("x", &[]).is_empty());
    }

    #[test]
    fn equals_stay_in_their_order() {
        assert_eq!(most_similar("nothing in common", &["a b", "c d", "e f"]), [0, 1, 2]);
    }
}
