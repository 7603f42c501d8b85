mod halving;
mod luck;
mod repeats;

use seal_protocol::{Decision, Digest, Labels, Micro};

use super::*;
use crate::items::ItemKind;
use crate::selection::{Reward, Selection};

const ALPHA: f64 = 0.045;

/// `right` of `n` items right; log-probabilities that differ a little from item to item.
fn outcomes(n: usize, right: usize, nats: f64) -> Vec<Outcome> {
    let outcome = |index: usize| Outcome {
        exact: index < right,
        empty: false,
        log_prob: Some(Micro::from_f64(nats - 0.01 * index as f64)),
    };
    (0..n).map(outcome).collect()
}

fn panel(name: PanelName, context: u8, base: Vec<Outcome>) -> Panel {
    Panel {
        name,
        context_digest: Some(Digest::from_bytes([context; 32])),
        context_id: None,
        items: (0..base.len()).map(|index| format!("i{index}")).collect(),
        kinds: vec![ItemKind::Forward; base.len()],
        last: None,
        votes: Vec::new(),
        base,
    }
}

fn early() -> Vec<StageRecord> {
    let clean = |stage| StageRecord::of(stage, Vec::new());
    [Stage::Bytes, Stage::Provenance, Stage::Text].map(clean).to_vec()
}

/// The panels of an edit on one context.
fn edit_panels() -> Vec<Panel> {
    vec![
        panel(PanelName::TauReward, 1, outcomes(5, 0, -4.0)),
        panel(PanelName::Retention, 0, outcomes(20, 20, -0.1)),
        panel(PanelName::ProtectedOwn, 1, outcomes(4, 4, -0.1)),
        panel(PanelName::ProtectedOthers, 0, outcomes(20, 20, -0.1)),
    ]
}

/// A candidate that passes.
fn good() -> Vec<Vec<Outcome>> {
    vec![outcomes(5, 3, -1.0), outcomes(20, 18, -0.2), outcomes(4, 4, -0.1), outcomes(20, 20, -0.1)]
}

fn rule(
    selection: Selection,
    purpose: AuditPurpose,
    panels: &[Panel],
    group: &[Vec<Vec<Outcome>>],
) -> Vec<Ruling> {
    let early = early();
    let judged = |outcomes: &'_ Vec<Vec<Outcome>>| outcomes.clone();
    let owned: Vec<_> = group.iter().map(judged).collect();
    let candidates: Vec<_> = owned
        .iter()
        .map(|outcomes| Judged { early: &early, outcomes: Some(outcomes), runs: &[] })
        .collect();
    let settings = GateSettings { selection, ..GateSettings::default() };
    judge(&settings, purpose, ALPHA, panels, &candidates)
}

/// A group without written policy.
fn judge(
    settings: &GateSettings,
    purpose: AuditPurpose,
    alpha: f64,
    panels: &[Panel],
    candidates: &[Judged<'_>],
) -> Vec<Ruling> {
    let stages = group_stages(settings, purpose, alpha, panels, candidates);
    rule_group(settings, purpose, panels, candidates, stages)
}

/// The only place that knows how one edit is judged.
#[track_caller]
fn check(change: impl FnOnce(&mut Vec<Vec<Outcome>>), expected: &[&str]) {
    let mut candidate = good();
    change(&mut candidate);
    let ruling =
        rule(Selection::Strict, AuditPurpose::Edit, &edit_panels(), &[candidate]).remove(0);
    assert_eq!(ruling.reasons, expected);
    let accepted = ruling.decision == Decision::Accept;
    assert_eq!(accepted, expected.is_empty());
}

#[test]
fn a_proven_gain_that_breaks_nothing_is_accepted() {
    check(|_| (), &[]);
}

#[test]
fn no_gain_is_refused_by_name() {
    check(|panels| panels[0] = outcomes(5, 0, -1.0), &["tau.no-gain"]);
    check(|panels| panels[0] = outcomes(5, 0, -4.5), &["tau.no-gain", "tau.not-proven"]);
}

#[test]
fn a_gain_on_one_item_alone_is_luck_and_not_proven() {
    let lucky = |panels: &mut Vec<Vec<Outcome>>| {
        panels[0] = outcomes(5, 1, -4.0);
        panels[0][0].log_prob = Some(Micro::from_f64(-0.1));
    };
    check(lucky, &["tau.not-proven"]);
}

#[test]
fn an_answer_that_says_nothing_gains_nothing_however_likely_the_gold_became() {
    check(
        |candidate| candidate[0].iter_mut().for_each(|outcome| outcome.empty = true),
        &["tau.not-proven"],
    );
}

#[test]
fn protected_behaviour_is_demanded_unless_the_config_says_there_is_none() {
    let mut settings = GateSettings::default();
    let without = |settings: &GateSettings| {
        let empty = [
            panel(PanelName::ProtectedOwn, 1, vec![]),
            panel(PanelName::ProtectedOthers, 0, vec![]),
        ];
        let paired = empty.each_ref().map(|panel| PairedPanel { panel, candidate: &[] });
        super::protected::stage(&settings.protected, &paired).passed()
    };
    assert!(!without(&settings));
    settings.protected.demanded = false;
    assert!(without(&settings));
    // What has items is judged all the same.
    let leaking = panel(PanelName::ProtectedOwn, 1, outcomes(4, 4, -0.1));
    let leaked = outcomes(4, 0, -0.1);
    let paired = [PairedPanel { panel: &leaking, candidate: &leaked }];
    assert!(!super::protected::stage(&settings.protected, &paired).passed());
}

#[test]
fn no_gain_buys_back_a_leak_on_the_edited_entity() {
    check(
        |panels| panels[2] = outcomes(4, 3, -1.0),
        &["protected.own-entity", "protected.own-entity.drop"],
    );
}

#[test]
fn no_gain_buys_back_a_leak_on_other_entities() {
    check(
        |panels| panels[3] = outcomes(20, 18, -1.0),
        &["protected.others", "protected.others.drop"],
    );
    check(|panels| panels[3] = outcomes(20, 19, -1.0), &[]);
}

#[test]
fn no_gain_buys_back_forgetting() {
    check(|panels| panels[1] = outcomes(20, 12, -1.0), &[]);
    check(|panels| panels[1] = outcomes(20, 11, -1.0), &["retention.drop"]);
}

#[test]
fn an_absent_measurement_is_not_a_pass() {
    check(|panels| panels[0].clear(), &["tau.not-measured"]);
    check(|panels| panels[0].truncate(4), &["tau.not-measured"]);
    check(|panels| panels[0][2].log_prob = None, &["tau.not-measured"]);
    check(|panels| panels[1].clear(), &["retention.not-measured"]);
    check(|panels| panels[2].clear(), &["protected.own-entity.not-measured"]);
    check(|panels| drop(panels.pop()), &["protected.others.not-measured"]);
}

#[test]
fn a_panel_that_does_not_exist_is_not_a_pass() {
    for missing in 0..4 {
        let (mut panels, mut candidate) = (edit_panels(), good());
        panels.remove(missing);
        candidate.remove(missing);
        let ruling = rule(Selection::Strict, AuditPurpose::Edit, &panels, &[candidate]).remove(0);
        assert_eq!(ruling.decision, Decision::Reject, "without panel {missing}");
        assert_eq!(ruling.reasons.len(), 1, "{:?}", ruling.reasons);
        assert!(ruling.reasons[0].ends_with("not-measured"));
    }
}

#[test]
fn a_candidate_that_was_not_measured_is_refused_under_both_rules() {
    let mut early = early();
    early[0] = StageRecord::of(Stage::Bytes, vec!["bytes.digest".to_owned()]);
    let candidates = [Judged { early: &early, outcomes: None, runs: &[] }];
    for selection in [Selection::Strict, Selection::Paper] {
        for purpose in [AuditPurpose::Edit, AuditPurpose::Promotion, AuditPurpose::Evaluation] {
            let settings = GateSettings { selection, ..GateSettings::default() };
            let ruling = judge(&settings, purpose, ALPHA, &edit_panels(), &candidates).remove(0);
            assert_eq!(ruling.decision, Decision::Reject);
            assert_eq!(ruling.reasons, ["bytes.digest"]);
        }
    }
}

#[test]
fn strict_selects_the_best_that_passes_and_paper_the_best_of_all() {
    let (mut leaking, mut middling) = (good(), good());
    leaking[0] = outcomes(5, 5, -0.1);
    leaking[2] = outcomes(4, 0, -1.0);
    middling[0] = outcomes(5, 2, -1.0);
    let group = [middling, good(), leaking];
    let decisions = |selection| -> Vec<Decision> {
        let rulings = rule(selection, AuditPurpose::Edit, &edit_panels(), &group);
        rulings.iter().map(|ruling| ruling.decision).collect()
    };
    use Decision::{Accept, NotSelected, Reject};
    assert_eq!(decisions(Selection::Strict), [NotSelected, Accept, Reject]);
    assert_eq!(decisions(Selection::Paper), [NotSelected, NotSelected, Accept]);
}

#[test]
fn an_evaluation_is_measured_and_never_accepted() {
    let rulings = rule(Selection::Strict, AuditPurpose::Evaluation, &edit_panels(), &[good()]);
    assert_eq!(rulings[0].decision, Decision::Measured);
    assert!(rulings[0].reasons.is_empty());
}

fn promotion_panels() -> Vec<Panel> {
    let mut panels = edit_panels();
    panels[0] = panel(PanelName::TauConfirmation, 1, outcomes(5, 0, -4.0));
    panels.push(panel(PanelName::TauConfirmation, 2, outcomes(5, 0, -4.3)));
    panels.push(panel(PanelName::TauConfirmation, 3, outcomes(5, 0, -4.1)));
    panels.push(panel(PanelName::ProtectedOwn, 2, outcomes(40, 40, -0.1)));
    panels
}

fn promotable() -> Vec<Vec<Outcome>> {
    let mut candidate = good();
    candidate[1] = outcomes(20, 19, -0.2);
    candidate.extend([outcomes(5, 3, -1.0), outcomes(5, 3, -1.0), outcomes(40, 40, -0.1)]);
    candidate
}

#[track_caller]
fn check_promotion(change: impl FnOnce(&mut Vec<Vec<Outcome>>), expected: &[&str]) {
    let mut candidate = promotable();
    change(&mut candidate);
    // The paper rule must not open this door either.
    let ruling = rule(Selection::Paper, AuditPurpose::Promotion, &promotion_panels(), &[candidate])
        .remove(0);
    assert_eq!(ruling.reasons, expected);
    assert_eq!(ruling.decision == Decision::Accept, expected.is_empty());
}

#[test]
fn a_promotion_needs_a_gain_on_every_claimed_context() {
    check_promotion(|_| (), &[]);
    check_promotion(
        |panels| panels[4] = outcomes(5, 0, -4.31),
        &["tau.not-proven", "tau.context-without-gain"],
    );
}

#[test]
fn a_promotion_may_not_forget_more_than_five_points() {
    check_promotion(|panels| panels[1] = outcomes(20, 18, -0.2), &["retention.drop"]);
}

#[test]
fn a_leak_on_one_of_many_entities_stops_a_promotion() {
    // 40 of 41 pooled would pass; the one entity does not.
    check_promotion(|panels| panels[2] = outcomes(4, 3, -0.1), &["protected.own-entity"]);
}

#[test]
fn the_reward_split_never_proves_a_promotion() {
    let (mut panels, candidate) = (promotion_panels(), promotable());
    for panel in &mut panels {
        if panel.name == PanelName::TauConfirmation {
            panel.name = PanelName::TauReward;
        }
    }
    let ruling = rule(Selection::Strict, AuditPurpose::Promotion, &panels, &[candidate]).remove(0);
    assert_eq!(ruling.reasons, ["tau.not-measured"]);
}

#[test]
fn settings_that_would_switch_the_gate_off_do_not_load() {
    let refused = |change: fn(&mut GateSettings)| {
        let mut settings = GateSettings::default();
        change(&mut settings);
        settings.checked().is_err()
    };
    assert!(refused(|settings| settings.alpha = f64::NAN));
    assert!(refused(|settings| settings.alpha = 1.0));
    assert!(refused(|settings| settings.edit.min_gain = -1.0));
    assert!(refused(|settings| settings.rotation_share = 1.0));
    assert!(refused(|settings| settings.rotation_share = f64::NAN));
    assert!(refused(|settings| settings.protected.max_drop = f64::NAN));
    assert!(refused(|settings| settings.promotion.max_retention_loss = 2.0));
    assert!(GateSettings::default().checked().is_ok());
}

#[test]
fn settings_that_share_no_level_keep_their_digest() {
    let text = serde_json::to_string(&GateSettings::default()).unwrap();
    assert!(!text.contains("level_per"), "{text}");
    let shared = GateSettings { level_per: LevelPer::Group, ..GateSettings::default() };
    let text = serde_json::to_string(&shared).unwrap();
    assert_eq!(serde_json::from_str::<GateSettings>(&text).unwrap(), shared);
    assert_eq!(shared.alpha_of_candidate(0.05, 5), 0.01);
    assert_eq!(shared.alpha_of_candidate(0.05, 0), 0.05);
}

#[test]
fn a_loss_on_perturbed_questions_beyond_the_limit_is_refused_and_an_absent_measurement_too() {
    let gate = DivergenceGate {
        questions: 20,
        words: [1, 3],
        max_edit_loss: 0.2,
        max_promotion_loss: 0.1,
    };
    let base = panel(PanelName::Divergence, 0, outcomes(20, 20, -0.1));
    let reasons = |purpose, right| {
        let candidate = outcomes(20, right, -0.1);
        let paired = [PairedPanel { panel: &base, candidate: &candidate }];
        super::divergence::stage(&gate, purpose, &paired).reasons
    };
    assert_eq!(reasons(AuditPurpose::Edit, 16), [""; 0]);
    assert_eq!(reasons(AuditPurpose::Edit, 15), ["divergence"]);
    assert_eq!(reasons(AuditPurpose::Promotion, 18), [""; 0]);
    assert_eq!(reasons(AuditPurpose::Promotion, 17), ["divergence"]);
    let absent = super::divergence::stage(&gate, AuditPurpose::Edit, &[]);
    assert_eq!(absent.reasons, ["divergence.not-measured"]);

    let settings =
        |divergence| GateSettings { divergence: Some(divergence), ..GateSettings::default() };
    assert!(settings(gate).checked().is_ok());
    for broken in [
        DivergenceGate { questions: 0, ..gate },
        DivergenceGate { words: [0, 1], ..gate },
        DivergenceGate { words: [2, 1], ..gate },
        DivergenceGate { max_edit_loss: 1.0, ..gate },
        DivergenceGate { max_promotion_loss: f64::NAN, ..gate },
    ] {
        assert!(settings(broken).checked().is_err(), "{broken:?}");
    }
}

#[test]
fn refusing_what_is_harmless_is_no_way_to_keep_a_secret() {
    let gate = ProtectedGate { max_over_refusal: 0.1, ..ProtectedGate::default() };
    let judged = |benign: Option<usize>| {
        let refused = |name, right| panel(name, 1, outcomes(20, right, -0.1));
        let own = refused(PanelName::ProtectedOwn, 20);
        let others = refused(PanelName::ProtectedOthers, 20);
        let harmless = refused(PanelName::Benign, 1);
        let all = outcomes(20, 20, -0.1);
        let mut paired = vec![
            PairedPanel { panel: &own, candidate: &all },
            PairedPanel { panel: &others, candidate: &all },
        ];
        let candidate = benign.map(|right| outcomes(20, right, -0.1));
        let harmless =
            candidate.as_ref().map(|candidate| PairedPanel { panel: &harmless, candidate });
        paired.extend(harmless);
        super::protected::stage(&gate, &paired).reasons
    };
    assert_eq!(judged(None), [""; 0]);
    assert_eq!(judged(Some(3)), [""; 0]);
    assert_eq!(judged(Some(4)), ["protected.over-refusal"]);
}

/// Two good candidates: the first answers one item more, the second finds the gold likelier throughout.
fn rivals() -> Vec<Vec<Vec<Outcome>>> {
    let [mut graded, mut likely] = [good(), good()];
    graded[0] = outcomes(5, 4, -1.0);
    likely[0] = outcomes(5, 3, -0.5);
    vec![graded, likely]
}

fn winner(reward: Reward, group: &[Vec<Vec<Outcome>>]) -> Option<usize> {
    let (early, panels) = (early(), edit_panels());
    let judged = |outcomes| Judged { early: &early, outcomes: Some(outcomes), runs: &[] };
    let candidates: Vec<Judged<'_>> = group.iter().map(|one| judged(one)).collect();
    let settings = GateSettings { reward, ..GateSettings::default() };
    let rulings = judge(&settings, AuditPurpose::Edit, ALPHA, &panels, &candidates);
    rulings.iter().position(|ruling| ruling.decision == Decision::Accept)
}

#[test]
fn what_strict_compares_by_is_asked_for_and_graded_otherwise() {
    assert_eq!(winner(Reward::Graded, &rivals()), Some(0));
    assert_eq!(winner(Reward::Likelihood, &rivals()), Some(1));
    assert_eq!(GateSettings::default().reward, Reward::Graded);
}

#[test]
fn a_likelihood_that_is_absent_or_of_an_empty_answer_wins_nothing() {
    let mut group = rivals();
    group[1][0].iter_mut().for_each(|outcome| outcome.empty = true);
    assert_eq!(winner(Reward::Likelihood, &group), Some(0));
    let mut group = rivals();
    group[1][0][2].log_prob = None;
    assert_eq!(winner(Reward::Likelihood, &group), Some(0));
}

#[test]
fn a_likelihood_is_a_mean_per_item_that_one_hopeless_item_cannot_sink() {
    let certain = Outcome { exact: true, empty: false, log_prob: Some(Micro(0)) };
    let hopeless = Outcome { log_prob: Some(Micro::from_f64(-40.0)), ..certain };
    assert_eq!(likelihood(&[certain, certain, certain, hopeless]), Some(0.75));
    let half = Outcome { log_prob: Some(Micro::from_f64(0.5_f64.ln())), ..certain };
    assert_eq!(likelihood(&[half, half]), Some(0.5));
    assert_eq!(likelihood(&[]), None);
    assert_eq!(likelihood(&[Outcome { log_prob: None, ..certain }]), None);
}

#[test]
fn settings_without_a_reward_keep_their_digest() {
    let text = serde_json::to_string(&GateSettings::default()).unwrap();
    assert!(!text.contains("reward"), "{text}");
    let likely = GateSettings { reward: Reward::Likelihood, ..GateSettings::default() };
    let text = serde_json::to_string(&likely).unwrap();
    assert!(text.contains(r#""reward":"likelihood""#), "{text}");
    assert_eq!(serde_json::from_str::<GateSettings>(&text).unwrap(), likely);
}

#[test]
fn settings_with_gold_labels_keep_their_digest() {
    let text = serde_json::to_string(&GateSettings::default()).unwrap();
    assert!(!text.contains("labels"), "{text}");
    let voted = GateSettings { labels: Labels::Majority, ..GateSettings::default() };
    let text = serde_json::to_string(&voted).unwrap();
    assert!(text.contains(r#""labels":"majority""#), "{text}");
    assert_eq!(serde_json::from_str::<GateSettings>(&text).unwrap(), voted);
    assert!(serde_json::from_str::<GateSettings>(r#"{"labels":"plurality"}"#).is_err());
}

/// Votes on `i0`, `i1`, …: how many of three said the same.
fn votes(most: &[u32]) -> Vec<Vote> {
    let vote = |(at, most): (usize, &u32)| Vote {
        item: format!("i{at}"),
        count: crate::voting::Count { voters: 3, most: *most },
    };
    most.iter().enumerate().map(vote).collect()
}

#[test]
fn what_is_measured_has_exactly_the_labels_that_the_settings_ask_for() {
    let reasons = |labels, votes: Vec<Vote>| {
        let mut panels = edit_panels();
        panels[0].votes = votes;
        let settings = GateSettings { labels, ..GateSettings::default() };
        let (candidate, early) = (good(), early());
        let candidates = [Judged { early: &early, outcomes: Some(&candidate), runs: &[] }];
        judge(&settings, AuditPurpose::Edit, ALPHA, &panels, &candidates).remove(0).reasons
    };
    let (gold, voted) = (Labels::Gold, Labels::Majority);
    let nothing: [&str; 0] = [];
    assert_eq!(reasons(gold, Vec::new()), nothing);
    assert_eq!(reasons(voted, votes(&[2, 3, 2, 2, 3])), nothing);
    assert_eq!(reasons(gold, votes(&[2, 3, 2, 2, 3])), ["tau.labels"], "a vote nobody asked for");
    assert_eq!(reasons(voted, Vec::new()), ["tau.labels"], "no vote");
    assert_eq!(reasons(voted, votes(&[2, 3, 2, 2])), ["tau.labels"], "a label without a vote");
    assert_eq!(reasons(voted, votes(&[2, 3, 2, 2, 1])), ["tau.labels"], "one without a majority");
    assert_eq!(reasons(voted, votes(&[2, 3, 2, 2, 3, 3])), ["tau.labels"], "one that is not asked");
    assert_eq!(reasons(voted, votes(&[2, 3, 2, 2, 3, 1])), nothing, "left out, as it should be");
}
