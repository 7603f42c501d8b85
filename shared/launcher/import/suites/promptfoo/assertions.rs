//! What an assertion says about the answer.

use serde_json::{Map, Value};

use super::super::Judged;
use super::super::records::{Record, text};
use super::super::template::{Template, Unread};

/// Types that a model or a service judges.
const JUDGED_BY_MODELS: [&str; 22] = [
    "llm-rubric",
    "agent-rubric",
    "search-rubric",
    "video-rubric",
    "factuality",
    "model-graded-factuality",
    "closedqa",
    "model-graded-closedqa",
    "answer-relevance",
    "context-faithfulness",
    "context-recall",
    "context-relevance",
    "conversation-relevance",
    "g-eval",
    "similar",
    "classifier",
    "moderation",
    "pi",
    "select-best",
    "max-score",
    "guardrails",
    "noise-sensitivity",
];
/// Types that run something; they were looked for in the text already.
const SCRIPTS: [&str; 4] = ["javascript", "python", "ruby", "webhook"];

/// An assertion in its long form.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Assertion {
    pub(super) kind: String,
    pub(super) value: Value,
}

impl Assertion {
    /// # Errors
    /// A form that is not read, or a script.
    pub(super) fn of(value: &Value) -> Result<Self, Unread> {
        let fields = value.as_object().ok_or("an assertion that is no table")?;
        let kind = fields.get("type").and_then(Value::as_str).ok_or("an assertion without type")?;
        let bare = kind.strip_prefix("not-").unwrap_or(kind);
        if SCRIPTS.contains(&bare) {
            return Err("it runs a script".to_owned());
        }
        if let Some(key) = unread_key(fields) {
            return Err(format!("`{key}` changes what it means"));
        }
        let value = fields.get("value").cloned().unwrap_or(Value::Null);
        Ok(Self { kind: kind.to_owned(), value })
    }

    /// The short form in a table: `contains: Paris`; without a type it means `equals`.
    ///
    /// # Errors
    /// A script.
    pub(super) fn of_cell(cell: &str) -> Result<Self, Unread> {
        let cell = cell.trim();
        let (head, rest) = cell.split_once(':').unwrap_or((cell, ""));
        let kind = head.split_once('(').map_or(head, |(kind, _)| kind).trim();
        let bare = kind.strip_prefix("not-").unwrap_or(kind);
        let runs = SCRIPTS.contains(&bare) || ["fn", "eval", "file"].contains(&bare);
        if runs && cell.contains(':') {
            return Err("it runs a script or names a file".to_owned());
        }
        let list =
            ["contains-any", "contains-all", "icontains-any", "icontains-all"].contains(&bare);
        let value = match list {
            true => rest.split(',').map(|part| Value::from(part.trim())).collect(),
            false => Value::from(rest.trim()),
        };
        let known = list
            || JUDGED_BY_MODELS.contains(&bare)
            || ["grade", "equals", "contains", "icontains", "regex", "starts-with", "levenshtein"]
                .contains(&bare)
            || ["is-", "contains-", "rouge", "bleu", "cost", "latency"]
                .iter()
                .any(|start| bare.starts_with(start));
        if known {
            return Ok(Self { kind: kind.to_owned(), value });
        }
        Ok(Self { kind: "equals".to_owned(), value: Value::from(cell) })
    }
}

/// A field by which the assertion would say something else.
fn unread_key(fields: &Map<String, Value>) -> Option<&'static str> {
    ["transform", "contextTransform", "$ref", "config"]
        .into_iter()
        .find(|key| fields.contains_key(*key))
}

/// The gold answers that an assertion states; each has to hold.
///
/// # Errors
/// What it asserts instead.
pub(super) fn gold(
    assertion: &Result<Assertion, Unread>,
    vars: &Record,
) -> Result<Vec<(String, Judged)>, Unread> {
    let Assertion { kind, value } = assertion.as_ref().map_err(Clone::clone)?;
    let one = || wording(value, vars);
    let pattern = |pattern: String| vec![(pattern, Judged::Pattern)];
    match kind.as_str() {
        "equals" => Ok(vec![(one()?, Judged::Exact)]),
        "contains" | "icontains" => Ok(vec![(one()?, Judged::Substring)]),
        // The auditor's pattern is for the whole answer; theirs may match anywhere.
        "regex" => Ok(pattern(format!("(?s:.*)(?:{})(?s:.*)", one()?))),
        "starts-with" => Ok(pattern(format!("{}(?s:.*)", regex::escape(&one()?)))),
        "contains-all" | "icontains-all" => {
            let parts = value.as_array().ok_or("its value is no list")?;
            let part = |part: &Value| Ok((wording(part, vars)?, Judged::Substring));
            parts.iter().map(part).collect()
        }
        "contains-any" | "icontains-any" => {
            Err("any of several answers would do; an item has one".to_owned())
        }
        kind if kind.starts_with("not-") => Err("it says what the answer is not".to_owned()),
        kind if JUDGED_BY_MODELS.contains(&kind) || kind == "grade" => {
            Err(format!("`{}` is judged by a model", super::super::name(kind)))
        }
        kind => Err(format!("`{}` says nothing of what the answer is", super::super::name(kind))),
    }
}

/// A value as text, with the test's variables in it.
fn wording(value: &Value, vars: &Record) -> Result<String, Unread> {
    let written = match value {
        // As JavaScript prints a truth value.
        Value::Bool(truth) => truth.to_string(),
        other => text(other).ok_or("its value is no text")?,
    };
    if written.contains("file://") {
        return Err("its value is another file".to_owned());
    }
    Template::parse(&written)?.render(vars)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn golds(assertion: Value) -> Result<Vec<(String, Judged)>, Unread> {
        let vars = json!({"city": "Otrar"});
        gold(&Assertion::of(&assertion), vars.as_object().unwrap())
    }

    #[test]
    fn an_assertion_that_states_the_answer_is_a_gold() {
        let cases = [
            (json!({"type": "equals", "value": 4}), vec![("4", Judged::Exact)]),
            (json!({"type": "icontains", "value": "{{city}}"}), vec![("Otrar", Judged::Substring)]),
            (
                json!({"type": "contains-all", "value": ["a", "b"]}),
                vec![("a", Judged::Substring), ("b", Judged::Substring)],
            ),
            (
                json!({"type": "regex", "value": "^\\d+$"}),
                vec![("(?s:.*)(?:^\\d+$)(?s:.*)", Judged::Pattern)],
            ),
            (json!({"type": "starts-with", "value": "1."}), vec![("1\\.(?s:.*)", Judged::Pattern)]),
        ];
        for (assertion, expected) in cases {
            let expected = expected.into_iter().map(|(gold, judged)| (gold.to_owned(), judged));
            assert_eq!(golds(assertion), Ok(expected.collect()));
        }
    }

    #[test]
    fn anything_else_is_named() {
        for (assertion, reason) in [
            (json!({"type": "python", "value": "True"}), "script"),
            (json!({"type": "not-javascript", "value": "1"}), "script"),
            (json!({"type": "llm-rubric", "value": "is kind"}), "by a model"),
            (json!({"type": "not-contains", "value": "x"}), "is not"),
            (json!({"type": "latency", "threshold": 5}), "nothing of what"),
            (json!({"type": "contains-any", "value": ["a"]}), "has one"),
            (json!({"type": "equals", "value": {"a": 1}}), "no text"),
            (json!({"type": "equals", "value": "file://secret.json"}), "another file"),
            (json!({"type": "equals", "value": "x", "transform": "y"}), "`transform`"),
            (json!({"value": "x"}), "without type"),
        ] {
            let said = golds(assertion.clone()).unwrap_err();
            assert!(said.contains(reason), "{assertion}: {said}");
        }
    }

    #[test]
    fn cells_are_read_as_the_tool_reads_them() {
        let of = |cell: &str| Assertion::of_cell(cell).map(|it| (it.kind, it.value));
        let pair = |kind: &str, value: Value| Ok((kind.to_owned(), value));
        assert_eq!(of("Paris"), pair("equals", json!("Paris")));
        assert_eq!(of("contains: Paris: city"), pair("contains", json!("Paris: city")));
        assert_eq!(of("similar(0.8):Hello"), pair("similar", json!("Hello")));
        assert_eq!(of("contains-all: a, b"), pair("contains-all", json!(["a", "b"])));
        assert_eq!(of("is-json"), pair("is-json", json!("")));
        assert_eq!(of("note: this is text"), pair("equals", json!("note: this is text")));
        for script in ["javascript: true", "fn: 1", "python: x", "file://a.py", "not-ruby: x"] {
            assert!(of(script).is_err(), "{script}");
        }
        assert_eq!(of("python"), pair("equals", json!("python")), "a word is no script");
    }
}
