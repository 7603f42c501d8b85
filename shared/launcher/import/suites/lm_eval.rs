//! Tasks of lm-evaluation-harness, as its YAML files describe them.
//!
//! Read: `doc_to_text`, `doc_to_target`, `doc_to_choice`, `description`, `output_type`, `include`, and
//! data from files beside the task or from one that the user names. Left out, and said so: few-shot
//! examples, filters, metrics, settings of generation.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use serde_json::{Map, Value};

use super::files::{DATA_BYTES, Files, SETTINGS_BYTES, inside};
use super::records::{self, Record, text};
use super::template::{Template, Unread};
use super::{Asked, Foreign, Judged, hooks, yaml};

/// Longest chain of `include`.
const DEEPEST_INCLUDE: usize = 8;
/// Keys that say where a task belongs or where its data lie, and no more.
const KNOWN: [&str; 26] = [
    "task",
    "task_alias",
    "tag",
    "group",
    "include",
    "dataset_path",
    "dataset_name",
    "dataset_kwargs",
    "training_split",
    "validation_split",
    "test_split",
    "fewshot_split",
    "fewshot_config",
    "fewshot_delimiter",
    "target_delimiter",
    "output_type",
    "description",
    "doc_to_text",
    "doc_to_target",
    "doc_to_choice",
    "should_decontaminate",
    "doc_to_decontamination_query",
    "metadata",
    "repeats",
    "num_fewshot",
    "unsafe_code",
];
/// Keys that change how a task is asked or judged.
const SETTINGS: [(&str, &str); 6] = [
    ("filter_list", "answers are judged as they are written"),
    ("generation_kwargs", "`[grading]` of auditor.toml says how long an answer may be"),
    ("metric_list", "the suite's own way of judging takes their place"),
    ("gen_prefix", "the start of an answer is not given"),
    ("use_prompt", "prompts of promptsource are not read"),
    ("process_results", "the suite's own way of judging takes its place"),
];

/// Reads tasks, one after another; `data`, if given, takes the place of the data that they name.
///
/// # Errors
/// A file that cannot be read or has code run; a task whose data are elsewhere.
pub(crate) fn read(tasks: &[PathBuf], data: Option<&Path>) -> Result<Foreign> {
    let (mut foreign, mut files) = (Foreign::default(), Files::default());
    for path in tasks {
        let config = config(&mut files, path, 0)?;
        let task = Task::new(path, &config, &mut foreign)?;
        let rows = match data {
            Some(data) => records::parse(data, &files.open(data, DATA_BYTES)?)?,
            None => rows(&mut files, path, &config)?,
        };
        task.ask_all(&rows, &mut foreign);
    }
    foreign.files = files.read;
    Ok(foreign)
}

/// A task's settings over those that it includes.
fn config(files: &mut Files, path: &Path, depth: usize) -> Result<Map<String, Value>> {
    let text = files.open(path, SETTINGS_BYTES)?;
    hooks::refuse(path, &text, hooks::LM_EVAL)?;
    let Value::Object(own) = yaml::parse(path, &text)? else {
        bail!("`{}` is no task: it has no settings", path.display());
    };
    if depth == DEEPEST_INCLUDE {
        bail!("`{}`: more than {DEEPEST_INCLUDE} files include each other", path.display());
    }
    let mut all = Map::new();
    // The first of several has the last word, as in the harness.
    for name in strings(own.get("include")).into_iter().rev() {
        all.extend(config(files, &inside(path, &name)?, depth + 1)?);
    }
    all.extend(own);
    Ok(all)
}

/// One text or a list of them.
fn strings(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(many)) => many.iter().filter_map(text).collect(),
        _ => Vec::new(),
    }
}

/// The rows of the split that the task is measured on, from files beside it.
fn rows(files: &mut Files, path: &Path, config: &Map<String, Value>) -> Result<Vec<Record>> {
    let kwargs = config.get("dataset_kwargs").and_then(Value::as_object);
    let named = kwargs.and_then(|kwargs| kwargs.get("data_files"));
    let split = ["test_split", "validation_split"]
        .into_iter()
        .find_map(|split| config.get(split).and_then(Value::as_str));
    let names = match named {
        Some(Value::Object(splits)) => strings(split.and_then(|split| splits.get(split))),
        named => strings(named),
    };
    if names.is_empty() {
        let dataset = config.get("dataset_path").and_then(Value::as_str).unwrap_or("?");
        bail!(
            "`{}`: its data are the set `{}`, and nothing is fetched; save the split it is measured on \
             as JSON Lines and name the file with --data",
            path.display(),
            crate::text::printable(dataset)
        );
    }
    let mut rows = Vec::new();
    for name in names {
        let (data, text) = files.beside(path, &name, DATA_BYTES)?;
        rows.extend(records::parse(&data, &text)?);
    }
    Ok(rows)
}

struct Task {
    name: String,
    description: Option<Source>,
    question: Source,
    target: Source,
    choices: Option<Source>,
    judged: Judged,
}

/// Where a part of a task comes from.
enum Source {
    /// A field of that name if the row has one, else the template.
    Text(String, Result<Template, Unread>),
    Constant(Value),
    List(Vec<Source>),
}

impl Task {
    fn new(path: &Path, config: &Map<String, Value>, foreign: &mut Foreign) -> Result<Self> {
        let refused = |why: &str| anyhow!("`{}`: {why}", path.display());
        let name =
            config.get("task").and_then(Value::as_str).map(super::name).ok_or_else(|| {
                refused("no single task; for a group name the files of its tasks")
            })?;
        let output = config.get("output_type").and_then(Value::as_str).unwrap_or("generate_until");
        let judged = match output {
            "generate_until" => Judged::Exact,
            "multiple_choice" | "loglikelihood" => Judged::FirstChoice,
            _ => return Err(refused("its `output_type` asks no question that has an answer")),
        };
        let part = |key: &str| config.get(key).filter(|value| !value.is_null()).map(Source::of);
        let needed = |key: &str| part(key).ok_or_else(|| refused(&format!("it has no `{key}`")));
        let (question, target) = (needed("doc_to_text")?, needed("doc_to_target")?);
        let choices =
            if output == "multiple_choice" { Some(needed("doc_to_choice")?) } else { None };
        list_settings(&name, config, foreign);
        if choices.is_some() {
            let reason = "the wrong choices are not compared: the right one is the gold answer";
            foreign.leave_out(format!("{name}: doc_to_choice"), reason);
        }
        let description = part("description");
        Ok(Self { name, description, question, target, choices, judged })
    }

    fn ask_all(&self, rows: &[Record], foreign: &mut Foreign) {
        for (at, row) in rows.iter().enumerate() {
            let place = format!("{}/{at}", self.name);
            match self.ask(row) {
                Ok((question, answer, further)) => {
                    if further > 0 {
                        let reason = format!("{further} further gold answers: the first is taken");
                        foreign.leave_out(format!("{place}: doc_to_target"), reason);
                    }
                    let judged = self.judged;
                    foreign.asked.push(Asked { place, question, answer, judged });
                }
                Err(reason) => foreign.leave_out(place, reason),
            }
        }
    }

    /// Question, gold, and how many golds there are besides.
    fn ask(&self, row: &Record) -> Result<(String, String, usize), Unread> {
        let description = self.description.as_ref().map(|source| source.text(row)).transpose()?;
        let question = self.question.text(row)?;
        let (target, further) = first(self.target.value(row)?)?;
        let answer = match &self.choices {
            Some(choices) => chosen(&choices.choices(row)?, &target)?,
            None => text(&target).ok_or("its gold answer is no text")?,
        };
        Ok((description.unwrap_or_default() + &question, answer, further))
    }
}

impl Source {
    fn of(value: &Value) -> Self {
        match value {
            Value::String(text) => Self::Text(text.clone(), Template::parse(text)),
            Value::Array(items) => Self::List(items.iter().map(Self::of).collect()),
            // Its order would count, and a table has none here.
            Value::Object(_) => Self::Text(String::new(), Err("a table of choices".to_owned())),
            other => Self::Constant(other.clone()),
        }
    }

    fn value(&self, row: &Record) -> Result<Value, Unread> {
        match self {
            Self::Text(name, template) => match (row.get(name), template) {
                (Some(field), _) => Ok(field.clone()),
                (None, Ok(template)) => template.value(row),
                (None, Err(unread)) => Err(unread.clone()),
            },
            Self::Constant(value) => Ok(value.clone()),
            Self::List(sources) => sources.iter().map(|source| source.value(row)).collect(),
        }
    }

    fn text(&self, row: &Record) -> Result<String, Unread> {
        let value = self.value(row)?;
        let string = value.as_str().map(str::to_owned);
        string.ok_or_else(|| "its question is no text: it is chosen by number".to_owned())
    }

    fn choices(&self, row: &Record) -> Result<Vec<String>, Unread> {
        let value = self.value(row)?;
        let choices = value.as_array().and_then(|items| items.iter().map(text).collect());
        choices.ok_or_else(|| "its choices are no list of texts".to_owned())
    }
}

/// The first of several golds, and how many follow.
fn first(target: Value) -> Result<(Value, usize), Unread> {
    match target {
        Value::Array(golds) => {
            let further = golds.len().saturating_sub(1);
            let first = golds.into_iter().next();
            first.map(|first| (first, further)).ok_or_else(|| "it has no gold answer".to_owned())
        }
        one => Ok((one, 0)),
    }
}

/// The choice that a target names by number, from 0, or by its own words.
fn chosen(choices: &[String], target: &Value) -> Result<String, Unread> {
    let number = match target {
        Value::Number(number) => number.as_u64(),
        Value::Bool(truth) => Some(u64::from(*truth)),
        Value::String(digits) if choices.contains(digits) => return Ok(digits.clone()),
        Value::String(digits) => digits.trim().parse().ok(),
        _ => None,
    };
    let at = number.and_then(|number| usize::try_from(number).ok());
    let choice = at.and_then(|at| choices.get(at)).cloned();
    choice.ok_or_else(|| "its gold answer is none of its choices".to_owned())
}

/// Names every setting that is not taken over.
fn list_settings(task: &str, config: &Map<String, Value>, foreign: &mut Foreign) {
    let set = config.iter().filter(|(_, value)| !value.is_null());
    for (key, value) in set {
        let reason = match SETTINGS.iter().find(|(known, _)| known == key) {
            Some((_, reason)) => reason,
            None if key == "num_fewshot" && value.as_u64() != Some(0) => {
                "no examples are put before a question"
            }
            None if key == "repeats" && value.as_u64() != Some(1) => "each question is asked once",
            None if KNOWN.contains(&key.as_str()) => continue,
            None => "this importer does not know it",
        };
        foreign.leave_out(format!("{task}: {}", super::name(key)), reason);
    }
}
