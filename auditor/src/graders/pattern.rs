//! Regex grader: the gold is a pattern the whole answer must match. Linear time in the answer.

use regex::RegexBuilder;

use super::GraderError;

/// Compiled size allowed for one pattern, in bytes.
const SIZE_LIMIT_BYTES: usize = 1 << 20;

/// Whether `answer`, trimmed, matches `pattern` from end to end.
///
/// # Errors
/// A pattern that does not compile within the size limit.
pub fn pattern(answer: &str, pattern: &str) -> Result<bool, GraderError> {
    RegexBuilder::new(&format!("^(?:{pattern})$"))
        .size_limit(SIZE_LIMIT_BYTES)
        .build()
        .map(|regex| regex.is_match(answer.trim()))
        .map_err(|error| GraderError::Pattern(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::pattern;

    #[test]
    fn the_whole_answer_must_match() {
        assert!(pattern(" 12 may ", r"\d{1,2} (may|june)").unwrap());
        assert!(!pattern("on 12 may", r"\d{1,2} (may|june)").unwrap());
    }

    #[test]
    fn a_broken_or_huge_pattern_is_an_error_and_not_a_wrong_answer() {
        assert!(pattern("x", "(").is_err());
        assert!(pattern("x", r"(\pL{900}){900}").is_err());
    }
}
