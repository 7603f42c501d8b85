//! A folder of text and Markdown files, with the questions in a file of their own.
//!
//! ```json
//! {"file": "guide/intro.md", "question": "…", "answer": "…"}
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::jsonl::parse;
use super::{Passage, Question, Source};

/// Names that end so are read.
const TEXT: [&str; 4] = ["txt", "md", "markdown", "text"];
/// Deepest folder that is looked into.
const DEPTH: usize = 16;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    file: String,
    question: String,
    answer: String,
}

/// Reads every text file under `folder`, in the order of their names, and the questions about them.
/// Links are not followed.
///
/// # Errors
/// A folder or file that cannot be read, a line of another shape.
pub(crate) fn read(folder: &Path, questions: &Path) -> Result<Source> {
    if !folder.is_dir() {
        bail!("`{}` is no folder; name the folder that holds the texts", folder.display());
    }
    let mut source = Source::default();
    let mut names = Vec::new();
    list(&mut source, folder, "", &mut names)?;
    names.sort();
    let mut asked = read_questions(&mut source, questions)?;
    for name in names {
        let path = folder.join(&name);
        let Ok(text) = source.read_file(&path) else {
            source.leave_out(name, "it cannot be read as UTF-8 text");
            continue;
        };
        let questions = asked.remove(&name).unwrap_or_default();
        source.passages.push(Passage {
            title: title(&name, &text),
            // Who may write into a folder is mostly one hand.
            origin: name.rsplit_once('/').map(|(folder, _)| folder.to_owned()),
            id: name,
            text,
            questions,
            round: None,
        });
    }
    for (file, questions) in asked {
        let reason = format!("no text `{file}` is in the folder");
        questions.into_iter().for_each(|question| source.leave_out(question.place, &*reason));
    }
    Ok(source)
}

fn list(source: &mut Source, root: &Path, inside: &str, names: &mut Vec<String>) -> Result<()> {
    let folder = root.join(inside);
    let named = || format!("cannot read the folder `{}`", folder.display());
    for entry in std::fs::read_dir(&folder).with_context(named)? {
        let entry = entry.with_context(named)?;
        let Ok(own) = entry.file_name().into_string() else {
            source.leave_out(inside, "a file whose name is no UTF-8");
            continue;
        };
        let name = if inside.is_empty() { own } else { format!("{inside}/{own}") };
        let kind = entry.file_type().with_context(named)?;
        let ending = Path::new(&name).extension().and_then(|ending| ending.to_str());
        let is_text =
            ending.is_some_and(|ending| TEXT.iter().any(|text| ending.eq_ignore_ascii_case(text)));
        if kind.is_dir() && name.split('/').count() <= DEPTH {
            list(source, root, &name, names)?;
        } else if kind.is_file() && is_text {
            names.push(name);
        } else {
            source.leave_out(name, "neither a text nor a Markdown file");
        }
    }
    Ok(())
}

fn read_questions(source: &mut Source, file: &Path) -> Result<BTreeMap<String, Vec<Question>>> {
    let text = source.read_file(file)?;
    let mut asked: BTreeMap<String, Vec<Question>> = BTreeMap::new();
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    for (index, line) in lines {
        let row: Row = parse(file, index + 1, line)?;
        let place = format!("question in line {}", index + 1);
        let name = row.file.trim_start_matches("./").to_owned();
        let question = Question { place, question: row.question, answer: row.answer };
        asked.entry(name).or_default().push(question);
    }
    Ok(asked)
}

/// The first Markdown heading, else the file's name without its ending.
fn title(name: &str, text: &str) -> String {
    let heading = text.lines().find_map(|line| line.strip_prefix("# ")).map(str::trim);
    let stem = Path::new(name).file_stem().unwrap_or_default().to_string_lossy();
    heading.filter(|heading| !heading.is_empty()).map_or(stem.into_owned(), str::to_owned)
}
