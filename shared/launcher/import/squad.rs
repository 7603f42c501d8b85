//! SQuAD 1.1 and 2.0, as published: one JSON document of articles, paragraphs, questions, answers.

use std::path::Path;

use anyhow::{Result, anyhow};
use serde::Deserialize;

use super::{Passage, Question, Source};

/// The document. Fields that are not named here (`version`, `answer_start`) are not looked at.
#[derive(Deserialize)]
struct Document {
    data: Vec<Article>,
}

#[derive(Deserialize)]
struct Article {
    title: String,
    paragraphs: Vec<Paragraph>,
}

#[derive(Deserialize)]
struct Paragraph {
    context: String,
    qas: Vec<Asked>,
}

#[derive(Deserialize)]
struct Asked {
    id: String,
    question: String,
    #[serde(default)]
    answers: Vec<Answer>,
    /// SQuAD 2.0: the passage does not say.
    #[serde(default)]
    is_impossible: bool,
}

#[derive(Deserialize)]
struct Answer {
    text: String,
}

/// Reads SQuAD files, one after another. The first of several gold answers counts, as in the paper.
///
/// # Errors
/// A file that cannot be read or is no SQuAD.
pub(crate) fn read(files: &[std::path::PathBuf]) -> Result<Source> {
    let mut source = Source::default();
    for file in files {
        let text = source.read_file(file)?;
        let document: Document =
            serde_json::from_str(&text).map_err(|error| refused(file, &error))?;
        for article in document.data {
            take(&mut source, article);
        }
    }
    Ok(source)
}

fn refused(file: &Path, error: &serde_json::Error) -> anyhow::Error {
    anyhow!(
        "`{}` is no SQuAD JSON: {error}; for other shapes use `seal import jsonl`",
        file.display()
    )
}

fn take(source: &mut Source, article: Article) {
    let title = article.title.replace('_', " ");
    for (index, paragraph) in article.paragraphs.into_iter().enumerate() {
        let id = format!("{}#{index}", article.title);
        let mut passage = Passage {
            id,
            title: title.clone(),
            text: paragraph.context,
            origin: Some(title.clone()),
            ..Passage::default()
        };
        for asked in paragraph.qas {
            let place = format!("question {}", asked.id);
            match asked.answers.into_iter().next() {
                _ if asked.is_impossible => {
                    source.leave_out(place, "the passage does not answer it")
                }
                None => source.leave_out(place, "it has no gold answer"),
                Some(answer) => passage.questions.push(Question {
                    place,
                    question: asked.question,
                    answer: answer.text,
                }),
            }
        }
        source.passages.push(passage);
    }
}
