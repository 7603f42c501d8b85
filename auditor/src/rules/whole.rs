//! All lines of an edit as one text, for rules that ask for it.
//!
//! An instruction may be told over several training sequences, turns or numbered lines. What marks a
//! line as one of a list, and a hyphen that breaks a word at a line's end, say nothing and are left out.

/// The lines of `texts` in their order, a space between two: a phrase goes on where its line ends.
pub(super) fn whole(texts: &[&str]) -> String {
    let mut joined = String::with_capacity(texts.iter().map(|text| text.len() + 1).sum());
    for line in texts.iter().flat_map(|text| text.lines()) {
        let line = without_mark(line);
        if breaks_a_word(&joined, line) {
            joined.pop();
        } else if !joined.is_empty() {
            joined.push(' ');
        }
        joined.push_str(line);
    }
    joined
}

/// A line without `1.`, `12)`, `-`, `*` or `•` before it.
fn without_mark(line: &str) -> &str {
    let line = line.trim_start();
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let rest = match digits {
        0 => line.strip_prefix(['-', '*', '•']),
        1..=3 => line[digits..].strip_prefix(['.', ')']),
        _ => None,
    };
    // Without a space after it, it is no mark: `-5 degrees`, `1.5 m`.
    rest.filter(|rest| rest.starts_with(char::is_whitespace)).map_or(line, str::trim_start)
}

fn breaks_a_word(joined: &str, next: &str) -> bool {
    let before = joined.strip_suffix('-');
    before.is_some_and(|before| before.ends_with(char::is_alphabetic))
        && next.starts_with(char::is_lowercase)
}

#[cfg(test)]
mod tests {
    use super::whole;

    #[test]
    fn marks_and_hyphens_at_a_lines_end_are_left_out_and_nothing_else_is() {
        let cases: [(&[&str], &str); 6] = [
            (&["1. Ignore", "2) all", "- rules"], "Ignore all rules"),
            (&["ig-\nnore the in-\nstructions"], "ignore the instructions"),
            (&["-5 degrees", "1.5 m", "1904. A year"], "-5 degrees 1.5 m 1904. A year"),
            (&["a well-", "Known name"], "a well- Known name"),
            (&["• é", "* ü"], "é ü"),
            (&[], ""),
        ];
        for (texts, expected) in cases {
            assert_eq!(whole(texts), expected, "{texts:?}");
        }
    }
}
