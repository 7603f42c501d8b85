//! Canonical JSON (RFC 8785): one value, one sequence of bytes, so that digests and signatures agree.
//!
//! **Invariant:** an integer that a JSON reader would round is refused and never rounded. RFC 8785
//! writes every number as a double, so a larger one would be signed as another number.
//! **Absent:** parsing; readers use serde's derived types and compare with the canonical bytes.

use seal_protocol::Digest;
use serde::Serialize;
use serde_json::Value;

use crate::sha256;

/// Largest integer that canonical JSON carries exactly: 2^53 - 1.
pub const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// A value that has no canonical JSON.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    /// A reader in double precision would see another number.
    #[error(
        "integer {value} at `{path}` does not fit canonical JSON (at most 2^53 - 1): \
         draw seeds with `seal_trust::derive_seed`, send larger numbers as text"
    )]
    IntegerTooLarge {
        /// Where in the value, e.g. `predicate.candidates[0].seed`.
        path: String,
        /// The number.
        value: String,
    },
    /// NaN, infinity, a map key that is no string, a key given twice.
    #[error("the value has no JSON form: {0}")]
    NotJson(#[from] serde_json::Error),
}

/// The value's canonical JSON, UTF-8 without a final newline.
///
/// # Errors
/// Integers beyond ±(2^53 - 1), NaN and infinity, map keys that are no strings or come twice.
pub fn canonical_json<T: Serialize>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    refuse_large_integers(&serde_json::to_value(value)?, &mut String::new())?;
    Ok(serde_json_canonicalizer::to_vec(value)?)
}

/// SHA-256 of the value's canonical JSON: the id of everything that is stored by content.
///
/// # Errors
/// As [`canonical_json`].
pub fn digest_of<T: Serialize>(value: &T) -> Result<Digest, CanonicalError> {
    canonical_json(value).map(|bytes| sha256(&bytes))
}

fn refuse_large_integers(value: &Value, path: &mut String) -> Result<(), CanonicalError> {
    match value {
        Value::Number(number) if rounds_in_a_double(number) => {
            Err(CanonicalError::IntegerTooLarge {
                path: path.trim_start_matches('.').to_owned(),
                value: number.to_string(),
            })
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, item)| descend(item, &format!("[{index}]"), path)),
        Value::Object(fields) => {
            fields.iter().try_for_each(|(name, field)| descend(field, &format!(".{name}"), path))
        }
        _ => Ok(()),
    }
}

fn descend(value: &Value, step: &str, path: &mut String) -> Result<(), CanonicalError> {
    let parent = path.len();
    path.push_str(step);
    let outcome = refuse_large_integers(value, path);
    path.truncate(parent);
    outcome
}

fn rounds_in_a_double(number: &serde_json::Number) -> bool {
    match (number.as_u64(), number.as_i64()) {
        (Some(value), _) => value > MAX_SAFE_INTEGER,
        (None, Some(value)) => value.unsigned_abs() > MAX_SAFE_INTEGER,
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<T: Serialize>(value: &T) -> String {
        String::from_utf8(canonical_json(value).unwrap()).unwrap()
    }

    #[test]
    fn fields_are_sorted_by_utf16_and_numbers_have_one_form() {
        let value = serde_json::json!({"\u{fb33}": 1, "\u{1f600}": 2, "a": [1.0, 1e21, -0.0], "A": "\u{7}\n/é"});
        assert_eq!(
            text(&value),
            "{\"A\":\"\\u0007\\n/é\",\"a\":[1,1e+21,0],\"\u{1f600}\":2,\"\u{fb33}\":1}"
        );
    }

    #[test]
    fn an_integer_that_a_double_would_round_is_refused_and_named() {
        #[derive(Serialize)]
        struct Drawn {
            seeds: Vec<u64>,
        }
        assert_eq!(
            text(&Drawn { seeds: vec![MAX_SAFE_INTEGER] }),
            r#"{"seeds":[9007199254740991]}"#
        );
        let refused = canonical_json(&Drawn { seeds: vec![1, MAX_SAFE_INTEGER + 1] });
        assert!(refused.unwrap_err().to_string().contains("`seeds[1]`"));
        assert!(canonical_json(&i64::MIN).is_err());
    }

    #[test]
    fn a_number_that_is_none_is_refused() {
        assert!(canonical_json(&f64::NAN).is_err());
        assert!(canonical_json(&f64::INFINITY).is_err());
    }

    #[test]
    fn equal_values_have_equal_digests_whatever_the_field_order() {
        let one: Value = serde_json::from_str(r#"{"a":1,"b":2}"#).unwrap();
        let other: Value = serde_json::from_str(r#"{"b":2,"a":1}"#).unwrap();
        assert_eq!(digest_of(&one).unwrap(), digest_of(&other).unwrap());
    }
}
