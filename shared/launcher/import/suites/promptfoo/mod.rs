//! Configs of promptfoo: a prompt, tests with variables, assertions on the output.
//!
//! Each assertion that states what the answer is becomes an item of its own. Left out, and said so:
//! assertions on anything else, further prompts, scenarios, providers.

mod assertions;
mod cases;

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use serde_json::{Map, Value};

use self::assertions::gold;
use self::cases::{Test, tests};
use super::files::{Files, SETTINGS_BYTES};
use super::records::Record;
use super::template::{Template, Unread};
use super::{Asked, Foreign, hooks, yaml};

/// Settings that say nothing about a question or its answer.
const SILENT: [&str; 14] = [
    "description",
    "tags",
    "prompts",
    "tests",
    "defaultTest",
    "metadata",
    "outputPath",
    "sharing",
    "evaluateOptions",
    "commandLineOptions",
    "writeLatestResults",
    "$schema",
    "env",
    "targets",
];
/// A line of these parts the prompts of a text file.
const BETWEEN_PROMPTS: &str = "---";

/// Reads configs, one after another.
///
/// # Errors
/// A file that cannot be read, would have a script run, or has no prompt.
pub(crate) fn read(configs: &[PathBuf]) -> Result<Foreign> {
    let (mut foreign, mut files) = (Foreign::default(), Files::default());
    for path in configs {
        let config = settings(&mut files, path)?;
        let own = file_name(path);
        list_settings(&own, &config, &mut foreign);
        let prompt = prompt(&mut files, path, &config, &mut foreign)?;
        let all = tests(&mut files, path, &config, &mut foreign)?;
        for (number, test) in all.into_iter().enumerate() {
            let place = format!("{own}/test-{}", number + 1);
            ask(&prompt, test, &place, &mut foreign);
        }
    }
    foreign.files = files.read;
    Ok(foreign)
}

/// The document of a config or of a file that it names.
fn settings(files: &mut Files, path: &Path) -> Result<Map<String, Value>> {
    let text = files.open(path, SETTINGS_BYTES)?;
    match document(path, &text)? {
        Value::Object(config) => Ok(config),
        _ => bail!("`{}` is no config: it has no settings", path.display()),
    }
}

fn document(path: &Path, text: &str) -> Result<Value> {
    hooks::refuse(path, text, hooks::PROMPTFOO)?;
    yaml::parse(path, text)
}

/// The name that places start with.
fn file_name(path: &Path) -> String {
    super::name(&path.file_stem().unwrap_or_default().to_string_lossy())
}

fn list_settings(own: &str, config: &Map<String, Value>, foreign: &mut Foreign) {
    for key in config.keys().filter(|key| !SILENT.contains(&key.as_str())) {
        let reason = match key.as_str() {
            "providers" => "the auditor asks its own models alone",
            "scenarios" => "scenarios are not read; write their tests under `tests`",
            _ => "this importer does not know it",
        };
        foreign.leave_out(format!("{own}: {}", super::name(key)), reason);
    }
}

/// The first prompt; the others would ask every question again.
fn prompt(
    files: &mut Files,
    path: &Path,
    config: &Map<String, Value>,
    foreign: &mut Foreign,
) -> Result<Result<Template, Unread>> {
    let prompts = match config.get("prompts") {
        Some(Value::Array(prompts)) => prompts.clone(),
        Some(one) => vec![one.clone()],
        None => Vec::new(),
    };
    let mut texts = Vec::new();
    for prompt in &prompts {
        let own = prompt.as_str().or_else(|| {
            ["raw", "prompt", "id"].into_iter().find_map(|key| prompt.get(key)?.as_str())
        });
        let Some(own) = own else { continue };
        match own.strip_prefix("file://") {
            None => texts.push(own.to_owned()),
            Some(name) if is_text(name) => {
                let (_, text) = files.beside(path, name, SETTINGS_BYTES)?;
                let mut parts = vec![String::new()];
                for line in text.lines() {
                    if line.trim() == BETWEEN_PROMPTS {
                        parts.push(String::new());
                    } else if let Some(last) = parts.last_mut() {
                        last.push_str(line);
                        last.push('\n');
                    }
                }
                let filled = parts.into_iter().filter(|part| !part.trim().is_empty());
                texts.extend(filled.map(|part| part.trim().to_owned()));
            }
            Some(_) => {
                let reason = "a prompt in a file that is no text";
                foreign.leave_out(format!("{}: prompts", file_name(path)), reason);
            }
        }
    }
    let further = texts.len().saturating_sub(1);
    if further > 0 {
        let reason = format!("{further} further prompts: the first is taken");
        foreign.leave_out(format!("{}: prompts", file_name(path)), reason);
    }
    let first = texts.into_iter().next();
    let first =
        first.ok_or_else(|| anyhow!("`{}` has no prompt that is a text", path.display()))?;
    Ok(Template::parse(&first))
}

fn is_text(name: &str) -> bool {
    let ending = Path::new(name).extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| ["txt", "md", "j2"].contains(&ending))
}

/// Puts the prompt once for each assertion that states an answer.
fn ask(prompt: &Result<Template, Unread>, test: Test, place: &str, foreign: &mut Foreign) {
    let question = prompt.as_ref().map_err(Clone::clone).and_then(|prompt| {
        let rendered = prompt.render(&test.vars)?;
        Ok(format!("{}{rendered}{}", test.prefix, test.suffix))
    });
    let question = match question {
        Ok(question) => question,
        Err(reason) => return foreign.leave_out(place, reason),
    };
    if test.assertions.is_empty() {
        return foreign.leave_out(place, "it asserts nothing about the answer");
    }
    for (number, assertion) in test.assertions.iter().enumerate() {
        let place = format!("{place}/assert-{}", number + 1);
        match gold(assertion, &test.vars) {
            Ok(golds) => foreign.asked.extend(golds.into_iter().map(|(answer, judged)| {
                let (place, question) = (place.clone(), question.clone());
                Asked { place, question, answer, judged }
            })),
            Err(reason) => foreign.leave_out(place, reason),
        }
    }
}

/// A row's variables; a value that is a template of its own is not looked into.
fn variables(value: Option<&Value>) -> Record {
    value.and_then(Value::as_object).cloned().unwrap_or_default()
}
