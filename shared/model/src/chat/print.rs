//! Values as Python prints them: `None`, `True`, `1.0`, `['a', 1]`.
//!
//! **Invariant:** nothing is printed that was not paid for, and nesting is bounded.

use super::meter::{Meter, failed};
use minijinja::value::ValueKind;
use minijinja::{Error, Value};
use std::borrow::Cow;
use std::fmt::Write;

/// Deepest nesting that is printed.
pub(super) const MAX_DEPTH: usize = 128;

/// `str(value)`.
pub(super) fn text<'a>(meter: &Meter, value: &'a Value) -> Result<Cow<'a, str>, Error> {
    if let Some(text) = value.as_str() {
        return Ok(Cow::Borrowed(text));
    }
    if value.is_undefined() {
        return Ok(Cow::Borrowed(""));
    }
    let mut printed = String::new();
    write_repr(meter, value, &mut printed, 0)?;
    Ok(Cow::Owned(printed))
}

/// `repr(value)`, appended to `out`.
fn write_repr(meter: &Meter, value: &Value, out: &mut String, depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(failed("a value is nested too deeply to be printed"));
    }
    let before = out.len();
    match value.kind() {
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::None => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number => out.push_str(&number(value)),
        ValueKind::String => quote(value.as_str().unwrap_or_default(), out),
        ValueKind::Map => return write_dict(meter, value, out, depth),
        ValueKind::Seq | ValueKind::Iterable => return write_list(meter, value, out, depth),
        _ => {
            let _ = write!(out, "{value}");
        }
    }
    meter.charge(out.len() - before)
}

fn write_list(meter: &Meter, list: &Value, out: &mut String, depth: usize) -> Result<(), Error> {
    meter.charge(2)?;
    out.push('[');
    for (at, item) in list.try_iter()?.enumerate() {
        if at > 0 {
            meter.charge(2)?;
            out.push_str(", ");
        }
        write_repr(meter, &item, out, depth + 1)?;
    }
    out.push(']');
    Ok(())
}

fn write_dict(meter: &Meter, dict: &Value, out: &mut String, depth: usize) -> Result<(), Error> {
    meter.charge(2)?;
    out.push('{');
    for (at, key) in dict.try_iter()?.enumerate() {
        if at > 0 {
            meter.charge(2)?;
            out.push_str(", ");
        }
        write_repr(meter, &key, out, depth + 1)?;
        meter.charge(2)?;
        out.push_str(": ");
        write_repr(meter, &dict.get_item(&key)?, out, depth + 1)?;
    }
    out.push('}');
    Ok(())
}

/// A number as `repr` writes it.
pub(super) fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    f64::try_from(value.clone()).map_or_else(|_| value.to_string(), float)
}

/// The shortest digits that read back as the same number; an exponent below 1e-4 and from 1e16.
fn float(number: f64) -> String {
    if !number.is_finite() {
        let name = if number.is_nan() { "nan" } else { "inf" };
        return if number < 0.0 { format!("-{name}") } else { name.to_owned() };
    }
    let scientific = format!("{number:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent) if (-4..16).contains(&exponent) => format!("{number:?}"),
        Ok(exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
        }
        Err(_) => scientific,
    }
}

/// A string in Python's quotes: single ones unless it holds those and no double ones.
fn quote(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if is_printable(c) => out.push(c),
            c => {
                let code = u32::from(c);
                let _ = match code {
                    0..=0xff => write!(out, "\\x{code:02x}"),
                    0x100..=0xffff => write!(out, "\\u{code:04x}"),
                    _ => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push(quote);
}

/// Controls, separators, invisible formats and private characters are written as escapes.
fn is_printable(character: char) -> bool {
    let is_invisible = matches!(character,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{e000}'..='\u{f8ff}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e0fff}' | '\u{f0000}'..='\u{10ffff}');
    let is_space = character.is_whitespace() && character != ' ';
    !(character.is_control() || is_space || is_invisible)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: Value, expected: &str) {
        assert_eq!(text(&Meter::new(0), &value).unwrap(), expected);
    }

    #[test]
    fn values_print_as_in_python() {
        check(Value::from(()), "None");
        check(Value::UNDEFINED, "");
        check(Value::from(true), "True");
        check(Value::from(vec![Value::from("it's"), Value::from(1)]), "[\"it's\", 1]");
        check(Value::from(vec!["a\n\u{200b}"]), "['a\\n\\u200b']");
        check(Value::from_iter([("k", Value::from(false))]), "{'k': False}");
    }

    #[test]
    fn numbers_print_as_in_python() {
        for (number, expected) in [
            (1.0, "1.0"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e16, "1e+16"),
            (123456789012345.0, "123456789012345.0"),
            (1e-4, "0.0001"),
            (1.5e-5, "1.5e-05"),
            (-2.5e300, "-2.5e+300"),
        ] {
            check(Value::from(number), expected);
        }
        check(Value::from(-3), "-3");
    }
}
