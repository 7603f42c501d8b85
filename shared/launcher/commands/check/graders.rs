//! `seal check graders`: every grader beside the verdicts of a recorded judge.

use std::collections::BTreeMap;
use std::path::Path;

use seal_auditor::graders::{Agreement, Asked, Grader, kappa_interval};
use seal_auditor::statistics::Interval;
use serde::{Deserialize, Serialize};

use super::rows;
use super::thresholds::{Held, Sweep};
use crate::cli::Global;
use crate::commands::print_json;
use crate::exit::{Ended, Failure};
use crate::text::{percent, printable, table};

/// Passages of the recorded data, looked for beside a file of judgements that names no questions.
const PASSAGES: [&str; 2] = ["squad_train_100.jsonl", "squad_eval_200.jsonl"];
/// Name of the condition of rows that name none.
const ALL: &str = "all";
/// Seed of the intervals.
const SEED: u64 = 0;

/// One judged question: the answers before and after an update. Fields that are not named here are
/// not looked at.
#[derive(Deserialize)]
struct Judged {
    #[serde(default)]
    cond: Option<String>,
    id: String,
    qi: usize,
    #[serde(default)]
    q: Option<String>,
    #[serde(default)]
    gold: Option<String>,
    base: String,
    base_ok: Verdict,
    adapt: String,
    adapt_ok: Verdict,
}

/// 0, 1, false or true.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Verdict {
    Flag(bool),
    Number(u8),
}

#[derive(Deserialize)]
struct Passage {
    id: String,
    questions: Vec<Question>,
}

#[derive(Deserialize)]
struct Question {
    q: String,
    a: String,
}

type Passages = BTreeMap<String, Vec<Question>>;

/// What one grader said so far.
struct Tally {
    name: &'static str,
    grader: Grader,
    /// By condition: before and after the update.
    conditions: BTreeMap<String, [Agreement; 2]>,
    /// By passage, whose questions are no independent observations.
    passages: BTreeMap<String, Agreement>,
    /// Answers that it could not judge.
    refused: u64,
}

#[derive(Serialize)]
struct Report {
    answers: u64,
    empty_answers: u64,
    /// Passages, the independent units of the intervals.
    passages: usize,
    right_under_judge: u64,
    graders: Vec<Line>,
    /// Thresholds chosen on one half of the passages, measured on the other.
    held_out: Vec<Held>,
}

#[derive(Serialize)]
struct Line {
    name: &'static str,
    grader: Grader,
    refused: u64,
    #[serde(flatten)]
    figures: Figures,
    kappa_interval: Option<Interval>,
    conditions: BTreeMap<String, Condition>,
}

#[derive(Serialize)]
struct Figures {
    n: u64,
    accuracy: Option<f64>,
    kappa: Option<f64>,
    precision: Option<f64>,
    recall: Option<f64>,
}

#[derive(Serialize)]
struct Condition {
    #[serde(flatten)]
    figures: Figures,
    /// Share right before and after the update under the judge.
    judge: [Option<f64>; 2],
    /// The same under the grader.
    grader: [Option<f64>; 2],
}

fn graders() -> [(&'static str, Grader); 10] {
    [
        ("exact match", Grader::Exact),
        ("containment", Grader::Containment),
        ("substring", Grader::Substring),
        ("F1 of words, 0.5", Grader::F1 { threshold: 0.5 }),
        ("recall of words, 0.75", Grader::Recall { threshold: 0.75 }),
        ("recall of key words, 0.6", Grader::KeyRecall { threshold: 0.6, beyond_question: false }),
        (
            "the same beyond the question",
            Grader::KeyRecall { threshold: 0.6, beyond_question: true },
        ),
        ("numeric", Grader::Numeric { tolerance: 0.0 }),
        ("pattern", Grader::Pattern),
        ("grid", Grader::Grid),
    ]
}

pub(super) async fn check(
    global: &Global,
    file: &Path,
    passages: Option<&Path>,
) -> Result<Option<Ended>, Failure> {
    let quiet = global.quiet || global.json;
    let passages = read_passages(file, passages, quiet).await?;
    let mut tallies = graders().map(|(name, grader)| Tally::new(name, grader));
    let mut sweep = Sweep::new(graders());
    let mut empty = 0;
    rows::each(file, quiet, |_, row: Judged| {
        let (question, gold) = row.asked(&passages)?;
        let cond = row.cond.as_deref().unwrap_or(ALL);
        for (stage, (answer, ok)) in row.answers()?.into_iter().enumerate() {
            let asked = Asked { question, gold, answer };
            empty += u64::from(answer.trim().is_empty());
            tallies.iter_mut().for_each(|tally| tally.add(cond, &row.id, stage, &asked, ok));
            sweep.add(&row.id, &asked, ok);
        }
        Ok(())
    })
    .await?;
    let report = Report::of(&tallies, &sweep, empty);
    if global.json {
        print_json(&report)?;
    } else {
        report.print();
    }
    Ok(None)
}

/// The named file, or those of the recorded data that lie beside.
async fn read_passages(
    file: &Path,
    named: Option<&Path>,
    quiet: bool,
) -> Result<Passages, Failure> {
    let beside = PASSAGES.map(|name| file.with_file_name(name));
    let files: Vec<&Path> = match named {
        Some(named) => vec![named],
        None => beside.iter().map(AsRef::as_ref).filter(|path: &&Path| path.is_file()).collect(),
    };
    let mut passages = Passages::new();
    for file in files {
        rows::each(file, quiet, |_, passage: Passage| {
            match passages.insert(passage.id.clone(), passage.questions) {
                None => Ok(()),
                Some(_) => Err(format!("passage `{}` stands twice", passage.id)),
            }
        })
        .await?;
    }
    Ok(passages)
}

impl Judged {
    /// Question and gold: the row's own, else those of its passage.
    fn asked<'a>(&'a self, passages: &'a Passages) -> Result<(&'a str, &'a str), String> {
        if let (Some(question), Some(gold)) = (&self.q, &self.gold) {
            return Ok((question, gold));
        }
        let known = passages.get(&self.id).and_then(|questions| questions.get(self.qi));
        let known = known.ok_or_else(|| {
            format!(
                "the row has no `q` and `gold`, and question {} of passage `{}` is not known; name \
                 the file of passages with --passages",
                self.qi, self.id
            )
        })?;
        Ok((&known.q, &known.a))
    }

    fn answers(&self) -> Result<[(&str, bool); 2], String> {
        let base = self.base_ok.read("base_ok")?;
        let adapt = self.adapt_ok.read("adapt_ok")?;
        Ok([(self.base.as_str(), base), (self.adapt.as_str(), adapt)])
    }
}

impl Verdict {
    fn read(self, field: &str) -> Result<bool, String> {
        match self {
            Self::Flag(flag) => Ok(flag),
            Self::Number(number @ 0..=1) => Ok(number == 1),
            Self::Number(number) => Err(format!("`{field}` is {number}, not 0 or 1")),
        }
    }
}

impl Tally {
    fn new(name: &'static str, grader: Grader) -> Self {
        let (conditions, passages) = (BTreeMap::new(), BTreeMap::new());
        Self { name, grader, conditions, passages, refused: 0 }
    }

    fn add(&mut self, cond: &str, passage: &str, stage: usize, asked: &Asked<'_>, judge: bool) {
        let Ok(right) = self.grader.grade(asked) else {
            self.refused += 1;
            return;
        };
        // Looked up before it is inserted: a name is copied once, not for every row.
        if !self.conditions.contains_key(cond) {
            self.conditions.insert(cond.to_owned(), Default::default());
        }
        if !self.passages.contains_key(passage) {
            self.passages.insert(passage.to_owned(), Agreement::default());
        }
        if let Some(stages) = self.conditions.get_mut(cond) {
            stages[stage].add(right, judge);
        }
        if let Some(agreement) = self.passages.get_mut(passage) {
            agreement.add(right, judge);
        }
    }

    fn line(&self) -> Line {
        let passages: Vec<Agreement> = self.passages.values().copied().collect();
        let condition = |(name, stages): (&String, &[Agreement; 2])| {
            let figures = Figures::of(stages.iter().copied().sum());
            let judge = stages.map(|stage| share(stage.both + stage.judge_only, stage.n()));
            let grader = stages.map(|stage| share(stage.both + stage.grader_only, stage.n()));
            (name.clone(), Condition { figures, judge, grader })
        };
        Line {
            name: self.name,
            grader: self.grader,
            refused: self.refused,
            figures: Figures::of(passages.iter().copied().sum()),
            kappa_interval: kappa_interval(&passages, SEED),
            conditions: self.conditions.iter().map(condition).collect(),
        }
    }
}

impl Figures {
    fn of(agreement: Agreement) -> Self {
        Self {
            n: agreement.n(),
            accuracy: agreement.accuracy(),
            kappa: agreement.kappa(),
            precision: agreement.precision(),
            recall: agreement.recall(),
        }
    }
}

impl Report {
    fn of(tallies: &[Tally], sweep: &Sweep, empty_answers: u64) -> Self {
        // The first grader judges everything.
        let all = tallies.first().map(|tally| tally.passages.values().copied());
        let all: Agreement = all.into_iter().flatten().sum();
        Self {
            answers: all.n(),
            empty_answers,
            passages: tallies.first().map_or(0, |tally| tally.passages.len()),
            right_under_judge: all.both + all.judge_only,
            graders: tallies.iter().map(Tally::line).collect(),
            held_out: sweep.held_out(),
        }
    }

    fn print(&self) {
        out!(
            "{} answers to the questions of {} passages, {} empty; {} right under the judge",
            self.answers,
            self.passages,
            self.empty_answers,
            self.right_under_judge
        );
        out!("");
        out!("Agreement with the judge; κ with its 95 % interval over passages");
        let heads = ["grader", "n", "accuracy", "κ", "interval", "precision", "recall"];
        let mut rows = vec![heads.map(str::to_owned).to_vec()];
        rows.extend(self.graders.iter().map(Line::cells));
        out!("{}", table(&rows));
        self.print_conditions();
        out!("Thresholds chosen on one half of the passages, κ on the other");
        let heads = ["grader", "even → odd", "κ", "odd → even", "κ"];
        let mut rows = vec![heads.map(str::to_owned).to_vec()];
        rows.extend(self.held_out.iter().map(Held::cells));
        out!("{}", table(&rows));
        let refusing = self.graders.iter().filter(|line| line.refused > 0);
        refusing.for_each(|line| out!("{} could not judge {} answers", line.name, line.refused));
    }

    /// κ by condition, and the share right before and after an update: a grader that turns its sign
    /// round is no reward.
    fn print_conditions(&self) {
        let Some(first) = self.graders.first() else { return };
        let names: Vec<&String> = first.conditions.keys().collect();
        let heads = |rows: &mut Vec<Vec<String>>, lead: &str| {
            let names = names.iter().map(|name| printable(name));
            rows.push(std::iter::once(lead.to_owned()).chain(names).collect());
        };
        let mut kappas = Vec::new();
        let mut shares = Vec::new();
        heads(&mut kappas, "κ by condition");
        heads(&mut shares, "right before → after, %");
        let judge = first.conditions.values().map(|condition| change(condition.judge));
        shares.push(std::iter::once("the judge".to_owned()).chain(judge).collect());
        for line in &self.graders {
            let cells = |cell: &dyn Fn(&Condition) -> String| -> Vec<String> {
                let cells =
                    names.iter().map(|name| line.conditions.get(*name).map_or("–".into(), cell));
                std::iter::once(line.name.to_owned()).chain(cells).collect()
            };
            kappas.push(cells(&|condition| figure(condition.figures.kappa)));
            shares.push(cells(&|condition| change(condition.grader)));
        }
        out!("{}\n{}", table(&kappas), table(&shares));
    }
}

impl Line {
    fn cells(&self) -> Vec<String> {
        let interval = self.kappa_interval.map(|it| [it.low, it.high].map(|end| figure(Some(end))));
        let default = if self.grader == Grader::default() { " (default)" } else { "" };
        vec![
            format!("{}{default}", self.name),
            self.figures.n.to_string(),
            figure(self.figures.accuracy),
            figure(self.figures.kappa),
            interval.map_or("–".into(), |ends| ends.join(" – ")),
            figure(self.figures.precision),
            figure(self.figures.recall),
        ]
    }
}

pub(super) fn figure(value: Option<f64>) -> String {
    // Rounding errors about nothing have no sign.
    let round = |value: f64| if value.abs() < 5e-4 { 0.0 } else { value };
    value.map_or("–".to_owned(), |value| format!("{:.3}", round(value)))
}

fn change(shares: [Option<f64>; 2]) -> String {
    let shown = shares.map(|share| {
        share.map_or("–".to_owned(), |share| percent(share).trim_end_matches(" %").to_owned())
    });
    shown.join(" → ")
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
