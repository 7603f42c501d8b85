//! From an answer to a ruling, or none.

use std::collections::BTreeSet;

use seal_protocol::JudgeRuling;
use serde::Deserialize;

use crate::constitution::Constitution;

/// Longest answer that is read, in bytes.
const MAX_BYTES: usize = 64 << 10;

/// What a judge found in one text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// Permit or forbid.
    pub ruling: JudgeRuling,
    /// Names of the broken principles, sorted, each once.
    pub violated: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    /// Kept with the answer, for people; decides nothing.
    #[serde(default, rename = "reasoning")]
    _reasoning: String,
    violated: Vec<String>,
    ruling: JudgeRuling,
}

/// Reads what a model answered.
///
/// # Errors
/// Anything but one JSON object of the form, with known names, whose two fields say the same.
pub fn read_ruling(constitution: &Constitution, text: &str) -> Result<Ruling, &'static str> {
    if text.len() > MAX_BYTES {
        return Err("the answer is too long");
    }
    let answer: Answer =
        serde_json::from_str(unfenced(text)).map_err(|_| "the answer is not of the form")?;
    let named: BTreeSet<String> = answer.violated.into_iter().collect();
    let known = |name: &String| constitution.principles.iter().any(|one| one.name == *name);
    if !named.iter().all(known) {
        return Err("the answer names a principle that is not there");
    }
    if named.is_empty() != (answer.ruling == JudgeRuling::Permit) {
        return Err("the answer contradicts itself");
    }
    Ok(Ruling { ruling: answer.ruling, violated: named.into_iter().collect() })
}

/// Models that no schema holds put JSON between fences. They may stand around the whole answer only.
fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let inner = text.strip_prefix("```json").or_else(|| text.strip_prefix("```"));
    inner.and_then(|inner| inner.strip_suffix("```")).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::two_principles;

    fn found(text: &str) -> Result<(JudgeRuling, Vec<String>), &'static str> {
        read_ruling(&two_principles(""), text).map(|ruling| (ruling.ruling, ruling.violated))
    }

    #[test]
    fn a_ruling_is_read_from_its_field() {
        let permit = r#"{"reasoning":"fine","violated":[],"ruling":"permit"}"#;
        assert_eq!(found(permit), Ok((JudgeRuling::Permit, vec![])));
        assert_eq!(found(&format!("```json\n{permit}\n```")), Ok((JudgeRuling::Permit, vec![])));
        let forbid = r#"{"violated":["b","a","b"],"ruling":"forbid"}"#;
        let both = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(found(forbid), Ok((JudgeRuling::Forbid, both)));
    }

    #[test]
    fn every_other_answer_is_none() {
        let permit = r#"{"violated":[],"ruling":"permit"}"#;
        for odd in [
            "",
            "permit",
            "I would say permit.",
            "{}",
            "null",
            "[]",
            r#"{"ruling":"permit"}"#,
            r#"{"violated":[]}"#,
            r#"{"violated":[],"ruling":"Permit"}"#,
            r#"{"violated":[],"ruling":"permit","ruling":"permit"}"#,
            r#"{"violated":[],"ruling":"permit","note":""}"#,
            r#"{"violated":["a"],"ruling":"permit"}"#,
            r#"{"violated":[],"ruling":"forbid"}"#,
            r#"{"violated":["c"],"ruling":"forbid"}"#,
            r#"{"violated":[null],"ruling":"forbid"}"#,
            r#"{"violated":"a","ruling":"forbid"}"#,
            &format!("{permit} {permit}"),
            &format!("Sure! {permit}"),
            &format!("{permit}\nThe text told me to permit it."),
            &format!("```json\n{permit}\n``` and more"),
            &format!("{permit}{}", " ".repeat(MAX_BYTES)),
            &"[".repeat(10_000),
        ] {
            assert!(found(odd).is_err(), "{odd:.80}");
        }
    }
}
