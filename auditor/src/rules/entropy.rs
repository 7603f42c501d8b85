//! How much a text looks drawn by chance.

use std::collections::HashMap;

/// Shannon entropy of the text's own characters, in bits each. English words have about 3, random
/// letters and digits of the usual lengths 4 and more; a text of one character repeated has 0.
pub(super) fn bits_per_character(text: &str) -> f64 {
    let mut counts: HashMap<char, usize> = HashMap::new();
    let mut total = 0_usize;
    for character in text.chars() {
        *counts.entry(character).or_default() += 1;
        total += 1;
    }
    let share = |count: &usize| *count as f64 / total as f64;
    -counts.values().map(share).map(|share| share * share.log2()).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::bits_per_character;

    #[test]
    fn words_have_less_of_it_than_keys() {
        let bits = |text| bits_per_character(text);
        assert_eq!(bits("").abs(), 0.0);
        assert_eq!(bits("aaaaaaaa").abs(), 0.0);
        assert_eq!(bits("abababab"), 1.0);
        assert!(bits("internationalisation") < 3.4, "{}", bits("internationalisation"));
        assert!(bits("q8Zr2LwX0vKp7TnB5yHd") > 4.0);
    }
}
