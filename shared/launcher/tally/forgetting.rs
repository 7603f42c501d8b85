//! The forgetting matrix: from the annexes of a sequence's steps to a lower triangle and its means.
//!
//! Source: the continual self-edits of arXiv:2506.10943, whose matrix has a row more, the model without
//! any edit; here that row is `unedited`.

use std::collections::{BTreeMap, BTreeSet};

use seal_auditor::annex::{Annex, CandidateAnnex};
use seal_auditor::gate::{Outcome, PanelName};
use seal_conductor::plan::sequence_stage;
use seal_protocol::{AuditPurpose, Digest};

use super::{estimate, is_tau, score, share};
use crate::figures::{AfterEdits, Estimate, Forgetting, Sequence, Step};

/// The sequences of a run, by their annexes.
pub(super) fn sequences(
    annexes: &[Annex],
    names: &BTreeMap<Digest, String>,
    rounds: u32,
) -> Vec<Sequence> {
    let stages = (1..=rounds).map(sequence_stage);
    stages.filter_map(|stage| sequence(annexes, names, stage)).collect()
}

fn sequence(
    annexes: &[Annex],
    names: &BTreeMap<Digest, String>,
    stage: String,
) -> Option<Sequence> {
    let of_stage = |purpose| {
        let own = annexes.iter().filter(|annex| annex.stage == stage);
        own.filter(move |annex| annex.purpose == purpose)
    };
    let mut steps: Vec<(&Annex, &CandidateAnnex)> = of_stage(AuditPurpose::Evaluation)
        .filter_map(|annex| Some((annex, annex.candidates.first()?)))
        .collect();
    steps.sort_by_key(|(_, candidate)| candidate.context_digests.len());
    let order = order_learned(&steps);
    let name = |context: &Digest| names.get(context).cloned().unwrap_or_else(|| context.short());
    let (last, _) = steps.last()?;
    let without = |context: &Digest| tau_of(last, |index| &last.panels[index].base, context);
    let retention = |annex: &Annex| {
        let panel = annex.panels.iter().find(|panel| panel.name == PanelName::Retention);
        panel.and_then(|panel| share(&panel.base))
    };
    let learned: BTreeSet<&Digest> = order.iter().collect();
    let judged: BTreeSet<&Digest> = of_stage(AuditPurpose::Edit)
        .flat_map(|annex| &annex.candidates)
        .flat_map(|candidate| &candidate.context_digests)
        .collect();
    Some(Sequence {
        contexts: order.iter().map(name).collect(),
        unedited: order.iter().filter_map(without).collect(),
        steps: steps.iter().map(|(annex, candidate)| step(annex, candidate, &order)).collect(),
        unedited_retention: retention(last),
        left_out: judged.difference(&learned).map(|context| name(context)).collect(),
        stage,
    })
}

/// Each step claims what the one before did, and its own context.
fn order_learned(steps: &[(&Annex, &CandidateAnnex)]) -> Vec<Digest> {
    let mut order: Vec<Digest> = Vec::new();
    for (_, candidate) in steps {
        let new = candidate.context_digests.iter().filter(|context| !order.contains(context));
        let new: Vec<Digest> = new.copied().collect();
        order.extend(new);
    }
    order
}

fn step(annex: &Annex, candidate: &CandidateAnnex, order: &[Digest]) -> Step {
    let edits = candidate.edit_digests.len();
    let seen = order.iter().filter(|context| candidate.context_digests.contains(context));
    let accuracy = candidate.outcomes.as_ref().and_then(|outcomes| {
        let of = |context| tau_of(annex, |index| outcomes.get(index).map_or(&[], |o| o), context);
        seen.map(of).collect::<Option<Vec<f64>>>()
    });
    let retention = score(annex, candidate, PanelName::Retention);
    Step { edits, accuracy: accuracy.unwrap_or_default(), retention }
}

/// Share of a context's questions right, both splits together.
fn tau_of<'a>(
    annex: &'a Annex,
    outcomes: impl Fn(usize) -> &'a [Outcome],
    context: &Digest,
) -> Option<f64> {
    let own = annex
        .panels
        .iter()
        .enumerate()
        .filter(|(_, panel)| is_tau(panel) && panel.context_digest.as_ref() == Some(context));
    let outcomes: Vec<Outcome> = own.flat_map(|(index, _)| outcomes(index).to_vec()).collect();
    share(&outcomes)
}

/// Means over all sequences; `None` without any.
pub(super) fn forgetting(sequences: &[Sequence]) -> Option<Forgetting> {
    let mut by_age: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    let mut by_edits: BTreeMap<usize, Vec<(f64, f64)>> = BTreeMap::new();
    for sequence in sequences {
        for step in &sequence.steps {
            for (place, accuracy) in step.accuracy.iter().enumerate() {
                let Some(age) = step.edits.checked_sub(place + 1) else { continue };
                by_age.entry(age).or_default().push(*accuracy);
                let unedited = sequence.unedited.get(place);
                let pairs = by_edits.entry(step.edits).or_default();
                pairs.extend(unedited.map(|unedited| (*accuracy, *unedited)));
            }
        }
    }
    let by_age: Vec<Estimate> = by_age.values().filter_map(|shares| estimate(shares)).collect();
    let after = |(edits, pairs): (&usize, &Vec<(f64, f64)>)| {
        let of =
            |value: fn(&(f64, f64)) -> f64| estimate(&pairs.iter().map(value).collect::<Vec<_>>());
        Some(AfterEdits {
            edits: *edits,
            accuracy: of(|pair| pair.0)?,
            unedited: of(|pair| pair.1)?,
            gain: of(|pair| pair.0 - pair.1)?,
        })
    };
    let by_edits = by_edits.iter().filter_map(after).collect();
    (!by_age.is_empty()).then_some(Forgetting { by_age, by_edits })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(unedited: &[f64], rows: &[&[f64]]) -> Sequence {
        let step = |(index, accuracy): (usize, &&[f64])| Step {
            edits: index + 1,
            accuracy: accuracy.to_vec(),
            retention: None,
        };
        Sequence {
            stage: "sequence-1".into(),
            contexts: (0..unedited.len()).map(|n| format!("c{n}")).collect(),
            unedited: unedited.to_vec(),
            steps: rows.iter().enumerate().map(step).collect(),
            unedited_retention: None,
            left_out: Vec::new(),
        }
    }

    #[test]
    fn a_triangle_is_read_along_its_diagonals_and_its_rows() {
        let first = sequence(&[0.25, 0.0], &[&[1.0], &[0.5, 0.75]]);
        let second = sequence(&[0.75, 0.5], &[&[0.5], &[0.0, 0.25]]);
        let both = forgetting(&[first, second]).unwrap();
        let means: Vec<(usize, f64)> = both.by_age.iter().map(|age| (age.n, age.mean)).collect();
        assert_eq!(means, [(4, 0.625), (2, 0.25)]);
        let after: Vec<(usize, f64, f64, f64)> = both
            .by_edits
            .iter()
            .map(|row| (row.edits, row.accuracy.mean, row.unedited.mean, row.gain.mean))
            .collect();
        assert_eq!(after, [(1, 0.75, 0.5, 0.25), (2, 0.375, 0.375, 0.0)]);
        assert!(both.by_age.iter().all(|age| age.low <= age.mean && age.mean <= age.high));
    }

    #[test]
    fn a_step_that_could_not_be_measured_is_no_row_of_zeros() {
        let broken = sequence(&[0.5, 0.5], &[&[1.0], &[]]);
        let forgetting = forgetting(&[broken]).unwrap();
        assert_eq!((forgetting.by_age.len(), forgetting.by_edits.len()), (1, 1));
        assert_eq!(super::forgetting(&[]), None);
    }
}
