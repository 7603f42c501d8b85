//! `tojson` as transformers has it: `json.dumps` with `ensure_ascii=False`, no HTML escapes.

use super::meter::{Meter, failed};
use super::print::{MAX_DEPTH, number};
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Value};
use std::fmt::Write;

/// How the text is laid out.
pub(super) struct Layout {
    ensure_ascii: bool,
    indent: Option<String>,
    between_items: String,
    after_key: String,
    sort_keys: bool,
}

impl Layout {
    /// From the arguments of the filter: `ensure_ascii`, `indent`, `separators`, `sort_keys`.
    pub(super) fn new(positional: &[Value], named: &Kwargs) -> Result<Self, Error> {
        let argument = |at: usize, name: &str| -> Result<Option<Value>, Error> {
            let named = named.get::<Option<Value>>(name)?;
            Ok(positional.get(at).cloned().or(named).filter(|value| !value.is_none()))
        };
        let is_true = |value: Option<Value>| value.is_some_and(|value| value.is_true());
        let indent = argument(1, "indent")?.map(|indent| indentation(&indent)).transpose()?;
        let item_end = if indent.is_some() { "," } else { ", " };
        let (between_items, after_key) = match argument(2, "separators")? {
            Some(pair) => (separator(&pair, 0)?, separator(&pair, 1)?),
            None => (item_end.to_owned(), ": ".to_owned()),
        };
        let layout = Self {
            ensure_ascii: is_true(argument(0, "ensure_ascii")?),
            indent,
            between_items,
            after_key,
            sort_keys: is_true(argument(3, "sort_keys")?),
        };
        named.assert_all_used()?;
        Ok(layout)
    }
}

fn indentation(indent: &Value) -> Result<String, Error> {
    const WIDEST: i64 = 64;
    match indent.as_str() {
        Some(text) if text.len() <= WIDEST as usize => Ok(text.to_owned()),
        Some(_) => Err(failed("`indent` of tojson is too wide")),
        None => match indent.as_i64() {
            Some(width) if width <= WIDEST => Ok(" ".repeat(width.max(0) as usize)),
            _ => Err(failed("`indent` of tojson must be a text or a small number")),
        },
    }
}

fn separator(pair: &Value, at: usize) -> Result<String, Error> {
    let text = pair.get_item_by_index(at)?;
    text.as_str().map(str::to_owned).ok_or_else(|| failed("`separators` must be two texts"))
}

/// The value as JSON.
pub(super) fn to_json(meter: &Meter, value: &Value, layout: &Layout) -> Result<String, Error> {
    let mut writer = Writer { meter, layout, out: String::new() };
    writer.value(value, 0)?;
    Ok(writer.out)
}

struct Writer<'a> {
    meter: &'a Meter,
    layout: &'a Layout,
    out: String,
}

impl Writer<'_> {
    fn push(&mut self, text: &str) -> Result<(), Error> {
        self.meter.charge(text.len())?;
        self.out.push_str(text);
        Ok(())
    }

    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(failed("a value is nested too deeply for tojson"));
        }
        match value.kind() {
            ValueKind::Undefined => Err(Error::from(ErrorKind::UndefinedError)),
            ValueKind::None => self.push("null"),
            ValueKind::Bool => self.push(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.push(&json_number(value)),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Map => self.dict(value, depth),
            ValueKind::Seq | ValueKind::Iterable => self.list(value, depth),
            other => Err(failed(format!("a {other} has no JSON"))),
        }
    }

    fn list(&mut self, list: &Value, depth: usize) -> Result<(), Error> {
        self.push("[")?;
        let mut is_empty = true;
        for item in list.try_iter()? {
            self.next(is_empty, depth + 1)?;
            is_empty = false;
            self.value(&item, depth + 1)?;
        }
        self.close(is_empty, depth)?;
        self.push("]")
    }

    fn dict(&mut self, dict: &Value, depth: usize) -> Result<(), Error> {
        let mut keys: Vec<Value> = dict.try_iter()?.collect();
        self.meter.charge_elements(keys.len())?;
        if self.layout.sort_keys {
            keys.sort();
        }
        self.push("{")?;
        for (at, key) in keys.iter().enumerate() {
            self.next(at == 0, depth + 1)?;
            self.string(&key_text(key)?)?;
            let layout = self.layout;
            self.push(&layout.after_key)?;
            self.value(&dict.get_item(key)?, depth + 1)?;
        }
        self.close(keys.is_empty(), depth)?;
        self.push("}")
    }

    /// What stands before an item.
    fn next(&mut self, is_first: bool, depth: usize) -> Result<(), Error> {
        let layout = self.layout;
        if !is_first {
            self.push(&layout.between_items)?;
        }
        self.line(depth)
    }

    fn close(&mut self, is_empty: bool, depth: usize) -> Result<(), Error> {
        if is_empty { Ok(()) } else { self.line(depth) }
    }

    fn line(&mut self, depth: usize) -> Result<(), Error> {
        let layout = self.layout;
        let Some(indent) = &layout.indent else { return Ok(()) };
        self.push("\n")?;
        (0..depth).try_for_each(|_| self.push(indent))
    }

    fn string(&mut self, text: &str) -> Result<(), Error> {
        self.meter.charge(text.len() + 2)?;
        let before = self.out.len();
        self.out.push('"');
        for character in text.chars() {
            self.character(character);
        }
        self.out.push('"');
        // Escapes are longer than what they stand for.
        self.meter.charge((self.out.len() - before).saturating_sub(text.len() + 2))
    }

    fn character(&mut self, character: char) {
        match character {
            '"' => self.out.push_str("\\\""),
            '\\' => self.out.push_str("\\\\"),
            '\n' => self.out.push_str("\\n"),
            '\r' => self.out.push_str("\\r"),
            '\t' => self.out.push_str("\\t"),
            '\u{8}' => self.out.push_str("\\b"),
            '\u{c}' => self.out.push_str("\\f"),
            c if c < ' ' || (self.layout.ensure_ascii && c > '~') => self.escape(c),
            c => self.out.push(c),
        }
    }

    fn escape(&mut self, character: char) {
        for unit in character.encode_utf16(&mut [0; 2]) {
            let _ = write!(self.out, "\\u{unit:04x}");
        }
    }
}

fn json_number(value: &Value) -> String {
    match number(value).as_str() {
        "nan" => "NaN".to_owned(),
        "inf" => "Infinity".to_owned(),
        "-inf" => "-Infinity".to_owned(),
        finite => finite.to_owned(),
    }
}

/// Keys that are no strings are written as their JSON.
fn key_text(key: &Value) -> Result<String, Error> {
    match key.kind() {
        ValueKind::String => Ok(key.as_str().unwrap_or_default().to_owned()),
        ValueKind::None => Ok("null".to_owned()),
        ValueKind::Bool => Ok(if key.is_true() { "true" } else { "false" }.to_owned()),
        ValueKind::Number => Ok(json_number(key)),
        other => Err(failed(format!("a {other} is no key of a JSON object"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dumps(json: &str, options: &[(&'static str, Value)]) -> String {
        let named: Kwargs = options.iter().cloned().collect();
        let value: Value = serde_json::from_str(json).unwrap();
        to_json(&Meter::new(0), &value, &Layout::new(&[], &named).unwrap()).unwrap()
    }

    #[test]
    fn json_reads_as_pythons() {
        let value = r#"{"b":[1,2.0,null,true],"a":"<é>\u001f\"","e":[],"o":{}}"#;
        assert_eq!(
            dumps(value, &[]),
            r#"{"b": [1, 2.0, null, true], "a": "<é>\u001f\"", "e": [], "o": {}}"#
        );
        assert_eq!(
            dumps(r#"{"b":[1],"a":{}}"#, &[("indent", Value::from(2))]),
            "{\n  \"b\": [\n    1\n  ],\n  \"a\": {}\n}"
        );
        assert_eq!(
            dumps(r#"{"b":1,"a":2}"#, &[("sort_keys", Value::from(true))]),
            r#"{"a": 2, "b": 1}"#
        );
        assert_eq!(
            dumps(r#""é😀""#, &[("ensure_ascii", Value::from(true))]),
            r#""\u00e9\ud83d\ude00""#
        );
        let pair = Value::from(vec![",", ":"]);
        assert_eq!(dumps(r#"{"a":[1,2]}"#, &[("separators", pair)]), r#"{"a":[1,2]}"#);
    }
}
