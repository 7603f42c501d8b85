//! Numeric grader: the last number in the answer against the gold number.

/// Whether the last number of `answer` is within `tolerance` (absolute) of the number `gold`.
/// Anything that is no finite number is wrong.
pub fn numeric(answer: &str, gold: &str, tolerance: f64) -> bool {
    match (last_number(answer), last_number(gold)) {
        (Some(answer), Some(gold)) => (answer - gold).abs() <= tolerance,
        _ => false,
    }
}

fn last_number(text: &str) -> Option<f64> {
    text.split(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | ',' | '-' | '+')))
        .filter_map(as_number)
        .next_back()
}

/// Thousands commas are dropped; a full stop that ends a sentence is not a decimal point.
fn as_number(word: &str) -> Option<f64> {
    let digits = word.trim_end_matches(['.', ',', '-', '+']).replace(',', "");
    let number: f64 = digits.parse().ok()?;
    number.is_finite().then_some(number)
}

#[cfg(test)]
mod tests {
    use super::numeric;

    #[test]
    fn the_last_number_decides() {
        assert!(numeric("first 3, then 1,234.5.", "1234.5", 0.0));
        assert!(!numeric("1234.5 or 7", "1234.5", 0.0));
        assert!(numeric("-0.30", "-0.3", 1e-9));
    }

    #[test]
    fn no_number_is_wrong_whatever_the_tolerance() {
        assert!(!numeric("none", "7", f64::INFINITY));
        assert!(!numeric("inf", "7", f64::INFINITY));
        assert!(!numeric("7", "seven", f64::INFINITY));
        assert!(!numeric("7", "7", f64::NAN));
    }
}
