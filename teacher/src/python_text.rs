//! Text as Python's `str` sees it: its white space, its line ends.
//!
//! The recorded sequences were cut by Python, whose sets are not those of Rust: the separators
//! U+001C to U+001F are white space there, and a line also ends at a form feed or a U+2028.

/// Whether `str.isspace` holds.
pub(crate) fn is_space(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\u{1c}'..='\u{1f}')
}

/// `str.strip`.
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// `str.lstrip`.
pub(crate) fn strip_start(text: &str) -> &str {
    text.trim_start_matches(is_space)
}

/// `str.splitlines`, except that the empty lines a `\r\n` yields here are not there in Python.
/// Callers drop empty lines, so that the difference cannot be seen.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split(ends_line)
}

fn ends_line(character: char) -> bool {
    matches!(
        character,
        '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_is_pythons() {
        assert_eq!(strip("\u{1c}\u{1f}\u{a0}\u{2003} a\u{3000}\u{85}"), "a");
        assert_eq!(strip("\u{200b}a\u{feff}"), "\u{200b}a\u{feff}", "these are no spaces there");
    }

    #[test]
    fn lines_end_where_python_ends_them() {
        let text = "a\r\nb\rc\u{b}d\u{c}e\u{1c}f\u{1d}g\u{1e}h\u{85}i\u{2028}j\u{2029}k\u{1f}k";
        let found: Vec<&str> = lines(text).filter(|line| !line.is_empty()).collect();
        assert_eq!(found, ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k\u{1f}k"]);
    }
}
