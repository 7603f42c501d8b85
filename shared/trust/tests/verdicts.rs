//! A genuine verdict allows one thing, for a time, once.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use proptest::prelude::*;
use seal_protocol::{
    AdapterFile, Digest, EnforcementLevel, Labels, Role, SuiteRef, UnixSeconds, Verdict,
    VerdictKind,
};
use seal_trust::{
    Expectation, Pins, SeenVerdicts, TrustedRoot, Verified, VerifyError, check_verdict,
    check_verdict_quorum,
};

fn judge_under(root: &TrustedRoot, verdict: Verdict, expected: &Expectation<'_>) -> &'static str {
    code(check_verdict(root, &signed(verdict), expected, NOW))
}

fn judge(verdict: Verdict, expected: &Expectation<'_>) -> &'static str {
    judge_under(trusted(), verdict, expected)
}

fn code<T>(outcome: Result<T, VerifyError>) -> &'static str {
    outcome.err().map_or("ok", |error| error.code())
}

const EDIT: Expectation<'_> = Expectation::of(VerdictKind::Edit);

/// A caller that knows everything the verdict binds.
struct Known {
    edits: Vec<Digest>,
    contexts: Vec<Digest>,
    files: Vec<AdapterFile>,
    nonce: String,
}

impl Known {
    fn of(verdict: &Verdict) -> Self {
        Self {
            edits: verdict.edit_digests.clone(),
            contexts: verdict.context_digests.clone(),
            files: adapter_files(),
            nonce: verdict.nonce.clone(),
        }
    }

    fn expectation(&self) -> Expectation<'_> {
        Expectation {
            request_digest: Some(digest("request")),
            nonce: Some(&self.nonce),
            edit_digests: Some(&self.edits),
            context_digests: Some(&self.contexts),
            base_model_digest: Some(digest("base")),
            tokenizer_digest: Some(digest("tokenizer")),
            adapter_files: Some(&self.files),
            policy_digest: Some(digest("policy")),
            ..EDIT
        }
    }
}

#[test]
fn a_verdict_on_exactly_what_is_at_hand_passes() {
    assert_eq!(judge(verdict(), &Known::of(&verdict()).expectation()), "ok");
}

/// Every field that binds the verdict to something, changed by an auditor who signs it again.
#[test]
fn a_verdict_on_anything_else_is_refused_by_the_rule_it_breaks() {
    type Change = fn(&mut Verdict);
    let cases: [(Change, &str); 15] = [
        (|v| v.kind = VerdictKind::Promotion, "verdict_wrong_kind"),
        (|v| v.request_digest = digest("other"), "verdict_wrong_request"),
        (|v| v.nonce = "00".repeat(32), "verdict_wrong_nonce"),
        (|v| v.edit_digests = vec![digest("other")], "verdict_wrong_edit"),
        (|v| v.edit_digests.push(digest("more")), "verdict_wrong_edit"),
        (|v| v.edit_digests.clear(), "verdict_wrong_edit"),
        (|v| v.context_digests = vec![digest("other")], "verdict_wrong_context"),
        (|v| v.base_model_digest = digest("other"), "verdict_wrong_base"),
        (|v| v.tokenizer_digest = digest("other"), "verdict_wrong_tokenizer"),
        (|v| v.policy_digest = digest("other"), "verdict_wrong_policy"),
        (|v| v.trust_root_version = 2, "trust_root_behind"),
        (|v| v.issued_at = UnixSeconds(NOW.0 + 61), "verdict_not_yet_valid"),
        (|v| v.expires_at = NOW, "verdict_expired"),
        (|v| v.expires_at = UnixSeconds(v.issued_at.0 + 7 * 24 * HOUR + 1), "verdict_ttl_too_long"),
        (|v| v.enforcement.level = EnforcementLevel::Partial, "verdict_enforcement_too_weak"),
    ];
    let known = Known::of(&verdict());
    for (change, expected) in cases {
        let mut changed = verdict();
        change(&mut changed);
        assert_eq!(judge(changed, &known.expectation()), expected);
    }
}

#[test]
fn the_last_second_and_the_allowed_skew_still_count() {
    let edge = Verdict {
        issued_at: UnixSeconds(NOW.0 + 60),
        expires_at: UnixSeconds(NOW.0 + 60 + 7 * 24 * HOUR),
        ..verdict()
    };
    assert_eq!(judge(edge, &EDIT), "ok");
    assert_eq!(judge(Verdict { expires_at: UnixSeconds(NOW.0 + 1), ..verdict() }, &EDIT), "ok");
}

#[test]
fn other_adapter_bytes_than_the_audited_ones_are_refused_and_named() {
    let judged = |files: &[AdapterFile]| {
        let expected = Expectation { adapter_files: Some(files), ..EDIT };
        check_verdict(trusted(), &signed(verdict()), &expected, NOW)
    };
    let mut files = adapter_files();
    files.reverse();
    assert_eq!(code(judged(&files)), "ok", "the order of files says nothing");
    files[0].sha256 = digest("swapped after the audit");
    let refused = judged(&files).unwrap_err();
    assert_eq!(refused.code(), "verdict_wrong_subject");
    assert!(refused.to_string().contains("adapter_model.safetensors"), "{refused}");
    assert_eq!(code(judged(&adapter_files()[..1])), "verdict_wrong_subject");
    assert_eq!(code(judged(&[])), "verdict_wrong_subject");
    let doubled = [adapter_files(), adapter_files()].concat();
    assert_eq!(code(judged(&doubled)), "verdict_wrong_subject");
}

#[test]
fn pins_hold_where_they_are_set() {
    let pinned = |pins| opened(&root_document().with_pins(pins));
    let right = Pins {
        base_models: vec![digest("base")],
        policies: vec![digest("older policy"), digest("policy")],
        suites: vec![],
        evaluators: vec![digest("binary")],
    };
    assert_eq!(judge_under(&pinned(right.clone()), verdict(), &EDIT), "ok");
    for wrong in [
        Pins { base_models: vec![digest("x")], ..right.clone() },
        Pins { policies: vec![digest("x")], ..right.clone() },
        Pins { evaluators: vec![digest("x")], ..right },
    ] {
        assert_eq!(judge_under(&pinned(wrong), verdict(), &EDIT), "verdict_not_pinned");
    }
}

#[test]
fn a_promotion_is_decided_with_every_pinned_suite() {
    let pins = Pins { suites: vec![digest("retention"), digest("refusals")], ..Pins::default() };
    let root = opened(&root_document().with_pins(pins));
    let judged = |kind, suites: &[&str]| {
        let suites =
            suites.iter().map(|name| SuiteRef { name: (*name).into(), digest: digest(name) });
        let verdict = Verdict { kind, suites: suites.collect(), ..verdict() };
        judge_under(&root, verdict, &Expectation::of(kind))
    };
    assert_eq!(judged(VerdictKind::Promotion, &["retention", "refusals"]), "ok");
    assert_eq!(judged(VerdictKind::Promotion, &["retention"]), "verdict_missing_suite");
    assert_eq!(judged(VerdictKind::Edit, &["retention"]), "ok");
    assert_eq!(judged(VerdictKind::Edit, &["home-made"]), "verdict_not_pinned");
}

#[test]
fn votes_may_feed_a_policy_and_never_let_an_adapter_serve() {
    let judged =
        |kind, labels| judge(Verdict { kind, labels, ..verdict() }, &Expectation::of(kind));
    assert_eq!(judged(VerdictKind::Edit, Labels::Majority), "ok");
    assert_eq!(judged(VerdictKind::Promotion, Labels::Gold), "ok");
    assert_eq!(judged(VerdictKind::Promotion, Labels::Majority), "verdict_voted_promotion");
}

#[test]
fn a_mark_is_absent_or_known() {
    let plain = serde_json::to_value(verdict()).unwrap();
    assert_eq!(plain.get("labels"), None, "digests of verdicts of before stay");
    let marked = Verdict { labels: Labels::Majority, ..verdict() };
    let mut marked = serde_json::to_value(marked).unwrap();
    assert_eq!(marked["labels"], "majority");
    marked["labels"] = "plurality".into();
    assert!(serde_json::from_value::<Verdict>(marked).is_err());
}

#[test]
fn only_the_auditor_gives_verdicts() {
    let keys = keys();
    for (key, expected) in
        [(&keys.teacher, "signer_wrong_role"), (&keys.stranger, "signature_invalid")]
    {
        let forged = seal_trust::sign_statement(key, &statement(verdict())).unwrap();
        assert_eq!(code(check_verdict(trusted(), &forged, &EDIT, NOW)), expected);
    }
}

fn two_auditors() -> TrustedRoot {
    let document = root_document().with_key(Role::Auditor, &key(41).public());
    opened(&document.with_threshold(Role::Auditor, 2))
}

#[test]
fn one_of_two_auditors_is_not_enough() {
    let root = two_auditors();
    let mine = signed(verdict());
    assert_eq!(code(check_verdict(&root, &mine, &EDIT, NOW)), "quorum_not_met");
    assert_eq!(code(root.verify::<Verdict>(&mine, NOW)), "quorum_not_met");
    assert_eq!(code(check_verdict_quorum(&root, &[&mine, &mine], &EDIT, NOW)), "quorum_not_met");
    assert_eq!(code(check_verdict_quorum(&root, &[], &EDIT, NOW)), "quorum_not_met");
}

#[test]
fn two_auditors_must_mean_the_same_thing() {
    let root = two_auditors();
    let mine = signed(verdict());
    let judged = |other: Verdict| {
        let other = signed_by(&key(41), other);
        code(check_verdict_quorum(&root, &[&mine, &other], &EDIT, NOW))
    };
    let own_measurement =
        Verdict { tau_commitment: digest("other tau"), sequence: 90, ..verdict() };
    assert_eq!(judged(own_measurement), "ok");
    let other_edit = Verdict { edit_digests: vec![digest("other")], ..verdict() };
    assert_eq!(judged(other_edit), "verdict_quorum_disagrees");
    let other_base = Verdict { base_model_digest: digest("other"), ..verdict() };
    assert_eq!(judged(other_base), "verdict_quorum_disagrees");
    let voted = Verdict { labels: Labels::Majority, ..verdict() };
    assert_eq!(judged(voted), "verdict_quorum_disagrees");
}

#[test]
fn verdicts_on_several_requests_each_need_their_own_quorum() {
    let root = two_auditors();
    let answer = |request: &str, seed: u8| {
        let verdict = Verdict { request_digest: digest(request), ..verdict() };
        signed_by(&if seed == 4 { keys().auditor } else { key(seed) }, verdict)
    };
    let all = [answer("a", 4), answer("b", 41), answer("b", 4), answer("a", 41)];
    let groups = seal_trust::check_verdicts(&root, &all, &EDIT, NOW).unwrap();
    assert_eq!(groups.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
    assert_eq!(groups[0][0].statement.predicate.request_digest, digest("a"));
    assert_eq!(code(seal_trust::check_verdicts(&root, &all[..3], &EDIT, NOW)), "quorum_not_met");
    let twice = [answer("a", 4), answer("a", 4)];
    assert_eq!(code(seal_trust::check_verdicts(&root, &twice, &EDIT, NOW)), "quorum_not_met");
}

#[test]
fn one_key_under_two_ids_is_no_quorum() {
    let alias = "0".repeat(64);
    let mut document = root_document();
    let twin = document.keys[&keys().auditor.public().keyid()].clone();
    document.keys.insert(alias.clone(), twin);
    document.roles.get_mut(&Role::Auditor).unwrap().keyids.push(alias);
    assert!(document.with_threshold(Role::Auditor, 2).check().is_err());
}

fn numbered(sequence: u64) -> Verified<Verdict> {
    let signed = signed(Verdict { sequence, ..verdict() });
    check_verdict(trusted(), &signed, &EDIT, NOW).unwrap()
}

fn used(seen: &mut SeenVerdicts, request: &str, verdicts: &[&Verified<Verdict>]) -> &'static str {
    let outcome = seen.check_and_insert(digest(request), verdicts);
    outcome.err().map_or("ok", |error| error.code())
}

#[test]
fn a_verdict_has_one_effect_and_an_interrupted_request_may_come_again() {
    let mut seen = SeenVerdicts::default();
    let (one, two) = (numbered(1), numbered(2));
    assert_eq!(used(&mut seen, "round 1", &[&one, &two]), "ok");
    assert_eq!(used(&mut seen, "round 1", &[&one, &two]), "ok");
    assert_eq!(used(&mut seen, "round 2", &[&one]), "verdict_replayed");
    assert_eq!(seen.used_by(&two.payload_digest), Some(digest("round 1")));
}

#[test]
fn a_refused_request_uses_up_nothing() {
    let mut seen = SeenVerdicts::default();
    let (one, two, three) = (numbered(1), numbered(2), numbered(3));
    assert_eq!(used(&mut seen, "round 1", &[&two]), "ok");
    let before = seen.clone();
    assert_eq!(used(&mut seen, "round 2", &[&one, &two, &three]), "verdict_replayed");
    assert_eq!(seen, before);
    assert_eq!(used(&mut seen, "round 2", &[&one, &three]), "ok");
}

#[test]
fn within_a_request_verdicts_are_distinct_and_in_the_auditors_order() {
    let mut seen = SeenVerdicts::default();
    let (one, two) = (numbered(1), numbered(2));
    assert_eq!(used(&mut seen, "r", &[&one, &one]), "verdict_replayed");
    assert_eq!(used(&mut seen, "r", &[&two, &one]), "verdict_sequence_not_rising");
    assert_eq!(seen, SeenVerdicts::default());
}

#[test]
fn two_verdicts_under_one_number_betray_a_copied_auditor() {
    let mut seen = SeenVerdicts::default();
    let twin = signed(Verdict { sequence: 1, nonce: "77".repeat(32), ..verdict() });
    let twin = check_verdict(trusted(), &twin, &EDIT, NOW).unwrap();
    assert_eq!(used(&mut seen, "round 1", &[&numbered(1)]), "ok");
    assert_eq!(used(&mut seen, "round 2", &[&twin]), "verdict_sequence_reused");
}

#[test]
fn an_older_promotion_does_not_come_back_after_a_newer_one() {
    let mut seen = SeenVerdicts::default();
    let mut promote = |request: &str, sequence| {
        let outcome = seen.check_and_insert_newest(digest(request), &[&numbered(sequence)]);
        outcome.err().map_or("ok", |error| error.code())
    };
    assert_eq!(promote("a", 5), "ok");
    assert_eq!(promote("a", 5), "ok");
    assert_eq!(promote("b", 5), "verdict_replayed");
    assert_eq!(promote("c", 4), "verdict_sequence_not_rising");
    assert_eq!(promote("d", 6), "ok");
    assert_eq!(promote("a", 5), "ok");
}

#[test]
fn what_was_used_survives_a_restart() {
    let mut seen = SeenVerdicts::default();
    used(&mut seen, "round 1", &[&numbered(1), &numbered(2)]);
    let kept = serde_json::to_vec(&seen).unwrap();
    let mut read: SeenVerdicts = serde_json::from_slice(&kept).unwrap();
    assert_eq!(read, seen);
    assert_eq!(used(&mut read, "round 2", &[&numbered(2)]), "verdict_replayed");
}

/// Changes one place of a JSON value to another value of the same kind.
fn disturb(value: &mut serde_json::Value) {
    use serde_json::Value;
    match value {
        Value::String(text) if text.len() == 64 => {
            let head = if text.starts_with('0') { "1" } else { "0" };
            text.replace_range(..1, head);
        }
        Value::String(text) => text.push('x'),
        Value::Number(number) => *value = (number.as_u64().unwrap() + 1).into(),
        Value::Bool(bool) => *bool = !*bool,
        Value::Array(items) => items.push("x".into()),
        Value::Object(fields) => drop(fields.insert("x".into(), 1.into())),
        Value::Null => *value = 1.into(),
    }
}

proptest! {
    #[test]
    fn any_changed_field_of_a_verdict_voids_its_signature(field in any::<proptest::sample::Index>(), in_predicate in any::<bool>()) {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let mut statement = serde_json::to_value(statement(verdict())).unwrap();
        let object = if in_predicate { &mut statement["predicate"] } else { &mut statement };
        let fields = object.as_object_mut().unwrap();
        let name = fields.keys().nth(field.index(fields.len())).unwrap().clone();
        disturb(&mut fields[&name]);
        let mut envelope = signed(verdict());
        envelope.payload = STANDARD.encode(seal_trust::canonical_json(&statement).unwrap());
        let outcome = check_verdict(trusted(), &envelope, &EDIT, NOW);
        prop_assert_eq!(code(outcome), "signature_invalid", "{}", name);
    }
}
