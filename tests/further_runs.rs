//! `[gate.repeats]` in a run: the auditor trains the edits that could win again, under seeds of its own.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Run, stderr, stdout};
use seal_auditor::annex::Annex;
use seal_auditor::gate::PanelName;
use seal_protocol::{AuditPurpose, Decision};

fn change(run: &Run, from: &str, to: &str) {
    let path = run.path("auditor.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "auditor.toml no longer says {from:?}");
    std::fs::write(path, text.replacen(from, to, 1)).unwrap();
}

/// A run of two contexts with four edits each, repeated as the table says.
fn repeated(table: &str) -> Run {
    let run = Run::small(&["--contexts", "2", "--proposals", "4", "--held-out", "1"]);
    change(&run, "\n[gate.edit]\n", &format!("\n[gate.repeats]\n{table}\n[gate.edit]\n"));
    run
}

/// The groups of the round, as the auditor noted them.
fn groups(run: &Run) -> Vec<Annex> {
    let annexes = common::files_below(&run.path("auditor/state/annexes")).into_iter();
    let annexes =
        annexes.map(|file| serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap());
    annexes
        .filter(|annex: &Annex| annex.purpose == AuditPurpose::Edit && annex.stage == "round-1")
        .collect()
}

fn verified(run: &Run) {
    let output = run.seal(&["verify", "--all"]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn the_edits_that_could_win_run_again_and_whoever_reads_the_ledger_can_tell_why() {
    let run = repeated("runs = 3\n");
    run.complete();
    verified(&run);
    let groups = groups(&run);
    assert_eq!(groups.len(), 2);
    let mut ran = 0;
    for annex in &groups {
        assert!(annex.ran_by_rule());
        let questions = |name| annex.panels.iter().filter(move |panel| panel.name == name);
        let reward: usize = questions(PanelName::TauReward).map(|panel| panel.items.len()).sum();
        for candidate in &annex.candidates {
            ran += candidate.runs.len();
            for run in &candidate.runs {
                let outcomes = run.outcomes.as_ref().expect("the miniature's edits train");
                assert_eq!(outcomes.concat().len(), reward);
            }
        }
    }
    assert!(ran >= 2, "{ran} further runs in two groups");
    let winner = groups.iter().flat_map(|annex| &annex.candidates);
    let winner = winner.max_by_key(|candidate| candidate.runs.len()).unwrap();
    let why = run.seal(&["why", &winner.edit_digests[0].to_string()]);
    assert!(stdout(&why).contains("again under seeds of the auditor's:"), "{}", stdout(&why));
}

#[test]
fn by_the_authors_rule_every_edit_has_three_runs_though_nothing_is_recomputed() {
    let run = repeated("runs = 3\nnext = \"all\"\n");
    change(&run, "selection = \"strict\"", "selection = \"paper\"");
    change(&run, "recompute = \"always\"", "recompute = \"never\"");
    run.complete();
    verified(&run);
    let groups = groups(&run);
    assert_eq!(groups.len(), 2);
    for annex in groups {
        let seeds: Vec<Vec<u64>> = annex
            .candidates
            .iter()
            .map(|candidate| candidate.runs.iter().map(|run| run.seed).collect())
            .collect();
        assert!(seeds.iter().all(|seeds| seeds.len() == 2 && *seeds == seeds_of_first(&annex)));
        let accepted =
            annex.candidates.iter().filter(|one| one.ruling.decision == Decision::Accept);
        assert_eq!(accepted.count(), 1);
    }
}

fn seeds_of_first(annex: &Annex) -> Vec<u64> {
    annex.candidates[0].runs.iter().map(|run| run.seed).collect()
}

#[test]
fn a_config_that_cannot_train_again_or_asks_for_a_run_too_many_is_refused_with_the_mend() {
    let refused = |run: &Run| {
        let output =
            common::seal(&["auditor", "--config", run.path("auditor.toml").to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
        stderr(&output)
    };
    let run = repeated("runs = 17\n");
    assert!(
        refused(&run).contains("repeats.runs = 17: must lie from 2 to 16"),
        "{}",
        refused(&run)
    );
    let run = repeated("runs = 2\n");
    change(&run, "recompute = \"always\"", "recompute = \"never\"");
    change(&run, "[recomputation]\n", "");
    change(&run, "update_tables = \"student.toml\"\n", "");
    let said = refused(&run);
    assert!(said.contains("[gate.repeats]") && said.contains("update_tables"), "{said}");
}
