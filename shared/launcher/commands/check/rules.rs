//! `seal check rules`: how often each text rule speaks on texts that somebody recorded.

use std::collections::BTreeMap;
use std::path::Path;

use seal_auditor::items::Item;
use seal_auditor::rules::Rules;
use seal_auditor::vault::Tau;
use seal_protocol::{Digest, Directives, EditOrigin, LossPart, Micro, SelfEdit, TrainingExample};
use serde::{Deserialize, Serialize};

use super::rows;
use crate::cli::Global;
use crate::commands::print_json;
use crate::exit::{Ended, Failure, OrEnd};
use crate::text::{percent, printable, table};

/// Ids that are printed per rule; `--json` has them all.
const SHOWN: usize = 5;

/// One row of a file of texts. Fields that are not named here are not looked at.
#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    id: Option<String>,
    text: String,
}

#[derive(Default, Serialize)]
struct Report {
    texts: u64,
    /// Texts that no rule speaks against.
    passed: u64,
    /// Ids by rule; a text without one is named by its line. Never a text.
    findings: BTreeMap<String, Vec<String>>,
}

pub(super) async fn check(
    global: &Global,
    file: &Path,
    rules: &Path,
    tau: Option<&Path>,
) -> Result<Option<Ended>, Failure> {
    let quiet = global.quiet || global.json;
    let mut items: Vec<Item> = Vec::new();
    if let Some(tau) = tau {
        rows::each(tau, quiet, |_, row: Tau| {
            items.extend(row.reward.into_iter().chain(row.confirmation));
            Ok(())
        })
        .await?;
    }
    let rules = Rules::load(rules).or_end(Ended::BadConfig)?.over(&items);
    let mut report = Report::default();
    rows::each(file, quiet, |line, row: Row| {
        report.add(line, &row, &rules);
        Ok(())
    })
    .await?;
    if global.json {
        print_json(&report)?;
    } else {
        report.print();
    }
    Ok(None)
}

impl Report {
    fn add(&mut self, line: u64, row: &Row, rules: &Rules) {
        let found = rules.findings(&edit(&row.text));
        self.texts += 1;
        self.passed += u64::from(found.is_empty());
        let id = row.id.clone().unwrap_or_else(|| format!("line {line}"));
        for rule in found {
            self.findings.entry(rule).or_default().push(id.clone());
        }
    }

    fn print(&self) {
        let share = |count: u64| match self.texts {
            0 => "–".to_owned(),
            texts => percent(count as f64 / texts as f64),
        };
        let row = |name: &str, count: u64| vec![name.to_owned(), count.to_string(), share(count)];
        let mut rows = vec![row("texts", self.texts), row("no rule speaks", self.passed)];
        rows.extend(self.findings.iter().map(|(rule, ids)| row(rule, ids.len() as u64)));
        out!("{}", table(&rows));
        for (rule, ids) in &self.findings {
            let first = ids.iter().take(SHOWN).map(|id| printable(id)).collect::<Vec<_>>();
            let more = if ids.len() > SHOWN { ", …" } else { "" };
            out!("{rule}: {}{more}", first.join(", "));
        }
    }
}

/// A text as a self-edit, each of its lines a sequence. Nothing but the examples is read.
fn edit(text: &str) -> SelfEdit {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let example =
        |line: &str| TrainingExample::Text { text: line.to_owned(), part: LossPart::Edit };
    let none = Digest::from_bytes([0; 32]);
    SelfEdit {
        context_digest: none,
        proposal: 0,
        examples: lines.map(example).collect(),
        directives: Directives::default(),
        rationale: String::new(),
        origin: EditOrigin {
            writer: String::new(),
            policy_digest: none,
            prompt_family: String::new(),
            prompt_digest: none,
            temperature_micro: Micro(0),
            seed: 0,
            reply_schema: None,
        },
    }
}
