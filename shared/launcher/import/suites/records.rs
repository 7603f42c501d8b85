//! Rows of data: an array of JSON objects, JSON Lines, or CSV with a header.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Map, Value};

use super::csv;

/// Most rows of one file.
const MOST_ROWS: usize = 1_000_000;

/// One row, by the names of its fields.
pub(super) type Record = Map<String, Value>;

/// The rows of a file, by its ending.
///
/// # Errors
/// Another format; a row of another shape, with its line.
pub(super) fn parse(path: &Path, text: &str) -> Result<Vec<Record>> {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let rows = match ending.to_ascii_lowercase().as_str() {
        "jsonl" | "ndjson" => lines(path, text)?,
        "json" => document(path, text)?,
        "csv" => table(path, text, ',')?,
        "tsv" => table(path, text, '\t')?,
        _ => bail!(
            "`{}` is neither JSON, JSON Lines, CSV nor TSV by its ending; convert it first",
            path.display()
        ),
    };
    if rows.len() > MOST_ROWS {
        bail!("`{}` has more than {MOST_ROWS} rows; split it", path.display());
    }
    Ok(rows)
}

fn lines(path: &Path, text: &str) -> Result<Vec<Record>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(at, line)| super::super::jsonl::parse(path, at + 1, line)).collect()
}

/// One array of objects, one object alone, or lines under the name of a document.
fn document(path: &Path, text: &str) -> Result<Vec<Record>> {
    let parsed = match serde_json::from_str::<Value>(text) {
        Ok(parsed) => parsed,
        Err(error) => {
            return lines(path, text).map_err(|_| {
                let (line, column) = (error.line(), error.column());
                anyhow!("{}:{line}:{column}: no JSON; mend it there", path.display())
            });
        }
    };
    let object = |(at, row): (usize, Value)| match row {
        Value::Object(record) => Ok(record),
        _ => Err(anyhow!("`{}` row {}: no object", path.display(), at + 1)),
    };
    match parsed {
        Value::Array(rows) => rows.into_iter().enumerate().map(object).collect(),
        Value::Object(record) => Ok(vec![record]),
        _ => bail!("`{}` holds no rows; an array of objects is needed", path.display()),
    }
}

fn table(path: &Path, text: &str, separator: char) -> Result<Vec<Record>> {
    let rows = csv::rows(text, separator).with_context(|| format!("`{}`", path.display()))?;
    let mut rows = rows.into_iter();
    let Some(header) = rows.next() else { return Ok(Vec::new()) };
    let record = |(at, row): (usize, Vec<String>)| {
        if row.len() != header.len() {
            let (found, wanted) = (row.len(), header.len());
            let row = at + 1;
            bail!("`{}` row {row}: {found} fields under a header of {wanted}", path.display());
        }
        let names = header.iter().map(|name| name.trim().to_owned());
        Ok(names.zip(row.into_iter().map(Value::String)).collect())
    };
    rows.enumerate().map(record).collect()
}

/// A value as the tools that wrote it print it: text as it is, numbers and truth values as Python does.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(true) => Some("True".to_owned()),
        Value::Bool(false) => Some("False".to_owned()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
