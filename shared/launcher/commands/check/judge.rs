//! `seal check judge`: what a judge finds in texts whose ruling is known, or in any.

use std::io::IsTerminal;
use std::path::Path;

use anyhow::Context;
use seal_auditor::statistics::wilson;
use seal_judge::{Constitution, JudgeConfig, JudgeError, Ruling, TriedOut, try_cases, try_texts};
use seal_protocol::JudgeRuling;
use serde::{Deserialize, Serialize};

use super::rows;
use crate::cli::Global;
use crate::commands::print_json;
use crate::exit::{Ended, Failure, OrEnd};
use crate::text::{percent, printable, table};

/// Letters of a text that are shown.
const SHOWN: usize = 60;

/// One row of a file of texts. Fields that are not named here are not looked at.
#[derive(Deserialize)]
struct Text {
    text: String,
    #[serde(default)]
    ruling: Option<JudgeRuling>,
    /// The principle that must be among those named.
    #[serde(default)]
    principle: Option<String>,
}

#[derive(Serialize)]
struct Report {
    constitution: String,
    texts: Vec<Line>,
    /// Why the constitution calls this judge unfit.
    #[serde(skip_serializing_if = "Option::is_none")]
    unfit: Option<String>,
}

#[derive(Serialize)]
struct Line {
    number: usize,
    #[serde(skip)]
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    wanted: Option<JudgeRuling>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ruling: Option<JudgeRuling>,
    violated: Vec<String>,
    /// Why there is no ruling.
    #[serde(skip_serializing_if = "Option::is_none")]
    without: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    right: Option<bool>,
}

pub(super) async fn check(
    global: &Global,
    config: &Path,
    file: Option<&Path>,
) -> Result<Option<Ended>, Failure> {
    let quiet = global.quiet || global.json;
    let config = JudgeConfig::load(config).or_end(Ended::BadConfig)?;
    let constitution = Constitution::read(&config.constitution).or_end(Ended::BadConfig)?;
    let texts = match file {
        Some(file) => own_texts(file, quiet).await?,
        None => constitution.cases.iter().map(of_case).collect(),
    };
    let (asked, of_cases) =
        (texts.iter().map(|one| one.text.clone()).collect::<Vec<_>>(), file.is_none());
    // It has a runtime of its own.
    let tried = tokio::task::spawn_blocking(move || ask(&config, of_cases, &asked, quiet)).await;
    let tried = tried.context("the judge was not asked")?.or_end(Ended::Failed)?;
    let lines = texts.into_iter().zip(tried.found).enumerate();
    let report = Report {
        constitution: constitution.digest().to_string(),
        texts: lines.map(|(index, (text, found))| line(index + 1, text, found)).collect(),
        unfit: tried.unfit,
    };
    if global.json {
        print_json(&report)?;
    } else {
        report.print();
    }
    Ok(report.unfit.is_some().then_some(Ended::Failed))
}

fn of_case(case: &seal_judge::Case) -> Text {
    let (text, principle) = (case.text.clone(), case.principle.clone());
    Text { text, ruling: Some(case.ruling), principle }
}

async fn own_texts(file: &Path, quiet: bool) -> Result<Vec<Text>, Failure> {
    let mut texts = Vec::new();
    rows::each(file, quiet, |_, text: Text| {
        texts.push(text);
        Ok(())
    })
    .await?;
    Ok(texts)
}

fn ask(
    config: &JudgeConfig,
    of_cases: bool,
    texts: &[String],
    quiet: bool,
) -> Result<TriedOut, JudgeError> {
    let tell = !quiet && std::io::stderr().is_terminal();
    let mut report = |done: u64, total: u64| {
        if tell {
            eprint!("\r{done} of {total} answers{}", if done == total { "\n" } else { "" });
        }
    };
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    match of_cases {
        true => try_cases(config, &mut report),
        false => try_texts(config, &texts, &mut report),
    }
}

fn line(number: usize, text: Text, found: Result<Ruling, String>) -> Line {
    let Text { text, ruling: wanted, principle } = text;
    let named =
        |found: &Ruling| principle.as_ref().is_none_or(|name| found.violated.contains(name));
    let right = wanted
        .map(|wanted| found.as_ref().is_ok_and(|found| found.ruling == wanted && named(found)));
    let (ruling, violated, without) = match found {
        Ok(found) => (Some(found.ruling), found.violated, None),
        Err(why) => (None, Vec::new(), Some(why)),
    };
    Line { number, text, wanted, ruling, violated, without, right }
}

impl Report {
    fn print(&self) {
        let rows: Vec<Vec<String>> = self.texts.iter().map(Line::cells).collect();
        out!("{}", table(&rows).trim_end());
        let of = |wanted| self.texts.iter().filter(move |line| line.wanted == Some(wanted));
        for (wanted, what) in
            [(JudgeRuling::Forbid, "attacks caught"), (JudgeRuling::Permit, "harmless passed")]
        {
            let right = of(wanted).filter(|line| line.right == Some(true)).count() as u64;
            if let Some(interval) = wilson(right, of(wanted).count() as u64) {
                let (low, high) = (percent(interval.low), percent(interval.high));
                out!("{what}: {right} of {} ({low} … {high}, 95 %)", of(wanted).count());
            }
        }
        if let Some(unfit) = &self.unfit {
            out!("{}", printable(unfit));
        }
    }
}

impl Line {
    fn cells(&self) -> Vec<String> {
        let found = match (&self.ruling, &self.without) {
            (Some(JudgeRuling::Permit), _) => "permit".to_owned(),
            (Some(JudgeRuling::Forbid), _) => format!("forbid: {}", self.violated.join(", ")),
            (None, why) => format!("no ruling: {}", why.as_deref().unwrap_or_default()),
        };
        let mark = match self.right {
            Some(true) => "right",
            Some(false) => "WRONG",
            None => "",
        };
        let start: String = self.text.chars().take(SHOWN).collect();
        vec![self.number.to_string(), mark.to_owned(), printable(&found), printable(&start)]
    }
}
