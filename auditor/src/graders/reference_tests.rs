//! The graders against recorded answers and verdicts of the original system's judge.
//!
//! The data is not part of this package: `SEAL_REFERENCE_DATA` names its folder; without it the
//! tests say "skipped". Every expectation is computed from the data or is one of the orderings that
//! its authors' figures state.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;
use crate::reference_data;

#[derive(Clone, Deserialize)]
struct Judged {
    cond: String,
    id: String,
    q: String,
    gold: String,
    base: String,
    base_ok: u8,
    adapt: String,
    adapt_ok: u8,
}

impl Judged {
    fn graded(&self, grader: Grader, answer: &str) -> bool {
        grader.grade(&Asked { question: &self.q, gold: &self.gold, answer }).unwrap()
    }
}

fn agreement(rows: &[Judged], grader: Grader) -> Agreement {
    let mut agreement = Agreement::default();
    for row in rows {
        for (answer, ok) in [(&row.base, row.base_ok), (&row.adapt, row.adapt_ok)] {
            agreement.add(row.graded(grader, answer), ok == 1);
        }
    }
    agreement
}

/// Per condition: (share right before, share right after), over questions.
fn before_after(
    rows: &[Judged],
    right: impl Fn(&Judged) -> (bool, bool),
) -> BTreeMap<&str, (f64, f64)> {
    let mut sums: BTreeMap<&str, (f64, f64, f64)> = BTreeMap::new();
    for row in rows {
        let (before, after) = right(row);
        let sum = sums.entry(&row.cond).or_default();
        sum.0 += f64::from(u8::from(before));
        sum.1 += f64::from(u8::from(after));
        sum.2 += 1.0;
    }
    sums.into_iter().map(|(cond, (before, after, n))| (cond, (before / n, after / n))).collect()
}

fn graded(rows: &[Judged], grader: Grader) -> BTreeMap<&str, (f64, f64)> {
    before_after(rows, |row| (row.graded(grader, &row.base), row.graded(grader, &row.adapt)))
}

const EXACT: Grader = Grader::Exact;
const F1: Grader = Grader::F1 { threshold: 0.5 };
const RECALL: Grader = Grader::Recall { threshold: 0.75 };

#[test]
fn the_default_grader_agrees_with_the_judge_as_a_reward_needs() {
    let Some(rows) = reference_data::rows::<Judged>("judged_eval.jsonl") else {
        return;
    };
    let kappa = |grader| agreement(&rows, grader).kappa().unwrap();
    assert!(kappa(Grader::default()) >= 0.72, "{}", kappa(Grader::default()));
    assert!(kappa(Grader::default()) > kappa(RECALL));
    // On either half of the passages the threshold 0.6 is no lucky one.
    for half in [0, 1] {
        let inside =
            |row: &&Judged| row.id.trim_start_matches('v').parse::<u32>().unwrap() % 2 == half;
        let rows: Vec<Judged> = rows.iter().filter(inside).cloned().collect();
        let kappa = agreement(&rows, Grader::default()).kappa().unwrap();
        assert!(kappa >= 0.70, "half {half}: {kappa}");
    }
}

#[test]
fn gold_word_recall_agrees_better_with_the_judge_than_the_strict_graders_and_exact_match_worst() {
    let Some(rows) = reference_data::rows::<Judged>("judged_eval.jsonl") else {
        return;
    };
    let of = |grader| agreement(&rows, grader);
    let ordered = [of(EXACT), of(F1), of(Grader::Containment), of(RECALL)];
    let kappas: Vec<f64> = ordered.iter().map(|of| of.kappa().unwrap()).collect();
    assert!(kappas.windows(2).all(|pair| pair[0] < pair[1]), "{kappas:?}");
    // The authors' data over 200 passages gives .6906/.7180/.8637/.8762; this file holds half of it.
    let recorded = [0.6906, 0.7180, 0.8637, 0.8762];
    for (found, recorded) in ordered.iter().filter_map(Agreement::accuracy).zip(recorded) {
        assert!((found - recorded).abs() < 0.02, "{found} against {recorded}");
    }
    let recorded = [0.1974, 0.2947, 0.6877, 0.7210];
    for (found, recorded) in kappas.iter().zip(recorded) {
        assert!((found - recorded).abs() < 0.04, "{found} against {recorded}");
    }
    assert!(ordered[0].precision() > Some(0.995), "an exact match is right");
}

#[test]
fn exact_match_and_f1_reverse_the_sign_of_the_recorded_gain_and_recall_keeps_it() {
    let Some(rows) = reference_data::rows::<Judged>("judged_eval.jsonl") else {
        return;
    };
    let judge = before_after(&rows, |row| (row.base_ok == 1, row.adapt_ok == 1));
    let (exact, f1, recall) = (graded(&rows, EXACT), graded(&rows, F1), graded(&rows, RECALL));
    for cond in ["base", "gpt4_1", "iter1", "iter2"] {
        assert!(judge[cond].1 > judge[cond].0, "{cond}: the judge sees a gain");
        assert!(recall[cond].1 > recall[cond].0, "{cond}: recall sees it too");
        assert!(exact[cond].1 < exact[cond].0, "{cond}: exact match sees a loss");
        assert!(f1[cond].1 < f1[cond].0, "{cond}: F1 sees a loss");
    }
}
