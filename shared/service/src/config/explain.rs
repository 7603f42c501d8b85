//! Turns the parser's error into one sentence for the person who wrote the file.

use std::path::Path;

use super::ConfigError;

/// Longest reason, in characters: a text of the file may be as long as the file.
const LONGEST: usize = 400;
/// Longest name that is compared with those known, in bytes.
const LONGEST_NAME: usize = 100;
/// Names within this edit distance are offered as what was meant.
const NEAR: usize = 3;

pub(super) fn invalid(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let offset = error.span().map_or(0, |span| span.start);
    let (line, column) = place(text, offset);
    ConfigError::Invalid {
        path: path.to_path_buf(),
        line,
        column,
        reason: cut(reason(error.message(), text, line)),
    }
}

fn cut(mut reason: String) -> String {
    if let Some((end, _)) = reason.char_indices().nth(LONGEST) {
        reason.truncate(end);
        reason.push('…');
    }
    reason
}

/// Line and column, both from 1, of a byte offset.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    (line, before[line_start..].chars().count() + 1)
}

fn reason(message: &str, text: &str, line: usize) -> String {
    unknown_key(message)
        .or_else(|| missing_key(message, text, line))
        .or_else(|| unknown_choice(message, text, line))
        .or_else(|| wrong_value(message, text, line))
        .or_else(|| own_words(message, text, line))
        .unwrap_or_else(|| format!("not valid TOML: {}", first_line(message)))
}

fn unknown_key(message: &str) -> Option<String> {
    let rest = message.strip_prefix("unknown field ")?;
    let (key, known) = name_and_known(rest)?;
    Some(format!("unknown key `{key}`; {}", meant(key, &known)))
}

fn missing_key(message: &str, text: &str, line: usize) -> Option<String> {
    let key = message.strip_prefix("missing field ")?.trim_matches('`');
    let table = text.lines().nth(line - 1).unwrap_or_default().trim();
    let place = match table.starts_with('[') {
        true => format!(" under `{table}`"),
        false => String::new(),
    };
    Some(format!("key `{key}` is missing; add `{key} = …`{place}"))
}

fn unknown_choice(message: &str, text: &str, line: usize) -> Option<String> {
    let rest = message.strip_prefix("unknown variant ")?;
    let (value, known) = name_and_known(rest)?;
    let key = key_on(text, line);
    Some(format!("{key} holds `{value}`; {}", meant(value, &known)))
}

fn wrong_value(message: &str, text: &str, line: usize) -> Option<String> {
    let rest = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "))
        .or_else(|| message.strip_prefix("invalid length "))?;
    let (found, expected) = first_line(rest).split_once(", expected ")?;
    let key = key_on(text, line);
    Some(format!("{key} holds {found}; write {}", in_words(expected)))
}

/// A sentence that some type of ours wrote itself, e.g. an endpoint or a digest.
fn own_words(message: &str, text: &str, line: usize) -> Option<String> {
    let syntax = message.contains("expected") || message.starts_with("duplicate");
    (!syntax).then(|| format!("{}: {}", key_on(text, line), first_line(message)))
}

/// Splits "`a`, expected one of `b`, `c`" into `a` and [`b`, `c`].
fn name_and_known(rest: &str) -> Option<(&str, Vec<&str>)> {
    let (name, expected) = rest.split_once(", ").unwrap_or((rest, ""));
    let known = expected.split('`').skip(1).step_by(2).collect();
    Some((name.trim().strip_prefix('`')?.strip_suffix('`')?, known))
}

fn meant(name: &str, known: &[&str]) -> String {
    match nearest(name, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "no key is known here".to_owned(),
        None => format!("known here: `{}`", known.join("`, `")),
    }
}

fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    if name.len() > LONGEST_NAME {
        return None;
    }
    let distance = |candidate: &&str| strsim::damerau_levenshtein(name, candidate);
    let near = known.iter().copied().min_by_key(distance)?;
    // A short name is near to everything short, so half of it must still be right.
    let allowed = NEAR.min(name.chars().count() / 2);
    (distance(&near) <= allowed).then_some(near)
}

fn key_on(text: &str, line: usize) -> String {
    let line = text.lines().nth(line - 1).unwrap_or_default();
    match line.split_once('=') {
        Some((key, _)) => format!("key `{}`", key.trim()),
        None => format!("`{}`", line.trim()),
    }
}

fn in_words(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more, without quotes",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number without quotes",
        "f32" | "f64" => "a number without quotes",
        "a boolean" => "true or false, without quotes",
        "a string" | "a path" | "path string" | "string" => "text in double quotes",
        "a sequence" => "a list in square brackets",
        other => other,
    }
}

fn first_line(message: &str) -> &str {
    message.lines().next().unwrap_or_default()
}
