//! Python's methods of texts, dicts and lists, as far as templates use them.
//!
//! Positions count characters, and white space is Python's. Methods that change a value are not
//! there, as in transformers' sandbox.

use super::meter::{Meter, failed};
use super::operators::{collect, formatted, items};
use super::print::text;
use minijinja::value::{Kwargs, ValueKind, from_args};
use minijinja::{Error, ErrorKind, FormatStyle, State, Value};
use std::sync::Arc;

/// What answers a method call that the engine does not know.
pub(super) fn callback(
    meter: Arc<Meter>,
) -> impl Fn(&State<'_, '_>, &Value, &str, &[Value]) -> Result<Value, Error> + Send + Sync + 'static
{
    move |_, value, method, arguments| match value.kind() {
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            meter.charge(text.len())?;
            of_text(&meter, text, method, arguments)
        }
        ValueKind::Map => of_dict(&meter, value, method, arguments),
        ValueKind::Seq | ValueKind::Iterable => of_list(&meter, value, method, arguments),
        ValueKind::Undefined => Err(Error::from(ErrorKind::UndefinedError)),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn of_text(meter: &Meter, own: &str, method: &str, arguments: &[Value]) -> Result<Value, Error> {
    let no_arguments = || from_args::<()>(arguments);
    let stripped = |strip: fn(&str, Option<&str>) -> String| -> Result<Value, Error> {
        let (characters,): (Option<&str>,) = from_args(arguments)?;
        Ok(Value::from(strip(own, characters)))
    };
    match method {
        "strip" => stripped(|own, set| strip_end(strip_start(own, set), set).to_owned()),
        "lstrip" => stripped(|own, set| strip_start(own, set).to_owned()),
        "rstrip" => stripped(|own, set| strip_end(own, set).to_owned()),
        "upper" => no_arguments().map(|()| Value::from(own.to_uppercase())),
        "lower" | "casefold" => no_arguments().map(|()| Value::from(own.to_lowercase())),
        "capitalize" => no_arguments().map(|()| Value::from(capitalized(own))),
        "title" => no_arguments().map(|()| Value::from(titled(own))),
        "startswith" => is_affix(arguments, |affix| own.starts_with(affix)),
        "endswith" => is_affix(arguments, |affix| own.ends_with(affix)),
        "removeprefix" => cut(own, arguments, |own, affix| own.strip_prefix(affix)),
        "removesuffix" => cut(own, arguments, |own, affix| own.strip_suffix(affix)),
        "replace" => {
            let (old, new, count): (&str, &str, Option<i64>) = from_args(arguments)?;
            replaced(meter, own, old, new, count).map(Value::from)
        }
        "split" | "rsplit" => split(meter, own, method == "rsplit", arguments),
        "splitlines" => {
            let (keep_ends,): (Option<bool>,) = from_args(arguments)?;
            let lines = lines(own, keep_ends.unwrap_or(false));
            meter.charge_elements(lines.len())?;
            Ok(Value::from_iter(lines))
        }
        "join" => {
            let (list,): (&Value,) = from_args(arguments)?;
            joined(meter, own, items(list)?).map(Value::from)
        }
        "find" => position(own, arguments, |own, wanted| own.find(wanted)),
        "rfind" => position(own, arguments, |own, wanted| own.rfind(wanted)),
        "count" => {
            let (wanted,): (&str,) = from_args(arguments)?;
            let count = if wanted.is_empty() {
                own.chars().count() + 1
            } else {
                own.matches(wanted).count()
            };
            Ok(Value::from(count))
        }
        "format" => formatted(meter, FormatStyle::StrFormat, own, arguments),
        "isspace" => all(own, arguments, is_space),
        "isdigit" | "isnumeric" | "isdecimal" => all(own, arguments, char::is_numeric),
        "isalpha" => all(own, arguments, char::is_alphabetic),
        "isalnum" => all(own, arguments, char::is_alphanumeric),
        "isascii" => no_arguments().map(|()| Value::from(own.is_ascii())),
        "islower" => no_arguments().map(|()| Value::from(is_cased(own, char::is_lowercase))),
        "isupper" => no_arguments().map(|()| Value::from(is_cased(own, char::is_uppercase))),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn all(own: &str, arguments: &[Value], test: fn(char) -> bool) -> Result<Value, Error> {
    let () = from_args(arguments)?;
    Ok(Value::from(!own.is_empty() && own.chars().all(test)))
}

fn is_cased(own: &str, test: fn(char) -> bool) -> bool {
    let mut cased = own.chars().filter(|c| c.is_lowercase() || c.is_uppercase()).peekable();
    cased.peek().is_some() && cased.all(test)
}

/// Python's `str.isspace`: Unicode's white space and the four separators of ASCII.
pub(super) fn is_space(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\u{1c}'..='\u{1f}')
}

fn is_stripped(set: Option<&str>) -> impl Fn(char) -> bool + '_ {
    move |character| set.map_or_else(|| is_space(character), |set| set.contains(character))
}

pub(super) fn strip_start<'a>(own: &'a str, set: Option<&str>) -> &'a str {
    own.trim_start_matches(is_stripped(set))
}

pub(super) fn strip_end<'a>(own: &'a str, set: Option<&str>) -> &'a str {
    own.trim_end_matches(is_stripped(set))
}

pub(super) fn capitalized(own: &str) -> String {
    let mut characters = own.chars();
    let first = characters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(characters.as_str().to_lowercase().chars()).collect()
}

/// Every run of letters with a capital at its head.
pub(super) fn titled(own: &str) -> String {
    let mut out = String::with_capacity(own.len());
    let mut inside = false;
    for character in own.chars() {
        match inside {
            true => out.extend(character.to_lowercase()),
            false => out.extend(character.to_uppercase()),
        }
        inside = character.is_alphabetic();
    }
    out
}

fn is_affix(arguments: &[Value], test: impl Fn(&str) -> bool) -> Result<Value, Error> {
    let (affix,): (&Value,) = from_args(arguments)?;
    let must_be_text = || failed("startswith and endswith take a text or several");
    if let Some(affix) = affix.as_str() {
        return Ok(Value::from(test(affix)));
    }
    if !matches!(affix.kind(), ValueKind::Seq | ValueKind::Iterable) {
        return Err(must_be_text());
    }
    for affix in affix.try_iter()? {
        if test(affix.as_str().ok_or_else(must_be_text)?) {
            return Ok(Value::from(true));
        }
    }
    Ok(Value::from(false))
}

fn cut(
    own: &str,
    arguments: &[Value],
    strip: for<'a> fn(&'a str, &str) -> Option<&'a str>,
) -> Result<Value, Error> {
    let (affix,): (&str,) = from_args(arguments)?;
    Ok(Value::from(strip(own, affix).unwrap_or(own)))
}

/// At most `count` occurrences replaced; a negative count: all.
pub(super) fn replaced(
    meter: &Meter,
    own: &str,
    old: &str,
    new: &str,
    count: Option<i64>,
) -> Result<String, Error> {
    let most = count.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
    let found = own.matches(old).take(most).count();
    meter.charge(own.len().saturating_add(found.saturating_mul(new.len())))?;
    Ok(own.replacen(old, new, most))
}

/// `split([sep[, maxsplit]])`, from the right where `from_the_right`.
fn split(
    meter: &Meter,
    own: &str,
    from_the_right: bool,
    arguments: &[Value],
) -> Result<Value, Error> {
    let (separator, most, named): (Option<Value>, Option<i64>, Kwargs) = from_args(arguments)?;
    let separator = match separator {
        Some(separator) => Some(separator),
        None => named.get::<Option<Value>>("sep")?,
    };
    let most = match most {
        Some(most) => Some(most),
        None => named.get("maxsplit")?,
    };
    named.assert_all_used()?;
    let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX - 1);
    let separator = separator.filter(|separator| !separator.is_none());
    let parts: Vec<&str> = match separator.as_ref().map(|separator| separator.as_str()) {
        None => words(own, most, from_the_right),
        Some(Some("")) | Some(None) => {
            return Err(failed("split needs a separator that is a text"));
        }
        Some(Some(separator)) if from_the_right => {
            let mut parts: Vec<&str> = own.rsplitn(most + 1, separator).collect();
            parts.reverse();
            parts
        }
        Some(Some(separator)) => own.splitn(most + 1, separator).collect(),
    };
    meter.charge_elements(parts.len())?;
    meter.charge(own.len())?;
    Ok(Value::from_iter(parts))
}

/// Split at runs of white space; what is left after `most` splits keeps its white space.
fn words(own: &str, most: usize, from_the_right: bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = if from_the_right { strip_end(own, None) } else { strip_start(own, None) };
    while !rest.is_empty() && parts.len() < most {
        let border = if from_the_right { rest.rfind(is_space) } else { rest.find(is_space) };
        let Some(border) = border else { break };
        if from_the_right {
            let width = rest[border..].chars().next().map_or(1, char::len_utf8);
            parts.push(&rest[border + width..]);
            rest = strip_end(&rest[..border], None);
        } else {
            parts.push(&rest[..border]);
            rest = strip_start(&rest[border..], None);
        }
    }
    parts.extend(Some(rest).filter(|rest| !rest.is_empty()));
    if from_the_right {
        parts.reverse();
    }
    parts
}

/// Python's lines: they also end at form feeds and at Unicode's line and paragraph separators.
pub(super) fn lines(own: &str, keep_ends: bool) -> Vec<&str> {
    let ends = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'
                ..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let mut lines = Vec::new();
    let mut rest = own;
    while let Some(at) = rest.find(ends) {
        let width = if rest[at..].starts_with("\r\n") {
            2
        } else {
            rest[at..].chars().next().map_or(1, char::len_utf8)
        };
        lines.push(&rest[..if keep_ends { at + width } else { at }]);
        rest = &rest[at + width..];
    }
    lines.extend(Some(rest).filter(|rest| !rest.is_empty()));
    lines
}

/// Texts of values with `between` them.
pub(super) fn joined(
    meter: &Meter,
    between: &str,
    values: impl Iterator<Item = Value>,
) -> Result<String, Error> {
    let mut out = String::new();
    for (at, value) in values.enumerate() {
        let value = text(meter, &value)?;
        meter.charge(between.len() + value.len())?;
        if at > 0 {
            out.push_str(between);
        }
        out.push_str(&value);
    }
    Ok(out)
}

/// Position in characters, -1 where it is not found.
fn position(
    own: &str,
    arguments: &[Value],
    find: fn(&str, &str) -> Option<usize>,
) -> Result<Value, Error> {
    let (wanted,): (&str,) = from_args(arguments)?;
    let at = find(own, wanted).map(|at| own[..at].chars().count());
    Ok(at.map_or_else(|| Value::from(-1), Value::from))
}

fn of_dict(meter: &Meter, dict: &Value, method: &str, arguments: &[Value]) -> Result<Value, Error> {
    match method {
        "get" => {
            let (key, default): (&Value, Option<Value>) = from_args(arguments)?;
            let found = dict.get_item(key)?;
            Ok(if found.is_undefined() {
                default.unwrap_or_else(|| Value::from(()))
            } else {
                found
            })
        }
        "keys" => {
            let () = from_args(arguments)?;
            collect(meter, dict).map(Value::from)
        }
        "values" => {
            let () = from_args(arguments)?;
            let keys = collect(meter, dict)?;
            let values: Result<Vec<Value>, Error> =
                keys.iter().map(|key| dict.get_item(key)).collect();
            values.map(Value::from)
        }
        "items" => {
            let () = from_args(arguments)?;
            pairs(meter, dict)
        }
        "copy" => {
            let () = from_args(arguments)?;
            Ok(dict.clone())
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

/// `[[key, value], …]` in the dict's order.
pub(super) fn pairs(meter: &Meter, dict: &Value) -> Result<Value, Error> {
    let keys = collect(meter, dict)?;
    meter.charge_elements(keys.len().saturating_mul(2))?;
    let pair = |key: Value| Ok(Value::from(vec![key.clone(), dict.get_item(&key)?]));
    keys.into_iter().map(pair).collect::<Result<Vec<Value>, Error>>().map(Value::from)
}

fn of_list(meter: &Meter, list: &Value, method: &str, arguments: &[Value]) -> Result<Value, Error> {
    let (wanted,): (&Value,) = from_args(arguments)?;
    let items = collect(meter, list)?;
    match method {
        "count" => Ok(Value::from(items.iter().filter(|item| *item == wanted).count())),
        "index" => {
            let at = items.iter().position(|item| item == wanted);
            at.map(Value::from).ok_or_else(|| failed("the value is not in the list"))
        }
        "copy" => Ok(Value::from(items)),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

#[cfg(test)]
mod tests;
