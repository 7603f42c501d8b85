use std::path::Path;

use seal_protocol::{AuditPurpose, Digest, Recomputation};
use seal_trust::sha256;

use super::*;

const SECRET: [u8; 32] = [9; 32];

fn requests(from: u32, count: u32) -> impl Iterator<Item = Digest> {
    (from..from + count).map(|number| sha256(&number.to_le_bytes()))
}

/// How many of `count` attempts the draw falls on.
fn caught(draw: &Draw, from: u32, count: u32) -> f64 {
    let falls_on = |request: &Digest| draw.falls_on(AuditPurpose::Edit, request, 0);
    requests(from, count).filter(falls_on).count() as f64
}

/// Four standard deviations of a binomial: one deterministic sample in sixteen thousand lies outside.
fn tolerated(share: f64, count: u32) -> f64 {
    4.0 * (f64::from(count) * share * (1.0 - share)).sqrt()
}

#[test]
fn the_draw_falls_on_the_share_that_was_asked_for_under_any_key() {
    const ATTEMPTS: u32 = 20_000;
    for share in [0.01, 0.25, 0.5, 0.9] {
        for key in 0..4 {
            let draw = Draw::new(&[key; 32], Share::Of(share));
            let caught = caught(&draw, u32::from(key) * ATTEMPTS, ATTEMPTS);
            let expected = share * f64::from(ATTEMPTS);
            let far = (caught - expected).abs();
            assert!(far <= tolerated(share, ATTEMPTS), "{caught} of {ATTEMPTS} at {share}");
        }
    }
}

#[test]
fn always_falls_on_everything_and_never_on_nothing() {
    assert_eq!(caught(&Draw::new(&SECRET, Share::Always), 0, 1000), 1000.0);
    assert_eq!(caught(&Draw::new(&SECRET, Share::Of(1.0)), 0, 1000), 1000.0);
    let never = Draw::new(&SECRET, Share::Never);
    assert_eq!((caught(&never, 0, 1000), never.share()), (0.0, None));
    assert!(!never.falls_on(AuditPurpose::Promotion, &sha256(b"request"), 0));
}

#[test]
fn what_wants_to_serve_is_drawn_at_every_share() {
    let draw = Draw::new(&SECRET, Share::Of(1e-12));
    assert!(requests(0, 100).all(|request| draw.falls_on(AuditPurpose::Promotion, &request, 0)));
    assert_eq!(caught(&draw, 0, 1000), 0.0);
}

#[test]
fn a_draw_is_the_same_again_and_says_nothing_about_another_key_candidate_or_request() {
    const ATTEMPTS: u32 = 10_000;
    let draw = |secret: [u8; 32]| Draw::new(&secret, Share::Of(0.5));
    let drawn = |draw: &Draw, candidate| -> Vec<bool> {
        let falls_on = |request| draw.falls_on(AuditPurpose::Edit, &request, candidate);
        requests(0, ATTEMPTS).map(falls_on).collect()
    };
    let first = drawn(&draw(SECRET), 0);
    assert_eq!(first, drawn(&draw(SECRET), 0));
    let mut shifted = first.clone();
    shifted.rotate_left(1);
    for other in [drawn(&draw([8; 32]), 0), drawn(&draw(SECRET), 1), shifted] {
        let alike = first.iter().zip(&other).filter(|(a, b)| a == b).count() as f64;
        assert!((alike - 5_000.0).abs() <= tolerated(0.5, ATTEMPTS), "{alike}");
    }
}

#[test]
fn what_was_not_drawn_is_no_pass_and_not_in_the_way_and_a_refusal_names_its_rule() {
    let not_drawn = Recomputed::not_drawn().stage();
    assert!(!not_drawn.passed() && not_drawn.permits());
    assert!(Recomputed::equal().stage().passed());
    assert!(Recomputed::within(0.01).stage().passed());
    let refused = Recomputed::refused(DIFFERS, Some(f64::NAN));
    assert_eq!((refused.outcome, refused.distance), (Recomputation::Refused, None));
    assert!(!refused.stage().permits());
    assert_eq!(refused.stage().reasons, [DIFFERS]);
}

#[test]
fn no_other_stage_can_be_left_out_by_a_draw() {
    use crate::gate::{Stage, StageOutcome, StageRecord};
    for stage in [Stage::Bytes, Stage::Provenance, Stage::Text, Stage::Tau, Stage::Protected] {
        let skipped = StageRecord { stage, outcome: StageOutcome::NotDrawn, reasons: Vec::new() };
        assert!(!skipped.permits(), "{stage:?}");
    }
}

#[test]
fn a_build_that_trains_nothing_refuses_to_be_asked_and_names_the_mend() {
    let refused = absent::Tables::load(Path::new("student.toml")).unwrap_err().to_string();
    for mend in ["--features recompute", "`seal auditor`", "recompute = \"never\""] {
        assert!(refused.contains(mend), "{refused}");
    }
}

#[test]
fn a_config_that_asks_without_saying_how_adapters_are_trained_is_refused_with_the_mend() {
    for share in [Share::Always, Share::Of(0.25)] {
        let refused = Asked::of(share, false, None).unwrap_err().to_string();
        assert!(
            refused.contains("[recomputation]") && refused.contains("update_tables"),
            "{refused}"
        );
    }
    assert!(Asked::of(Share::Never, false, None).unwrap().is_none());
    let refused = Asked::of(Share::Never, true, None).unwrap_err().to_string();
    assert!(refused.contains("[gate.repeats]") && refused.contains("update_tables"), "{refused}");
}

#[cfg(not(feature = "recompute"))]
#[test]
fn this_build_refuses_a_config_that_asks() {
    let settings = RecomputationConfig { update_tables: "student.toml".into(), tolerance: None };
    let refused = Asked::of(Share::Always, false, Some(&settings)).unwrap_err().to_string();
    assert!(refused.contains("--features recompute"), "{refused}");
}
