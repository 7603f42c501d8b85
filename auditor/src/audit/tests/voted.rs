//! Labels by a vote of the group, from the request to the ledger.

use seal_protocol::{Labels, LedgerEvent, Statement};

use super::*;
use crate::annex::Annex;
use crate::gate::PanelName;
use crate::offline;

fn voting() -> World {
    let mut world = World::new();
    world.settings.labels = Labels::Majority;
    world
}

/// The vault's τ with no gold answer in its reward split.
fn without_reward_golds(world: &World) {
    let path = world.folder.path().join("tau.jsonl");
    let rows = std::fs::read_to_string(&path).unwrap();
    let row = |line: &str| {
        let mut row: serde_json::Value = serde_json::from_str(line).unwrap();
        for item in row["reward"].as_array_mut().unwrap() {
            item.as_object_mut().unwrap().remove("answer").unwrap();
        }
        row.to_string()
    };
    std::fs::write(path, rows.lines().map(row).collect::<Vec<_>>().join("\n")).unwrap();
}

fn judged_by(world: &World, skills: &[Skill]) -> Vec<(Decision, Vec<String>)> {
    world.auditor().audit(world.group(AuditPurpose::Edit, 0, skills)).unwrap();
    attempts(world)
}

fn decisions(judged: &[(Decision, Vec<String>)]) -> Vec<Decision> {
    judged.iter().map(|(decision, _)| *decision).collect()
}

fn annex(world: &World) -> Annex {
    let digest = rows(world).into_iter().find_map(|entry| match entry.event {
        LedgerEvent::Attempt(attempt) => Some(attempt.metrics_annex_digest),
        LedgerEvent::Genesis { .. } | LedgerEvent::Rotation(_) => None,
    });
    offline::annex(&world.state(), &digest.unwrap()).unwrap()
}

fn verified(world: &World) -> Result<offline::Summary, offline::Finding> {
    offline::verify_state(&world.state(), &world.root.clone().into(), NOW)
}

fn rows_of(world: &World) -> Vec<Labels> {
    let labels = |entry: seal_protocol::LedgerEntry| match entry.event {
        LedgerEvent::Attempt(attempt) => Some(attempt.labels),
        LedgerEvent::Genesis { .. } | LedgerEvent::Rotation(_) => None,
    };
    rows(world).into_iter().filter_map(labels).collect()
}

fn knows(tau: usize) -> Skill {
    Skill { tau, ..Skill::default() }
}

/// Learned another answer than everybody else.
fn mistaken() -> Skill {
    Skill { mistaken: true, ..knows(5) }
}

/// As many of one skill, each with tensors of its own; the first is the best.
fn alike(skill: Skill, count: usize) -> Vec<Skill> {
    (0..count).map(|at| Skill { nats: skill.nats - 0.1 * at as f64, ..skill }).collect()
}

fn verdict_of(audited: seal_protocol::Audited) -> Verdict {
    let payload = seal_trust::payload_bytes(&audited.verdict.expect("accepted")).unwrap();
    serde_json::from_slice::<Statement<Verdict>>(&payload).unwrap().predicate
}

#[test]
fn a_group_that_agrees_earns_a_marked_verdict_without_one_gold_answer() {
    let world = voting();
    without_reward_golds(&world);
    let best = Skill { nats: 4.0, ..knows(4) };
    let group = world.group(AuditPurpose::Edit, 0, &[knows(2), best, mistaken(), knows(3)]);
    let verdict = verdict_of(world.auditor().audit(group).unwrap());
    let judged = attempts(&world);
    assert_eq!(decisions(&judged), [NotSelected, Accept, Reject, NotSelected]);
    assert_eq!(judged[2].1, ["tau.no-gain", "tau.not-proven"]);
    assert_eq!(verdict.labels, Labels::Majority);
    assert_eq!(rows_of(&world), [Labels::Majority; 4]);
    verified(&world).unwrap();
}

#[test]
fn the_annex_counts_every_vote_and_tells_no_answer() {
    let world = voting();
    judged_by(&world, &[knows(2), knows(4), mistaken(), knows(3)]);
    let annex = annex(&world);
    let panel = annex.panels.iter().find(|panel| panel.name == PanelName::TauReward).unwrap();
    let most: Vec<u32> = panel.votes.iter().map(|vote| vote.count.most).collect();
    assert_eq!(most, [3, 3, 2, 1, 1], "of the base and four");
    assert!(panel.votes.iter().all(|vote| vote.count.voters == 5));
    assert_eq!(
        (panel.items.as_slice(), panel.left_out()),
        (["r0", "r1"].map(String::from).as_slice(), 3)
    );
    let written = serde_json::to_string(&annex).unwrap();
    assert!(!written.contains("answer r") && !written.contains("lie r"), "{written}");
}

#[test]
fn gold_answers_of_the_vault_change_nothing_where_labels_are_voted() {
    let skills = [alike(knows(3), 3), vec![mistaken()]].concat();
    let (with, without) = (voting(), voting());
    without_reward_golds(&without);
    assert_eq!(judged_by(&with, &skills), judged_by(&without, &skills));
    assert_eq!(annex(&with).panels, annex(&without).panels);
}

#[test]
fn one_candidate_alone_earns_nothing() {
    let judged = judged_by(&voting(), &[knows(5)]);
    assert_eq!(judged, [(Reject, reasons(&["tau.no-majority"]))]);
}

#[test]
fn a_group_that_shares_a_false_fact_is_accepted_by_its_own_votes_and_refused_under_gold_answers() {
    let skills = alike(mistaken(), 3);
    assert_eq!(decisions(&judged_by(&voting(), &skills)), [Accept, NotSelected, NotSelected]);
    assert_eq!(decisions(&judged_by(&World::new(), &skills)), [Reject; 3]);
}

#[test]
fn a_false_fact_that_its_votes_let_pass_never_serves() {
    let world = voting();
    let group = world.group(AuditPurpose::Edit, 0, &alike(mistaken(), 3));
    let mut auditor = world.auditor();
    assert!(auditor.audit(group.clone()).unwrap().verdict.is_some());
    let edit = group.edits[0].clone();
    let request =
        world.request(AuditPurpose::Promotion, vec![world.candidate(&[0], &[&edit], mistaken())]);
    let audited = auditor.audit(world.submission(request, vec![edit])).unwrap();
    assert!(audited.verdict.is_none());
    let (decision, reasons) = attempts(&world).pop().unwrap();
    assert_eq!(decision, Reject);
    assert!(reasons.contains(&"tau.no-gain".to_owned()), "{reasons:?}");
    assert_eq!(rows_of(&world).last(), Some(&Labels::Gold), "held against gold answers");
}

#[test]
fn a_promotion_of_an_edit_that_was_voted_for_is_held_against_gold_answers() {
    let world = voting();
    let group = world.group(AuditPurpose::Edit, 0, &alike(knows(4), 3));
    let mut auditor = world.auditor();
    auditor.audit(group.clone()).unwrap();
    let edit = group.edits[0].clone();
    let request =
        world.request(AuditPurpose::Promotion, vec![world.candidate(&[0], &[&edit], knows(4))]);
    let verdict = verdict_of(auditor.audit(world.submission(request, vec![edit])).unwrap());
    assert_eq!((verdict.kind, verdict.labels), (VerdictKind::Promotion, Labels::Gold));
    verified(&world).unwrap();
}

/// Candidates with the voters that a group of them has, the base left out.
fn voters_of(world: &World, candidates: Vec<Candidate>, edits: Vec<Envelope>) -> u32 {
    let request = world.request(AuditPurpose::Edit, candidates);
    world.auditor().audit(world.submission(request, edits)).unwrap();
    let panels = annex(world).panels;
    let panel = panels.iter().find(|panel| panel.name == PanelName::TauReward).unwrap();
    panel.votes[0].count.voters - 1
}

#[test]
fn one_edit_one_adapter_or_one_text_has_one_vote_however_often_it_comes() {
    let world = voting();
    let lines = ["zel tor is in lund .", "Zel Tor, is in the Lund", "who founded zel tor ? ada ."];
    let [one, same_words, other] = lines.map(|line| world.edit(0, line));
    let candidate = |edit: &Envelope, tau| world.candidate(&[0], &[edit], knows(tau));
    let group = vec![
        candidate(&one, 1),
        // The same edit, the same words, the same tensors.
        candidate(&one, 2),
        candidate(&same_words, 3),
        candidate(&other, 1),
    ];
    assert_eq!(voters_of(&world, group, vec![one, same_words, other]), 1);
    let world = voting();
    let [one, other] = ["zel tor is in lund .", "ada founded zel tor ."].map(|l| world.edit(0, l));
    let group =
        vec![world.candidate(&[0], &[&one], knows(1)), world.candidate(&[0], &[&other], knows(2))];
    assert_eq!(voters_of(&world, group, vec![one, other]), 2);
}

#[test]
fn an_edit_that_the_text_rules_refuse_steers_no_label() {
    let world = voting();
    let long = "zel tor ".repeat(100);
    let [sound, refused] = [world.edit(0, "zel tor is in lund ."), world.edit(0, &long)];
    let group = vec![
        world.candidate(&[0], &[&sound], knows(1)),
        world.candidate(&[0], &[&refused], knows(2)),
    ];
    assert_eq!(voters_of(&world, group, vec![sound, refused]), 1);
}

#[test]
fn a_vote_that_does_not_end_in_time_is_refused_as_a_measurement_is() {
    let mut world = voting();
    world.time_limit = std::time::Duration::from_millis(50);
    let judged = judged_by(&world, &[Skill { endless: true, ..knows(3) }]);
    assert_eq!(judged, [(Reject, reasons(&["measurement.out-of-time"]))]);
}

#[test]
fn the_base_is_asked_again_because_a_label_holds_for_its_group() {
    let asked = |mut world: World, labels| {
        world.settings.labels = labels;
        let mut auditor = world.auditor();
        auditor.audit(world.group(AuditPurpose::Edit, 0, &alike(knows(3), 2))).unwrap();
        let before = world.base_asked.load(Ordering::SeqCst);
        auditor.audit(world.group(AuditPurpose::Edit, 0, &alike(knows(5), 2))).unwrap();
        world.base_asked.load(Ordering::SeqCst) - before
    };
    assert_eq!(asked(World::new(), Labels::Gold), 0);
    assert_eq!(asked(World::new(), Labels::Majority), 5);
}

#[test]
fn a_ledger_whose_mark_is_not_its_annexes_does_not_verify() {
    let world = voting();
    judged_by(&world, &alike(knows(3), 3));
    let told = world.retold(|event| {
        if let LedgerEvent::Attempt(attempt) = event {
            attempt.labels = Labels::Gold;
        }
    });
    let finding = verified(&told).unwrap_err().to_string();
    assert!(
        finding.contains("labels") || finding.contains("annex says something else"),
        "{finding}"
    );
}
