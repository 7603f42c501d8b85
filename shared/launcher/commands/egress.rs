//! `egress`: what teacher or judge sent away, from its own record, chain checked.

use std::collections::BTreeMap;

use seal_endpoint::{EgressRow, Spent, read_record};
use seal_judge::JudgeConfig;
use seal_protocol::{Role, UnixSeconds};
use seal_teacher::TeacherConfig;
use serde::Serialize;

use super::{hint, print_json};
use crate::cli::{Egress, Global};
use crate::exit::{Ended, Failure, OrEnd};
use crate::run_dir::RunDir;
use crate::text::{printable, table};

/// `seal egress --json`.
#[derive(Serialize)]
struct Report<'a> {
    requests: usize,
    body_bytes: u64,
    urls: Vec<&'a str>,
    spent: Spent,
    rows: &'a [EgressRow],
}

/// A request with its end, if that is recorded.
struct Line<'a> {
    sent: &'a EgressRow,
    answered: Option<&'a EgressRow>,
}

pub(crate) fn egress(
    global: &Global,
    run: &RunDir,
    args: &Egress,
) -> Result<Option<Ended>, Failure> {
    let state = match args.role.as_str() {
        "judge" => JudgeConfig::load(&run.config_file(Role::Judge)).map(|config| config.state),
        _ => TeacherConfig::load(&run.config_file(Role::Teacher)).map(|config| config.state),
    };
    let rows = read_record(&state.or_end(Ended::BadConfig)?).or_end(Ended::Unverified)?;
    let lines = lines(&rows);
    if let Some(number) = args.number {
        return one(&lines, number);
    }
    let report = report(&rows, &lines);
    if global.json {
        print_json(&report)?;
        return Ok(None);
    }
    for url in &report.urls {
        out!("endpoint  {}", printable(url));
    }
    out!("{}", table(&table_rows(&lines)).trim_end());
    let Spent { input_tokens, output_tokens, cost_micro } = report.spent;
    out!(
        "{} requests, {} bytes; {input_tokens} tokens read, {output_tokens} written; cost {:.6}",
        report.requests,
        report.body_bytes,
        cost_micro as f64 / 1e6
    );
    hint(global, "seal egress 1 prints the bytes of the first request");
    Ok(None)
}

fn lines(rows: &[EgressRow]) -> BTreeMap<u64, Line<'_>> {
    let mut lines = BTreeMap::new();
    for row in rows {
        match row {
            EgressRow::Sent { number, .. } => {
                lines.insert(*number, Line { sent: row, answered: None });
            }
            EgressRow::Answered { number, .. } => {
                if let Some(line) = lines.get_mut(number) {
                    line.answered = Some(row);
                }
            }
        }
    }
    lines
}

fn report<'a>(rows: &'a [EgressRow], lines: &BTreeMap<u64, Line<'a>>) -> Report<'a> {
    let mut urls: Vec<&str> = Vec::new();
    let (mut body_bytes, mut spent) = (0, Spent::default());
    for line in lines.values() {
        let EgressRow::Sent { url, body_bytes: bytes, reserved, .. } = line.sent else { continue };
        body_bytes += bytes;
        if !urls.contains(&url.as_str()) {
            urls.push(url);
        }
        // Without a recorded end it counts as the budget counts it: at its highest price.
        let cost = match line.answered {
            Some(EgressRow::Answered { spent, .. }) => spent,
            _ => reserved,
        };
        spent.input_tokens += cost.input_tokens;
        spent.output_tokens += cost.output_tokens;
        spent.cost_micro += cost.cost_micro;
    }
    Report { requests: lines.len(), body_bytes, urls, spent, rows }
}

fn table_rows(lines: &BTreeMap<u64, Line<'_>>) -> Vec<Vec<String>> {
    let head = ["number", "time", "context", "k", "attempt", "bytes", "outcome", "read", "written"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for (number, line) in lines {
        let EgressRow::Sent { time, purpose, body_bytes, .. } = line.sent else { continue };
        let (outcome, read, written) = match line.answered {
            Some(EgressRow::Answered { outcome, spent, measured, .. }) => {
                let mark = if *measured { "" } else { "~" };
                let count = |tokens: u64| format!("{mark}{tokens}");
                (printable(outcome), count(spent.input_tokens), count(spent.output_tokens))
            }
            _ => ("open".to_owned(), "–".to_owned(), "–".to_owned()),
        };
        rows.push(vec![
            number.to_string(),
            when(*time),
            purpose.context_digest.short(),
            purpose.proposal.to_string(),
            purpose.attempt.to_string(),
            body_bytes.to_string(),
            outcome,
            read,
            written,
        ]);
    }
    rows
}

fn when(time: UnixSeconds) -> String {
    let seconds = i64::try_from(time.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |t| t.to_string())
}

/// The bytes of one request, as they left, on stdout alone; the rest on stderr.
fn one(lines: &BTreeMap<u64, Line<'_>>, number: u64) -> Result<Option<Ended>, Failure> {
    let line = lines.get(&number);
    let Some(Line { sent: EgressRow::Sent { method, url, headers, body, .. }, answered }) = line
    else {
        let missing = anyhow::anyhow!("there is no request {number}; `seal egress` lists them");
        return Err(missing).or_end(Ended::BadConfig);
    };
    eprintln!("{} {}", printable(method), printable(url));
    for (name, value) in headers {
        eprintln!("{}: {}", printable(name), printable(value));
    }
    if let Some(EgressRow::Answered { outcome, detail, .. }) = answered {
        eprintln!("ended: {} {}", printable(outcome), printable(detail));
    }
    out!("{}", printable(body));
    Ok(None)
}
