//! The merges of a SentencePiece vocabulary, which stores scores instead.
//!
//! Any two pieces that make a third may be merged, those with the best score first. Source: how
//! transformers converts Llama's tokenizers.

use std::cmp::Ordering;
use std::collections::HashMap;

/// Longest piece that merges are looked for in, in characters; SentencePiece makes none of more than 16
/// unless it is told to. Longer ones are added tokens, which no merge leads to.
const LONGEST: usize = 64;

/// Pairs of pieces, the one that is merged first in front.
pub(super) fn merges<'a>(pieces: &'a [String], scores: &[f32]) -> Vec<(&'a str, &'a str)> {
    let number: HashMap<&str, usize> =
        pieces.iter().enumerate().map(|(number, piece)| (piece.as_str(), number)).collect();
    let mut found: Vec<(f32, &str, &str)> = Vec::new();
    for (piece, &score) in pieces.iter().zip(scores) {
        if piece.chars().nth(LONGEST).is_some() {
            continue;
        }
        let mut of_piece: Vec<(usize, usize)> = piece
            .char_indices()
            .skip(1)
            .filter_map(|(at, _)| Some((*number.get(&piece[..at])?, *number.get(&piece[at..])?)))
            .collect();
        of_piece.sort_unstable();
        found
            .extend(of_piece.iter().map(|&(l, r)| (score, pieces[l].as_str(), pieces[r].as_str())));
    }
    let long = |text: &str| text.chars().count();
    // Stable, like Python's: equals stay in the order of the vocabulary.
    found.sort_by(|a, b| {
        let by_score = b.0.partial_cmp(&a.0).unwrap_or(Ordering::Equal);
        by_score.then(long(b.1).cmp(&long(a.1))).then(long(b.2).cmp(&long(a.2)))
    });
    found.into_iter().map(|(_, left, right)| (left, right)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn better_pieces_are_merged_first() {
        let pieces = ["a", "b", "c", "ab", "bc", "abc"].map(str::to_owned);
        let merges = merges(&pieces, &[0.0, 0.0, 0.0, -2.0, -1.0, -3.0]);
        assert_eq!(merges, [("b", "c"), ("a", "b"), ("ab", "c"), ("a", "bc")]);
    }
}
