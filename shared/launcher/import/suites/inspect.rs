//! Datasets of inspect_ai: JSON, JSON Lines or CSV, one sample per row.
//!
//! Read: `input`, `target`, `choices`, `id`. A sample's scorer is not in its dataset: a target without
//! choices must stand in the answer, as under `includes`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use serde_json::Value;

use super::files::{DATA_BYTES, Files};
use super::records::{self, Record, text};
use super::{Asked, Foreign, Judged, hooks};

/// What a sample's fields are called in the file, as a `FieldSpec` says it.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Fields {
    /// Field that holds the question.
    #[arg(long, default_value = "input", value_name = "FIELD")]
    pub(crate) input: String,
    /// Field that holds the gold answer; with choices the letter of the right one.
    #[arg(long, default_value = "target", value_name = "FIELD")]
    pub(crate) target: String,
    /// Field that holds the choices.
    #[arg(long, default_value = "choices", value_name = "FIELD")]
    pub(crate) choices: String,
    /// Field that holds the sample's name.
    #[arg(long, default_value = "id", value_name = "FIELD")]
    pub(crate) id: String,
}

/// Reads datasets, one after another.
///
/// # Errors
/// A file that cannot be read, or whose samples bring a script.
pub(crate) fn read(paths: &[PathBuf], fields: &Fields) -> Result<Foreign> {
    let (mut foreign, mut files) = (Foreign::default(), Files::default());
    for path in paths {
        let document = files.open(path, DATA_BYTES)?;
        hooks::refuse(path, &document, hooks::INSPECT)?;
        for (at, row) in records::parse(path, &document)?.iter().enumerate() {
            // The name of the field may have been written with escapes, or in a table's header.
            if holds(row, "setup") {
                bail!("`{}` row {}: `setup` is a script; take it out", path.display(), at + 1);
            }
            let id = row.get(&fields.id).and_then(text).map(|id| super::name(&id));
            let place = format!("sample-{}", id.unwrap_or_else(|| (at + 1).to_string()));
            match sample(row, fields) {
                Ok((question, answer, further)) => {
                    if further > 0 {
                        let reason = format!("{further} further targets: the first is taken");
                        foreign.leave_out(format!("{place}: {}", fields.target), reason);
                    }
                    foreign.asked.push(Asked {
                        place,
                        question,
                        answer,
                        judged: Judged::Substring,
                    });
                }
                Err(reason) => foreign.leave_out(place, reason),
            }
        }
    }
    foreign.files = files.read;
    Ok(foreign)
}

fn holds(row: &Record, field: &str) -> bool {
    let empty = |value: &Value| value.is_null() || value.as_str().is_some_and(str::is_empty);
    row.get(field).is_some_and(|value| !empty(value))
}

/// Question, gold, and how many golds there are besides.
fn sample(row: &Record, fields: &Fields) -> Result<(String, String, usize), String> {
    if let Some(field) = ["sandbox", "files"].into_iter().find(|field| holds(row, field)) {
        return Err(format!("`{field}`: it needs a sandbox"));
    }
    let question = question(row.get(&fields.input))?;
    let targets: Vec<String> = match row.get(&fields.target) {
        Some(Value::Array(targets)) => targets.iter().filter_map(text).collect(),
        other => other.and_then(text).into_iter().collect(),
    };
    let further = targets.len().saturating_sub(1);
    let target = targets.into_iter().next().filter(|target| !target.trim().is_empty());
    let target = target.ok_or("it has no target")?;
    let choices = choices(row.get(&fields.choices));
    if choices.is_empty() {
        return Ok((question, target, further));
    }
    if further > 0 {
        return Err("several of its choices are right".to_owned());
    }
    let answer = chosen(&choices, target.trim())?;
    let lettered = letters().zip(&choices).map(|(letter, choice)| format!("\n{letter}) {choice}"));
    Ok((question + &lettered.collect::<String>(), answer, 0))
}

/// A text, or a conversation of one turn of the user.
fn question(input: Option<&Value>) -> Result<String, String> {
    let turns = match input {
        Some(Value::String(text)) => return Ok(text.clone()),
        Some(Value::Array(turns)) => turns,
        _ => return Err("it has no input".to_owned()),
    };
    let field = |name| turns.first().and_then(|turn| turn.get(name)).and_then(Value::as_str);
    match (turns.len(), field("role"), field("content")) {
        (1, Some("user"), Some(content)) => Ok(content.to_owned()),
        _ => Err("its input is a conversation and not one question".to_owned()),
    }
}

/// A list, or a text of choices with commas or spaces between them.
fn choices(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Array(choices)) => choices.iter().filter_map(text).collect(),
        Some(Value::String(list)) => {
            let by_comma: Vec<&str> = list.split(',').collect();
            let choices =
                if by_comma.len() == 1 { list.split_whitespace().collect() } else { by_comma };
            choices.into_iter().map(|choice| choice.trim().to_owned()).collect()
        }
        _ => Vec::new(),
    }
}

fn letters() -> impl Iterator<Item = char> {
    'A'..='Z'
}

/// The choice that a target names by its letter or its words.
fn chosen(choices: &[String], target: &str) -> Result<String, String> {
    if let Some(own) = choices.iter().find(|choice| choice.as_str() == target) {
        return Ok(own.clone());
    }
    let by_letter = letters().zip(choices).find(|(letter, _)| target == letter.to_string());
    let choice = by_letter.map(|(_, choice)| choice.clone());
    choice.ok_or_else(|| "its target is none of its choices".to_owned())
}
