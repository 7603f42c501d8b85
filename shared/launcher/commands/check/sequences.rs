//! `seal check sequences`: the sequence builder, both rules, on recorded inputs and outputs.

use std::collections::BTreeMap;
use std::path::Path;

use seal_teacher::{SequenceBuilder, SequenceRule};
use serde::{Deserialize, Serialize};

use super::{Count, SHOWN, ending, rows};
use crate::cli::Global;
use crate::commands::print_json;
use crate::exit::{Ended, Failure};
use crate::text::{printable, table};

/// One row of a file of cases. Fields that are not named here are not looked at.
#[derive(Deserialize)]
struct Case {
    #[serde(default)]
    kind: String,
    title: String,
    context: String,
    completion: String,
    split_newlines: bool,
    /// Under the June rule.
    sequences: Vec<String>,
    /// Under the August rule, where that differs.
    #[serde(default)]
    sequences_aug2025: Option<Vec<String>>,
}

#[derive(Default, Serialize)]
struct Report {
    june: Count,
    august: Count,
    /// By kind of case, both rules together.
    kinds: BTreeMap<String, Count>,
    differences: Vec<Difference>,
}

/// A case that came out otherwise.
#[derive(Serialize)]
struct Difference {
    line: u64,
    kind: String,
    rule: SequenceRule,
    ours: usize,
    recorded: usize,
    /// The first sequence that differs, from 0.
    first: usize,
}

pub(super) async fn check(global: &Global, file: &Path) -> Result<Option<Ended>, Failure> {
    let mut report = Report::default();
    rows::each(file, global.quiet || global.json, |line, case: Case| {
        report.add(line, &case);
        Ok(())
    })
    .await?;
    if global.json {
        print_json(&report)?;
    } else {
        report.print();
    }
    Ok(ending(report.june.is_complete() && report.august.is_complete(), file))
}

impl Report {
    fn add(&mut self, line: u64, case: &Case) {
        let august = case.sequences_aug2025.as_ref().unwrap_or(&case.sequences);
        let june = self.compare(line, case, SequenceRule::June, &case.sequences);
        self.june.add(june);
        let august = self.compare(line, case, SequenceRule::August, august);
        self.august.add(august);
    }

    fn compare(&mut self, line: u64, case: &Case, rule: SequenceRule, recorded: &[String]) -> bool {
        let builder = SequenceBuilder::new(rule, case.split_newlines);
        let ours = builder.build(&case.title, &case.context, &case.completion);
        let equal = ours == recorded;
        self.kinds.entry(case.kind.clone()).or_default().add(equal);
        if !equal {
            let same = ours.iter().zip(recorded).take_while(|(ours, theirs)| ours == theirs);
            self.differences.push(Difference {
                line,
                kind: case.kind.clone(),
                rule,
                first: same.count(),
                ours: ours.len(),
                recorded: recorded.len(),
            });
        }
        equal
    }

    fn print(&self) {
        let row = |name: &str, count: Count| {
            let [equal, share] = count.cells();
            vec![printable(name), equal, share]
        };
        let mut rows = vec![row("June rule", self.june), row("August rule", self.august)];
        let kinds = self.kinds.iter().filter(|(kind, _)| !kind.is_empty());
        rows.extend(kinds.map(|(kind, count)| row(&format!("  {kind}"), *count)));
        out!("Cases whose sequences are equal to the letter\n{}", table(&rows));
        for difference in self.differences.iter().take(SHOWN) {
            out!(
                "line {}, {} rule: sequence {} differs ({} sequences here, {} recorded)",
                difference.line,
                crate::text::wire_name(&difference.rule),
                difference.first,
                difference.ours,
                difference.recorded
            );
        }
    }
}
