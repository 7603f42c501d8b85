//! What luck and a true gain are worth to the gate: edits and groups with simulated noise, again and again.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

#[test]
fn resubmitting_spends_a_level_that_never_exceeds_alpha() {
    let settings = GateSettings::default();
    let spent: f64 = (0..200).map(|attempt| settings.alpha_of_attempt(0, attempt)).sum();
    assert!(spent <= settings.alpha + 1e-12, "{spent}");
    assert!(settings.alpha_of_attempt(0, 1) < settings.alpha_of_attempt(0, 0));
}

/// One edit without effect: right by luck now and then, log-probabilities moved by noise.
fn null_edit(rng: &mut ChaCha8Rng) -> Vec<Vec<Outcome>> {
    let mut candidate = good();
    candidate[0] = outcomes(5, 0, -4.0);
    for outcome in &mut candidate[0] {
        let noise: f64 = (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
        outcome.exact = rng.random_bool(0.3);
        outcome.log_prob = outcome.log_prob.map(|nats| Micro::from_f64(nats.to_f64() + noise));
    }
    candidate
}

fn is_accepted(alpha: f64, candidate: &[Vec<Outcome>]) -> bool {
    let early = early();
    let candidates = [Judged { early: &early, outcomes: Some(candidate), runs: &[] }];
    let settings = GateSettings::default();
    let rulings = judge(&settings, AuditPurpose::Edit, alpha, &edit_panels(), &candidates);
    rulings[0].decision == Decision::Accept
}

#[test]
fn edits_without_effect_are_accepted_no_more_often_than_alpha() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let settings = GateSettings::default();
    let accepted = (0..1000).filter(|_| is_accepted(settings.alpha, &null_edit(&mut rng))).count();
    assert!(accepted > 0, "a gate that accepts nothing would pass this test");
    assert!(accepted <= 50, "{accepted} of 1000");
}

/// How many of 1,000 groups of so many edits without effect, and of 1,000 with one that gains beside them,
/// get one accepted.
fn groups_of_1000(level_per: LevelPer, size: usize, gaining: bool) -> usize {
    let mut rng = ChaCha8Rng::seed_from_u64(size as u64);
    let settings = GateSettings { level_per, ..GateSettings::default() };
    let accepted = (0..1000).filter(|_| {
        let mut candidates: Vec<_> = (0..size).map(|_| null_edit(&mut rng)).collect();
        if gaining {
            candidates[0] = good();
        }
        let early = early();
        let judged: Vec<Judged<'_>> = candidates
            .iter()
            .map(|one| Judged { early: &early, outcomes: Some(one), runs: &[] })
            .collect();
        let rulings = judge(&settings, AuditPurpose::Edit, settings.alpha, &edit_panels(), &judged);
        let won = |ruling: &Ruling| ruling.decision == Decision::Accept;
        if gaining { won(&rulings[0]) } else { rulings.iter().any(won) }
    });
    accepted.count()
}

/// Prints the table of docs/TAU.md: `cargo test -p seal-auditor --lib share_the_level -- --nocapture`.
#[test]
fn candidates_that_share_the_level_of_their_group_win_by_luck_no_more_often_than_alpha() {
    for size in [1, 4, 15, 63] {
        let by = |level_per, gaining| groups_of_1000(level_per, size, gaining);
        let (alone, shared) = (by(LevelPer::Candidate, false), by(LevelPer::Group, false));
        let power = [by(LevelPer::Candidate, true), by(LevelPer::Group, true)];
        println!(
            "{size} edits without effect: one accepted in {alone} of 1000 groups, in {shared} where \
             they share the level; a good edit among them wins in {power:?}"
        );
        // 5 % of 1000 and three standard errors.
        assert!(shared <= 50 + 21, "{shared} of 1000 groups of {size}");
        assert!(size == 1 || alone > shared, "{alone} and {shared} of 1000 groups of {size}");
    }
}

/// How many of 1,000 edits on `n` questions are accepted whose true accuracy moves from 30 % by
/// `points`, and whose gold answers become likelier by `nats` per token beside noise of one nat.
fn accepted_of_1000(
    evidence: Evidence,
    n: usize,
    (points, nats): (f64, f64),
    rng: &mut ChaCha8Rng,
) -> usize {
    let settings = GateSettings { evidence, ..GateSettings::default() };
    let mut drawn = |right: f64, shift: f64| -> Vec<Outcome> {
        let mut drawn = outcomes(n, 0, -4.0);
        for outcome in &mut drawn {
            let noise: f64 = (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
            outcome.exact = rng.random_bool(right);
            outcome.log_prob =
                outcome.log_prob.map(|nats| Micro::from_f64(nats.to_f64() + noise + shift));
        }
        drawn
    };
    let accepted = (0..1000).filter(|_| {
        let (mut panels, mut candidate, early) = (edit_panels(), good(), early());
        panels[0] = panel(PanelName::TauReward, 1, drawn(0.3, 0.0));
        candidate[0] = drawn(0.3 + points, nats);
        let candidates = [Judged { early: &early, outcomes: Some(&candidate), runs: &[] }];
        let rulings = judge(&settings, AuditPurpose::Edit, settings.alpha, &panels, &candidates);
        rulings[0].decision == Decision::Accept
    });
    accepted.count()
}

#[test]
fn what_no_gain_and_what_a_gain_of_ten_points_is_worth_to_the_gate() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let alpha = GateSettings::default().alpha;
    // Three standard errors above alpha.
    let most = 1000.0 * alpha + 3.0 * (1000.0 * alpha * (1.0 - alpha)).sqrt();
    for (evidence, gain) in [(Evidence::Graded, (0.1, 0.0)), (Evidence::Dense, (0.1, 0.5))] {
        let mut found = Vec::new();
        for n in [5, 40, 160, 640] {
            let null = accepted_of_1000(evidence, n, (0.0, 0.0), &mut rng);
            let gained = accepted_of_1000(evidence, n, gain, &mut rng);
            println!(
                "{evidence:?}, {n} questions: of 1,000 null edits {null} accepted at alpha {alpha}; \
                 of 1,000 with a true gain of {gain:?} points and nats {gained}"
            );
            assert!(null as f64 <= most, "{null} null edits");
            found.push(gained);
        }
        assert!(found.is_sorted() && found[3] > 800, "{found:?}");
    }
}

#[test]
fn grinding_on_one_context_wins_no_more_often_than_alpha() {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let settings = GateSettings::default();
    let mut wins = |_| {
        (0..8)
            .any(|attempt| is_accepted(settings.alpha_of_attempt(0, attempt), &null_edit(&mut rng)))
    };
    let won = (0..1000).filter(|context: &u32| wins(*context)).count();
    assert!(won <= 50, "{won} of 1000 contexts");
}

#[test]
fn rotating_tau_on_one_context_wins_no_more_often_than_alpha() {
    let settings = GateSettings { rotation_share: 0.5, ..GateSettings::default() };
    // Every τ at the whole level, as if nothing had been asked before it.
    let unspent = GateSettings::default();
    let (taus, attempts) = (8, 4);
    let won = |level: &dyn Fn(u32, u32) -> f64| {
        let mut rng = ChaCha8Rng::seed_from_u64(8);
        let mut wins = |_: &u32| {
            let mut tries = (0..taus).flat_map(|rank| (0..attempts).map(move |at| (rank, at)));
            tries.any(|(rank, at)| is_accepted(level(rank, at), &null_edit(&mut rng)))
        };
        (0..2000).filter(|context| wins(context)).count()
    };
    let spent = won(&|rank, at| settings.alpha_of_attempt(rank, at));
    let anew = won(&|_, at| unspent.alpha_of_attempt(0, at));
    println!(
        "of 2,000 contexts, {attempts} null edits under each of {taus} τ: accepted on {spent} with \
         rotation_share 0.5, on {anew} if every τ had the whole of alpha {}",
        settings.alpha
    );
    assert!(spent > 0, "a gate that accepts nothing would pass this test");
    assert!(spent <= 100, "{spent} of 2000 contexts");
    assert!(anew > 300, "a level that begins anew is what the share prevents: {anew}");
}

#[test]
fn all_tau_of_a_context_together_spend_a_level_that_never_exceeds_alpha() {
    for rotation_share in [0.0, 0.1, 0.5, 0.9] {
        let settings = GateSettings { rotation_share, ..GateSettings::default() };
        let of_tau = |rank| (0..100).map(|at| settings.alpha_of_attempt(rank, at)).sum::<f64>();
        let spent: f64 = (0..200).map(of_tau).sum();
        assert!(spent <= settings.alpha + 1e-12, "{rotation_share}: {spent}");
        // A τ that comes back goes on with its own number, so that no order spends more.
        assert!(settings.alpha_of_attempt(1, 0) <= settings.alpha_of_attempt(0, 0));
    }
    let none = GateSettings::default();
    assert_eq!(none.alpha_of_attempt(0, 0), none.alpha * (1.0 - none.retry_share));
    assert_eq!(none.alpha_of_attempt(1, 0), 0.0);
    let text = serde_json::to_string(&none).unwrap();
    assert!(!text.contains("rotation_share"), "policy digests of before stay: {text}");
}
