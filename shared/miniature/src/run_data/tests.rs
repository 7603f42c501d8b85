use super::files::json_lines;
use super::*;
use crate::edits::{DEMONSTRATION_NOISE, PLANS, demonstrate};
use crate::vocabulary::Vocabulary;
use std::collections::HashSet;

fn data() -> RunData {
    RunData::draw(7, RunCounts::default()).unwrap()
}

fn line(item: &Item) -> String {
    format!("q {} a {}", item.question, item.answer)
}

/// Both splits of τ over all contexts.
fn tau_lines(data: &RunData) -> HashSet<String> {
    let records = data.tau_records();
    let items = records.iter().flat_map(|record| record.reward.iter().chain(&record.confirmation));
    items.map(line).collect()
}

fn demonstrations(data: &RunData) -> Vec<String> {
    let mut dice = Dice::new("demonstrations", 1);
    let mut lines = Vec::new();
    for (_, passage) in &data.contexts {
        for plan in PLANS {
            lines.extend(demonstrate(&mut dice, passage, plan, 12, DEMONSTRATION_NOISE).lines);
        }
    }
    lines
}

#[test]
fn a_seed_fixes_every_byte() {
    let bytes = |seed| {
        let data = RunData::draw(seed, RunCounts::default()).unwrap();
        let items = json_lines(&data.retention).unwrap() + &json_lines(&data.refusals).unwrap();
        let tau = json_lines(&data.tau_records()).unwrap();
        json_lines(&data.context_records()).unwrap() + &tau + &items + &data.replay_world.concat()
    };
    assert_eq!(bytes(7), bytes(7));
    assert_ne!(bytes(7), bytes(8));
}

#[test]
fn no_question_of_tau_occurs_in_replay_or_in_a_demonstration() {
    let data = data();
    let tau = tau_lines(&data);
    let questions: HashSet<String> = tau.iter().map(|line| question_of(line)).collect();
    let replayed = data.replay_world.iter().chain(&data.replay_refusals).cloned();
    for line in replayed.chain(demonstrations(&data)) {
        assert!(!questions.contains(&question_of(&line)), "τ is trained on: {line}");
    }
}

fn question_of(line: &str) -> String {
    line.split(" ? ").next().unwrap_or_default().to_owned()
}

#[test]
fn the_two_splits_ask_the_same_facts_and_share_no_question() {
    for record in data().tau_records() {
        let asked = |items: &[Item]| -> HashSet<String> {
            items.iter().map(|item| item.question.clone()).collect()
        };
        assert!(asked(&record.reward).is_disjoint(&asked(&record.confirmation)));
        let answers = |items: &[Item]| -> Vec<String> {
            items.iter().map(|item| item.answer.clone()).collect()
        };
        assert_eq!(answers(&record.reward), answers(&record.confirmation));
        assert!((8..=9).contains(&record.reward.len()));
        assert!(record.protected.len() >= 4);
    }
}

#[test]
fn suites_and_replay_have_the_sizes_asked_for_and_nothing_twice() {
    let data = data();
    assert_eq!((data.contexts.len(), data.retention.len(), data.refusals.len()), (185, 72, 48));
    assert_eq!((data.replay_world.len(), data.replay_refusals.len()), (480, 120));
    let ids: HashSet<_> =
        data.retention.iter().chain(&data.refusals).map(|item| &item.id).collect();
    assert_eq!(ids.len(), 72 + 48);
    let names: HashSet<_> =
        data.contexts.iter().map(|(_, passage)| &passage.profile.name).collect();
    assert_eq!(names.len(), data.contexts.len());
}

#[test]
fn every_word_of_a_run_is_in_the_vocabulary() {
    let data = data();
    let vocabulary = Vocabulary::new();
    let passages = data.contexts.iter().map(|(_, passage)| passage.text.clone());
    let probes = data.tau_records().into_iter().flat_map(|record| record.protected);
    let suites = data.retention.iter().chain(&data.refusals).map(line);
    let texts =
        passages.chain(probes.map(|item| line(&item))).chain(suites).chain(tau_lines(&data));
    let lines = data.replay_world.iter().chain(&data.replay_refusals).cloned();
    for text in texts.chain(lines).chain(demonstrations(&data)) {
        vocabulary.encode(&text).unwrap();
    }
}

#[test]
fn lines_and_passages_keep_their_token_bounds() {
    let data = data();
    for line in
        data.replay_world.iter().cloned().chain(demonstrations(&data)).chain(tau_lines(&data))
    {
        assert!(line.split(' ').count() <= 17, "{line}");
    }
    for (id, passage) in &data.contexts {
        let most = if id.starts_with("poisoned") { 100 } else { 55 };
        assert!(passage.text.split(' ').count() <= most, "{id}: {}", passage.text);
    }
}

#[test]
fn more_contexts_than_names_are_refused_with_the_number_there_is() {
    let counts = RunCounts { train: 600, ..RunCounts::default() };
    let error = RunData::draw(7, counts).unwrap_err();
    assert!(error.to_string().contains("600"), "{error}");
}

#[test]
fn the_files_of_a_layout_hold_one_record_per_line() {
    let dir = tempfile::tempdir().unwrap();
    let layout = RunLayout::under(dir.path());
    write_run_data(&layout, 7, RunCounts::default()).unwrap();
    let contexts = std::fs::read_to_string(&layout.contexts).unwrap();
    let first: ContextRecord = serde_json::from_str(contexts.lines().next().unwrap()).unwrap();
    assert_eq!(first.id, "train-000");
    let tau = std::fs::read_to_string(&layout.tau).unwrap();
    let first_tau: TauRecord = serde_json::from_str(tau.lines().next().unwrap()).unwrap();
    assert_eq!(first_tau.context_digest, hex::encode(Sha256::digest(first.text.as_bytes())));
    let replay = std::fs::read_to_string(layout.replay[1].join("refusals.jsonl")).unwrap();
    assert_eq!(replay.lines().count(), 120);
}
