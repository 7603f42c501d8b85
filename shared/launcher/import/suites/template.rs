//! The plain part of Jinja: text with values put in.
//!
//! Not an interpreter: no statements, no arithmetic, no calls but those listed. What a template asks for
//! beyond that is said, and the question that needs it is left out.

mod expression;

use serde_json::Value;

use self::expression::Expression;
use super::records::{Record, text};

/// Longest template, in bytes.
const LONGEST: usize = 64 * 1024;

/// A template that cannot be read, or not for this row.
pub(super) type Unread = String;

/// Text and expressions in turn.
#[derive(Debug, PartialEq)]
pub(super) struct Template(Vec<Part>);

#[derive(Debug, PartialEq)]
enum Part {
    Text(String),
    Value(Expression),
}

impl Template {
    /// # Errors
    /// A statement, a comment that does not end, an expression beyond what is read here.
    pub(super) fn parse(source: &str) -> Result<Self, Unread> {
        if source.len() > LONGEST {
            return Err(format!("a template longer than {LONGEST} bytes"));
        }
        let mut parts = Vec::new();
        let mut rest = source;
        while let Some(at) = rest.find('{').filter(|at| at + 1 < rest.len()) {
            let (before, from) = rest.split_at(at);
            match from.as_bytes()[1] {
                b'{' => {
                    let inside = &from[2..];
                    let (value, after) =
                        inside.split_once("}}").ok_or("a template whose `{{` is not closed")?;
                    let left = value.strip_prefix('-');
                    let before = if left.is_some() { before.trim_end() } else { before };
                    let value = left.unwrap_or(value);
                    let right = value.strip_suffix('-');
                    parts.push(Part::Text(before.to_owned()));
                    parts.push(Part::Value(Expression::parse(right.unwrap_or(value))?));
                    rest = if right.is_some() { after.trim_start() } else { after };
                }
                b'%' => return Err("a template with statements (`{%`)".to_owned()),
                b'#' => return Err("a template with a comment (`{#`)".to_owned()),
                _ => {
                    parts.push(Part::Text(rest[..=at].to_owned()));
                    rest = &rest[at + 1..];
                }
            }
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        Ok(Self(parts))
    }

    /// The text for one row.
    ///
    /// # Errors
    /// A field that the row lacks, a value that is no text.
    pub(super) fn render(&self, row: &Record) -> Result<String, Unread> {
        let mut rendered = String::new();
        for part in &self.0 {
            match part {
                Part::Text(own) => rendered.push_str(own),
                Part::Value(expression) => {
                    let value = expression.value(row)?;
                    let value = text(&value).ok_or("a template that prints a list or nothing")?;
                    rendered.push_str(&value);
                }
            }
            if rendered.len() > LONGEST {
                return Err(format!("a text longer than {LONGEST} bytes"));
            }
        }
        Ok(rendered)
    }

    /// The value itself where the template is one expression and no more, else its text.
    ///
    /// # Errors
    /// As [`Template::render`].
    pub(super) fn value(&self, row: &Record) -> Result<Value, Unread> {
        match self.0.as_slice() {
            [Part::Value(expression)] => expression.value(row),
            _ => self.render(row).map(Value::String),
        }
    }
}

#[cfg(test)]
mod tests;
