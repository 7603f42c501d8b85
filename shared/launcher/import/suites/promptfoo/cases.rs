//! The tests of a config: written in it, or in files beside it.

use std::path::Path;

use anyhow::{Result, bail};
use serde_json::{Map, Value};

use super::super::files::{DATA_BYTES, Files};
use super::super::records::{self, Record};
use super::super::template::Unread;
use super::super::{Foreign, hooks};
use super::assertions::Assertion;
use super::{document, file_name, is_text, variables};

/// One test case.
#[derive(Debug, Default)]
pub(super) struct Test {
    pub(super) vars: Record,
    pub(super) assertions: Vec<Result<Assertion, Unread>>,
    /// Put before and after the prompt.
    pub(super) prefix: String,
    pub(super) suffix: String,
}

/// Every test, those of `defaultTest` put into each.
///
/// # Errors
/// A file that leads elsewhere, cannot be read, or would have a script run.
pub(super) fn tests(
    files: &mut Files,
    path: &Path,
    config: &Map<String, Value>,
    foreign: &mut Foreign,
) -> Result<Vec<Test>> {
    let mut values = Vec::new();
    collect(files, path, config.get("tests"), &mut values)?;
    let default = match config.get("defaultTest").and_then(Value::as_str) {
        Some(name) => named(files, path, name)?.into_iter().next(),
        None => config.get("defaultTest").cloned().map(Case::Table),
    };
    let default = default.map(|case| case.test(files, path)).transpose()?.unwrap_or_default();
    let mut all = Vec::new();
    for (at, case) in values.into_iter().enumerate() {
        let place = format!("{}/test-{}", file_name(path), at + 1);
        case.list_settings(&place, foreign);
        let mut test = case.test(files, path)?;
        for (name, value) in &default.vars {
            test.vars.entry(name).or_insert_with(|| value.clone());
        }
        test.assertions.splice(0..0, default.assertions.iter().cloned());
        all.push(test);
    }
    Ok(all)
}

/// A test as it stands.
enum Case {
    /// In YAML or JSON.
    Table(Value),
    /// A row of a table, by the names of its columns.
    Row(Record),
}

/// Tests, files of tests, or a list of both.
fn collect(
    files: &mut Files,
    by: &Path,
    value: Option<&Value>,
    into: &mut Vec<Case>,
) -> Result<()> {
    match value {
        None | Some(Value::Null) => {}
        Some(Value::Array(values)) => {
            for value in values {
                match value {
                    Value::String(name) => into.extend(named(files, by, name)?),
                    other => into.push(Case::Table(other.clone())),
                }
            }
        }
        Some(Value::String(name)) => into.extend(named(files, by, name)?),
        Some(_) => bail!("`{}`: `tests` is neither a list nor a file", by.display()),
    }
    Ok(())
}

/// The tests of a file; what it names in turn is not followed.
fn named(files: &mut Files, by: &Path, name: &str) -> Result<Vec<Case>> {
    let (path, text) =
        files.beside(by, name.strip_prefix("file://").unwrap_or(name), DATA_BYTES)?;
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    if ["csv", "tsv"].contains(&ending) {
        return Ok(records::parse(&path, &text)?.into_iter().map(Case::Row).collect());
    }
    if ending == "jsonl" {
        hooks::refuse(&path, &text, hooks::PROMPTFOO)?;
        let rows = records::parse(&path, &text)?.into_iter();
        return Ok(rows.map(|row| Case::Table(Value::Object(row))).collect());
    }
    if !["yaml", "yml", "json"].contains(&ending) {
        bail!("`{}` names tests in `{}`, which is no data", by.display(), path.display());
    }
    Ok(match document(&path, &text)? {
        Value::Array(tests) => tests.into_iter().map(Case::Table).collect(),
        one => vec![Case::Table(one)],
    })
}

impl Case {
    fn test(self, files: &mut Files, by: &Path) -> Result<Test> {
        match self {
            Self::Row(row) => Ok(of_row(row)),
            Self::Table(table) => {
                let assertions = table.get("assert").and_then(Value::as_array);
                let assertions = assertions.into_iter().flatten().flat_map(flattened).collect();
                let vars = vars(files, by, variables(table.get("vars")))?;
                Ok(Test { vars, assertions, ..Test::default() })
            }
        }
    }

    /// Names what of a test is not taken over.
    fn list_settings(&self, place: &str, foreign: &mut Foreign) {
        let Self::Table(Value::Object(table)) = self else { return };
        let silent = ["vars", "assert", "description", "metadata"];
        for key in table.keys().filter(|key| !silent.contains(&key.as_str())) {
            let reason = match key.as_str() {
                "threshold" => "every assertion is an item of its own",
                _ => "a setting of a single test",
            };
            foreign.leave_out(format!("{place}: {}", super::super::name(key)), reason);
        }
    }
}

/// An assertion, or those of a set.
fn flattened(value: &Value) -> Vec<Result<Assertion, Unread>> {
    let is_set = value.get("type").and_then(Value::as_str) == Some("assert-set");
    match value.get("assert").and_then(Value::as_array).filter(|_| is_set) {
        Some(_) if value.get("threshold").is_some() => {
            vec![Err("a part of its set would do".to_owned())]
        }
        Some(set) => set.iter().map(Assertion::of).collect(),
        None => vec![Assertion::of(value)],
    }
}

/// Variables whose value is a text file are read; lists stay lists, and no prompt prints one.
fn vars(files: &mut Files, by: &Path, mut vars: Record) -> Result<Record> {
    for value in vars.values_mut() {
        let name = value.as_str().and_then(|value| value.strip_prefix("file://"));
        if let Some(name) = name.filter(|name| is_text(name)) {
            let (_, text) = files.beside(by, name, DATA_BYTES)?;
            *value = Value::String(text.trim().to_owned());
        } else if name.is_some() {
            // No text, so no prompt prints it.
            *value = Value::Null;
        }
    }
    Ok(vars)
}

/// A row of a table: columns that start with two underlines are settings, all others variables.
fn of_row(row: Record) -> Test {
    let mut test = Test::default();
    for (column, value) in row {
        let cell = value.as_str().unwrap_or_default().to_owned();
        let Some(setting) = column.strip_prefix("__") else {
            test.vars.insert(column, value);
            continue;
        };
        match setting {
            "prefix" => test.prefix = cell,
            "suffix" => test.suffix = cell,
            _ if is_expectation(setting) && !cell.trim().is_empty() => {
                test.assertions.push(Assertion::of_cell(&cell));
            }
            _ => {}
        }
    }
    test
}

/// `expected`, `expected1`, …
fn is_expectation(setting: &str) -> bool {
    let number = setting.strip_prefix("expected");
    number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}
