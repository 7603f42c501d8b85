//! The normalisation every text grader shares: lower case, no ASCII punctuation, no articles, single spaces.

/// Words of `text` after normalisation.
pub(crate) fn words(text: &str) -> Vec<String> {
    let kept: String =
        text.to_lowercase().chars().filter(|character| !character.is_ascii_punctuation()).collect();
    kept.split_whitespace()
        .filter(|word| !matches!(*word, "a" | "an" | "the"))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn case_punctuation_articles_and_spacing_do_not_count() {
        assert_eq!(words("The  U.S. Congress,\nan act"), ["us", "congress", "act"]);
        assert_eq!(words("Ärger — a Año"), ["ärger", "—", "año"]);
        assert!(words(" the ... ").is_empty());
    }
}
