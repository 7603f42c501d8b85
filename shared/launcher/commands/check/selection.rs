//! `seal check selection`: the authors' selection rule on recorded rewards, beside recorded choices.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

use seal_auditor::selection::{first_best, paper};
use serde::{Deserialize, Serialize};

use super::{Count, SHOWN, ending, rows};
use crate::cli::Global;
use crate::commands::print_json;
use crate::exit::{Ended, Failure};
use crate::text::{printable, table};

/// Where the choices lie if nobody says.
const SELECTIONS: &str = "selections.jsonl";

/// A row of recorded self-edits. Fields that are not named here are not looked at.
#[derive(Deserialize)]
struct EditRow {
    round: u32,
    id: String,
    k: u32,
    #[serde(default)]
    text: Option<String>,
    adapter_mean: f64,
    #[serde(default)]
    seed_accuracy: Option<Vec<f64>>,
}

/// A row of recorded choices.
#[derive(Deserialize)]
struct ChoiceRow {
    round: u32,
    id: String,
    selected_k: u32,
    #[serde(default)]
    sha256: Option<String>,
}

/// What is kept of one self-edit.
struct Edit {
    adapter_mean: f64,
    seed_accuracy: Option<Vec<f64>>,
    /// Of the stripped text.
    sha256: Option<String>,
}

/// Round and passage.
type Group = (u32, String);
type Groups = BTreeMap<Group, BTreeMap<u32, Edit>>;

#[derive(Default, Serialize)]
struct Report {
    /// Choices compared and found equal, from `adapter_mean`.
    from_adapter_mean: Count,
    /// The same from `seed_accuracy`, for groups that have it.
    from_seed_accuracy: Count,
    /// Chosen texts whose digest is the recorded one.
    text_digests: Count,
    /// Choices about a passage of which the file has no edits.
    without_edits: u64,
    /// Groups of edits without a recorded choice.
    without_choice: u64,
    /// By round, from `adapter_mean`.
    rounds: BTreeMap<u32, Count>,
    differences: Vec<Difference>,
}

#[derive(Serialize)]
struct Difference {
    round: u32,
    id: String,
    from: &'static str,
    ours: Option<u32>,
    recorded: u32,
}

pub(super) async fn check(
    global: &Global,
    file: &Path,
    selections: Option<&Path>,
) -> Result<Option<Ended>, Failure> {
    let beside = file.with_file_name(SELECTIONS);
    let selections = selections.unwrap_or(&beside);
    let quiet = global.quiet || global.json;
    let groups = read_edits(file, quiet).await?;
    let mut report = Report::default();
    let mut chosen = std::collections::BTreeSet::new();
    rows::each(selections, quiet, |_, choice: ChoiceRow| {
        let group = (choice.round, choice.id.clone());
        if !chosen.insert(group.clone()) {
            return Err(format!("round {} of `{}` stands twice", choice.round, choice.id));
        }
        report.add(groups.get(&group), &choice);
        Ok(())
    })
    .await?;
    report.without_choice = groups.keys().filter(|group| !chosen.contains(*group)).count() as u64;
    if global.json {
        print_json(&report)?;
    } else {
        report.print();
    }
    Ok(ending(report.is_complete(), selections))
}

async fn read_edits(file: &Path, quiet: bool) -> Result<Groups, Failure> {
    let mut groups = Groups::new();
    rows::each(file, quiet, |_, row: EditRow| {
        let named = format!("edit {} of round {} of `{}`", row.k, row.round, row.id);
        let edit = Edit {
            adapter_mean: row.adapter_mean,
            seed_accuracy: row.seed_accuracy,
            sha256: row.text.map(|text| {
                seal_trust::sha256(seal_teacher::stripped(&text).as_bytes()).to_string()
            }),
        };
        if edit.seed_accuracy.as_ref().is_some_and(Vec::is_empty) {
            return Err(format!("{named} has an empty `seed_accuracy`; leave it out or null"));
        }
        match groups.entry((row.round, row.id)).or_default().entry(row.k) {
            Entry::Occupied(_) => Err(format!("{named} stands twice")),
            Entry::Vacant(place) => {
                place.insert(edit);
                Ok(())
            }
        }
    })
    .await?;
    Ok(groups)
}

impl Report {
    fn add(&mut self, edits: Option<&BTreeMap<u32, Edit>>, choice: &ChoiceRow) {
        let Some(edits) = edits else {
            self.without_edits += 1;
            return;
        };
        let by_mean = pick(edits, first_best(edits.values().map(|edit| edit.adapter_mean)));
        let equal = self.compare("adapter_mean", by_mean, choice);
        self.from_adapter_mean.add(equal);
        self.rounds.entry(choice.round).or_default().add(equal);
        let seeds: Option<Vec<Vec<f64>>> =
            edits.values().map(|edit| edit.seed_accuracy.clone()).collect();
        if let Some(seeds) = seeds {
            let equal = self.compare("seed_accuracy", pick(edits, paper(&seeds)), choice);
            self.from_seed_accuracy.add(equal);
        }
        let text = by_mean.and_then(|k| edits.get(&k)).and_then(|edit| edit.sha256.as_ref());
        if let (Some(ours), Some(recorded)) = (text, &choice.sha256) {
            self.text_digests.add(ours.eq_ignore_ascii_case(recorded));
        }
    }

    fn compare(&mut self, from: &'static str, ours: Option<u32>, choice: &ChoiceRow) -> bool {
        let equal = ours == Some(choice.selected_k);
        if !equal {
            let (round, id) = (choice.round, choice.id.clone());
            self.differences.push(Difference {
                round,
                id,
                from,
                ours,
                recorded: choice.selected_k,
            });
        }
        equal
    }

    /// Seeds and texts need not be there; where they are, they must agree.
    fn is_complete(&self) -> bool {
        let optional = |count: Count| count.compared == 0 || count.is_complete();
        self.from_adapter_mean.is_complete()
            && optional(self.from_seed_accuracy)
            && optional(self.text_digests)
            && self.without_edits == 0
    }

    fn print(&self) {
        let row = |name: &str, count: Count| {
            let [equal, share] = count.cells();
            vec![name.to_owned(), equal, share]
        };
        let mut rows = vec![
            row("from adapter_mean", self.from_adapter_mean),
            row("from seed_accuracy", self.from_seed_accuracy),
            row("digest of the chosen text", self.text_digests),
        ];
        let rounds = self.rounds.iter();
        rows.extend(rounds.map(|(round, count)| row(&format!("  round {round}, by mean"), *count)));
        out!("Choices equal to the recorded ones\n{}", table(&rows));
        if self.without_edits > 0 {
            out!("{} choices are about passages without edits in the file", self.without_edits);
        }
        if self.without_choice > 0 {
            out!("{} passages have no recorded choice and were not compared", self.without_choice);
        }
        for difference in self.differences.iter().take(SHOWN) {
            let ours = difference.ours.map_or("none".to_owned(), |k| format!("edit {k}"));
            out!(
                "round {} of {}: {ours} from {}, recorded edit {}",
                difference.round,
                printable(&difference.id),
                difference.from,
                difference.recorded
            );
        }
    }
}

/// The number of the edit at an index.
fn pick(edits: &BTreeMap<u32, Edit>, index: Option<usize>) -> Option<u32> {
    edits.keys().nth(index?).copied()
}
