//! Puts the questions of a reward split to the vote of a group. The answers stay in memory.

use std::collections::BTreeSet;
use std::time::Instant;

use seal_protocol::{Candidate, Digest, TrainingExample};

use super::intake::Intake;
use super::panels::ItemPanel;
use crate::gate::PanelName;
use crate::graders::words;
use crate::items::Item;
use crate::measure::{MeasureError, Measurer};
use crate::voting::vote;

/// What makes two candidates one voter.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mark {
    /// They claim the same edits.
    Edits(Vec<Digest>),
    /// They are the same tensors.
    Adapter(Digest),
    /// They teach the same lines, whatever their order, case and punctuation.
    Lines(BTreeSet<Vec<String>>),
}

/// All marks of a candidate.
pub(super) fn marks(intake: &Intake, candidate: &Candidate) -> Vec<Mark> {
    let edits = candidate.edit_digests.iter().filter_map(|digest| intake.edits.get(digest));
    let examples = edits.flat_map(|verified| &verified.edit.examples);
    let lines = examples.flat_map(TrainingExample::texts).map(words);
    let adapter = candidate.adapter_digest().map(Mark::Adapter);
    let same = [Mark::Edits(candidate.edit_digests.clone()), Mark::Lines(lines.collect())];
    same.into_iter().chain(adapter).collect()
}

/// Asks the base and the adapters at `voters` every question of the reward split, and labels it with
/// what most of them say.
///
/// # Errors
/// The model's; `until` came before all had answered.
pub(super) fn label<M: Measurer>(
    measurer: &mut M,
    panels: &mut [ItemPanel<'_>],
    adapters: &[M::Adapter],
    voters: &[usize],
    until: Instant,
) -> Result<(), MeasureError> {
    let electorate: Vec<Option<usize>> =
        std::iter::once(None).chain(voters.iter().copied().map(Some)).collect();
    for panel in panels.iter_mut().filter(|panel| panel.name == PanelName::TauReward) {
        let ask = |item| electorate.iter().map(move |voter| (*voter, item));
        let asked: Vec<(Option<usize>, &Item)> = panel.items.iter().flat_map(ask).collect();
        let limit = panel.grading.written_tokens();
        let answers = measurer.write(adapters, &asked, limit, until)?;
        if answers.len() != asked.len() {
            return Err(MeasureError::Failed("not one answer per question".to_owned()));
        }
        let of_item = answers.chunks(electorate.len());
        let voted = of_item.map(|answers| vote(answers.iter().map(String::as_str))).collect();
        panel.label(voted);
    }
    Ok(())
}
