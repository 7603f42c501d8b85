//! The words of a text that carry its content: accents folded, numbers as digits, light stems, no
//! function words. English, as the recorded answers are; other languages lose nothing but the stems.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Function words. Words that turn a statement round, as "not" does, are none.
const FUNCTION_WORDS: [&str; 53] = [
    "a", "an", "the", "of", "in", "on", "at", "to", "for", "and", "or", "by", "with", "from", "as",
    "is", "are", "was", "were", "be", "been", "being", "it", "its", "that", "this", "these",
    "those", "their", "his", "her", "he", "she", "they", "them", "which", "who", "whom", "into",
    "than", "then", "there", "also", "has", "have", "had", "do", "does", "did", "so", "such",
    "but", "if",
];

/// Longest word that is never cut.
const SHORT: usize = 3;
/// Endings and what takes their place, the first that fits. An "es" goes only where the word could not do
/// without it: "notes" is "note" and not "not".
const ENDINGS: [(&str, &str); 10] = [
    ("ies", "y"),
    ("sses", "ss"),
    ("xes", "x"),
    ("ches", "ch"),
    ("shes", "sh"),
    ("ing", ""),
    ("edly", ""),
    ("ed", ""),
    ("ly", ""),
    ("s", ""),
];

/// The key words of `text`, in order.
pub(super) fn key_words(text: &str) -> Vec<String> {
    let words = split(&folded(text));
    let words = with_numbers(words.iter().map(String::as_str));
    let carries = |word: &String| !FUNCTION_WORDS.contains(&word.as_str());
    words.into_iter().filter(carries).map(stem).collect()
}

/// Lower case, without accents, compatibility forms resolved.
fn folded(text: &str) -> String {
    let lower = text.to_lowercase();
    lower.nfkd().filter(|character| !is_combining_mark(*character)).collect()
}

/// Runs of letters and digits. Full stops and apostrophes vanish inside a word ("U.S." is "us"), a
/// possessive goes with its s, and a number keeps its decimal point and loses its thousands commas.
fn split(text: &str) -> Vec<String> {
    let text = text.replace('’', "'");
    let characters: Vec<char> = text.chars().collect();
    let at = |index: usize| characters.get(index).copied().unwrap_or(' ');
    let digit = |index: Option<usize>| index.is_some_and(|index| at(index).is_ascii_digit());
    let mut words = vec![String::new()];
    for (index, &character) in characters.iter().enumerate() {
        let in_number = digit(index.checked_sub(1)) && digit(Some(index + 1));
        let possessive = at(index) == 's'
            && index > 0
            && at(index - 1) == '\''
            && !at(index + 1).is_alphanumeric();
        match character {
            's' if possessive => {}
            '.' if in_number => push(&mut words, '.'),
            ',' if in_number => {}
            '.' | '\'' => {}
            character if character.is_alphanumeric() => push(&mut words, character),
            _ => words.push(String::new()),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn push(words: &mut [String], character: char) {
    if let Some(last) = words.last_mut() {
        last.push(character);
    }
}

/// Number words and ordinals as digits; "twenty one" is 21.
fn with_numbers<'a>(words: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut read: Vec<String> = Vec::new();
    let mut tens: Option<u32> = None;
    for word in words {
        let number = number(word);
        match (tens.take(), number) {
            (Some(tens), Some(ones @ 1..=9)) => {
                read.pop();
                read.push((tens + ones).to_string());
            }
            (_, Some(number)) => {
                tens = (number >= 20).then_some(number);
                read.push(number.to_string());
            }
            (_, None) => read.push(without_ordinal_ending(word).to_owned()),
        }
    }
    read
}

fn number(word: &str) -> Option<u32> {
    const SMALL: [&str; 20] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    const ORDINALS: [&str; 10] = [
        "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth",
        "tenth",
    ];
    const TENS: [&str; 8] =
        ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
    let place = |words: &[&str]| words.iter().position(|known| *known == word);
    let found = place(&SMALL)
        .or_else(|| place(&ORDINALS).map(|index| index + 1))
        .or_else(|| place(&TENS).map(|index| 10 * (index + 2)))?;
    u32::try_from(found).ok()
}

/// "19th" is "19".
fn without_ordinal_ending(word: &str) -> &str {
    let stripped = ["st", "nd", "rd", "th"].iter().find_map(|ending| word.strip_suffix(ending));
    stripped.filter(|digits| is_number(digits)).unwrap_or(word)
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|character| character.is_ascii_digit())
}

/// The word without one English ending, if enough is left of it.
fn stem(word: String) -> String {
    if is_number(&word) || word.chars().count() <= SHORT {
        return word;
    }
    let fits = |(ending, instead): &(&str, &str)| {
        let rest = word.strip_suffix(ending)?;
        let double = *ending == "s" && rest.ends_with('s');
        let left = rest.chars().count() + instead.len();
        (left >= SHORT && !double).then(|| format!("{rest}{instead}"))
    };
    ENDINGS.iter().find_map(fits).unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accents_case_punctuation_and_function_words_do_not_count() {
        assert_eq!(
            key_words("The Chișinău–Zürich line, and the U.S."),
            key_words("chisinau zurich line us")
        );
        assert_eq!(key_words("Tesla’s notes"), key_words("tesla note"));
        assert!(key_words("to be of the").is_empty());
    }

    #[test]
    fn numbers_read_alike_in_words_and_digits() {
        for (words, digits) in [
            ("twenty-one", "21"),
            ("the nineteenth", "nineteenth"),
            ("seven", "7"),
            ("the 19th", "19"),
            ("first", "1st"),
            ("10,000.", "10000"),
            ("ninety", "90"),
        ] {
            assert_eq!(key_words(words), key_words(digits), "{words}");
        }
        assert_eq!(key_words("3.5 and 3,5"), ["3.5", "35"]);
        assert_ne!(key_words("twenty, then thirty"), key_words("50"));
    }

    #[test]
    fn light_stems_join_the_forms_of_a_word() {
        assert_eq!(key_words("countries"), key_words("country"));
        assert_eq!(key_words("classes"), key_words("class"));
        assert_eq!(key_words("boxes of notes"), ["box", "note"]);
        assert_eq!(key_words("painted"), key_words("painting"));
        assert_eq!(key_words("bus gas"), ["bus", "gas"], "short words are never cut");
    }

    #[test]
    fn a_negation_is_a_key_word() {
        assert_ne!(key_words("not legal"), key_words("legal"));
        assert_ne!(key_words("no one"), key_words("one"));
    }
}
