//! Evaluations of other tools, as suites of the auditor.
//!
//! **Invariant:** nothing is executed and nothing is fetched. A file that would have a script run is
//! refused as a whole, by its text, before it is parsed.
//! **Invariant:** beside a file that the user named only files under its own folder are read.
//! **Invariant:** what is left out is named, by place and reason, never by its text.

mod arc;
mod csv;
mod files;
mod hooks;
mod inspect;
mod lm_eval;
mod promptfoo;
mod records;
mod template;
mod write;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};

use seal_auditor::graders::Grader;
use seal_auditor::grading::Grading;
use seal_auditor::items::{Item, ItemKind};

pub(crate) use self::arc::read as read_arc;
pub(crate) use self::inspect::{Fields, read as read_inspect};
pub(crate) use self::lm_eval::read as read_lm_eval;
pub(crate) use self::promptfoo::read as read_promptfoo;
pub(crate) use self::write::{Written, write};
use super::{LeftOut, SourceFile};

/// Longest question or gold answer, in bytes.
const LONGEST_TEXT_BYTES: usize = 64 * 1024;
/// Longest name of a suite or an item.
const LONGEST_NAME: usize = 64;
/// Longest written answer; the auditor's own default.
const MAX_NEW_TOKENS: usize = 64;
/// The same for grids: 900 cells and their separators.
const MAX_GRID_TOKENS: usize = 2048;

/// What a foreign evaluation asks.
#[derive(Debug, Default)]
pub(crate) struct Foreign {
    pub(crate) asked: Vec<Asked>,
    pub(crate) left_out: Vec<LeftOut>,
    pub(crate) files: Vec<SourceFile>,
}

/// One question with its gold answer and how an answer is judged.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    /// Where it stands in the source; the item's id.
    pub(crate) place: String,
    pub(crate) question: String,
    pub(crate) answer: String,
    pub(crate) judged: Judged,
}

/// How an answer is judged. A suite has one way; what is judged otherwise goes into another suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Judged {
    /// Every token of the gold is the model's first choice.
    FirstChoice,
    /// The answer is the gold.
    Exact,
    /// The gold stands in the answer.
    Substring,
    /// The gold is a pattern for the whole answer.
    Pattern,
    /// The answer is the gold grid, in whatever notation.
    Grid,
}

impl Judged {
    /// Part of the suite's name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::FirstChoice => "first-choice",
            Self::Exact => "exact",
            Self::Substring => "substring",
            Self::Pattern => "pattern",
            Self::Grid => "grid",
        }
    }

    /// As `[grading]` of `auditor.toml` says it.
    pub(crate) const fn grading(self) -> Grading {
        let grader = match self {
            Self::FirstChoice => return Grading::FirstChoice,
            Self::Exact => Grader::Exact,
            Self::Substring => Grader::Substring,
            Self::Pattern => Grader::Pattern,
            Self::Grid => {
                return Grading::Written { max_new_tokens: MAX_GRID_TOKENS, grader: Grader::Grid };
            }
        };
        Grading::Written { max_new_tokens: MAX_NEW_TOKENS, grader }
    }
}

/// Suites by how they are judged.
#[derive(Debug, Default)]
pub(crate) struct Suites {
    pub(crate) items: BTreeMap<Judged, Vec<Item>>,
    pub(crate) left_out: Vec<LeftOut>,
    pub(crate) files: Vec<SourceFile>,
}

impl Foreign {
    pub(super) fn leave_out(&mut self, place: impl Into<String>, reason: impl Into<String>) {
        self.left_out.push(LeftOut { place: place.into(), reason: reason.into() });
    }

    /// Items of one kind, each way of judging a suite of its own; what no grader could use or what
    /// stands there already is left out.
    pub(crate) fn into_suites(self, kind: ItemKind) -> Suites {
        let mut suites = Suites { left_out: self.left_out, files: self.files, ..Suites::default() };
        let (mut names, mut known) = (BTreeSet::new(), BTreeSet::new());
        for mut asked in self.asked {
            asked.question = asked.question.trim().to_owned();
            asked.answer = asked.answer.trim().to_owned();
            let key = (asked.judged, asked.question.clone(), asked.answer.clone());
            let reason = unusable(&asked)
                .or_else(|| (!known.insert(key)).then(|| "it stands there already".to_owned()));
            if let Some(reason) = reason {
                suites.left_out.push(LeftOut { place: asked.place, reason });
                continue;
            }
            let item = Item {
                id: unique(name(&asked.place), &mut names),
                question: asked.question,
                answer: asked.answer,
                kind,
                topic: None,
            };
            suites.items.entry(asked.judged).or_default().push(item);
        }
        suites
    }
}

fn unusable(asked: &Asked) -> Option<String> {
    if asked.question.is_empty() || asked.answer.is_empty() {
        return Some("question or answer is empty".to_owned());
    }
    if asked.question.len().max(asked.answer.len()) > LONGEST_TEXT_BYTES {
        return Some(format!("question or answer is longer than {LONGEST_TEXT_BYTES} bytes"));
    }
    if asked.judged == Judged::Pattern {
        let refused = seal_auditor::graders::pattern("", &asked.answer).is_err();
        return refused.then(|| "its pattern is none of linear time".to_owned());
    }
    None
}

/// Letters, digits and `. _ / -` of a place, for an id or a file's name.
pub(crate) fn name(place: &str) -> String {
    let kept = place.chars().take(LONGEST_NAME).map(|character| match character {
        'A'..='Z' | 'a'..='z' | '0'..='9' | '.' | '_' | '/' | '-' => character,
        _ => '-',
    });
    kept.collect()
}

fn unique(name: String, taken: &mut BTreeSet<String>) -> String {
    let mut id = name.clone();
    let mut number = 2_usize;
    while !taken.insert(id.clone()) {
        id = format!("{name}.{number}");
        number += 1;
    }
    id
}

#[cfg(test)]
mod tests;
