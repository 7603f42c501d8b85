//! Further runs of the edits that could win, measured on the reward split alone.

use std::time::Instant;

use super::intake::Intake;
use super::panels::{self, ItemPanel, Outcomes};
use crate::annex::Measured;
use crate::gate::{GateSettings, Judged, Panel, PanelName, Run, next_run};
use crate::measure::{MeasureError, Measurer};
use crate::recompute::{Draw, Lesson};

/// What further runs go by.
pub(super) struct Repeating<'a> {
    pub(super) settings: &'a GateSettings,
    /// Level of the attempt.
    pub(super) alpha: f64,
    pub(super) intake: &'a Intake,
    pub(super) draw: &'a Draw,
    /// What the first run was asked, with texts and with the base's outcomes.
    pub(super) asked: (&'a [ItemPanel<'a>], &'a [Panel]),
}

impl Repeating<'_> {
    /// Trains and measures run after run, until the settings ask for no more. The outcomes of the first
    /// stand in `measured`; an adapter is forgotten as soon as it is measured.
    ///
    /// # Errors
    /// The model's; `until` came before all had run.
    pub(super) fn run<M: Measurer>(
        &self,
        measurer: &mut M,
        measured: &mut [Measured],
        until: Instant,
    ) -> Result<(), MeasureError> {
        let is_asked = |panel: &&ItemPanel<'_>| panel.name == PanelName::TauReward;
        let asked: Vec<&ItemPanel<'_>> = self.asked.0.iter().filter(is_asked).collect();
        loop {
            let next = self.next(measured);
            let lessons = next.iter().map(|index| self.lesson(*index, &measured[*index]));
            let lessons: Vec<Lesson<'_>> = lessons.collect::<Option<_>>().ok_or_else(no_edit)?;
            if lessons.is_empty() {
                return Ok(());
            }
            let adapters = measurer.train(&lessons, until)?;
            if adapters.len() != lessons.len() {
                return Err(MeasureError::Failed("not one adapter per lesson".to_owned()));
            }
            let led_somewhere: Vec<bool> = adapters.iter().map(Option::is_some).collect();
            let adapters: Vec<M::Adapter> = adapters.into_iter().flatten().collect();
            let mut outcomes = further(measurer, &asked, &adapters, until)?.into_iter();
            for ((index, lesson), led) in next.iter().zip(&lessons).zip(led_somewhere) {
                let outcomes = if led { outcomes.next() } else { None };
                measured[*index].runs.push(Run { seed: lesson.seed, outcomes });
            }
        }
    }

    fn next(&self, measured: &[Measured]) -> Vec<usize> {
        let judged: Vec<Judged<'_>> = measured.iter().map(Measured::judged).collect();
        next_run(self.settings, self.intake.request.purpose, self.alpha, self.asked.1, &judged)
    }

    /// The next run of a candidate. All edits of a context have the same seed in the same run, so that
    /// what a seed does to all of them alike changes no choice.
    fn lesson(&self, index: usize, measured: &Measured) -> Option<Lesson<'_>> {
        let candidate = &self.intake.request.candidates[index];
        let digest = candidate.edit_digests.first()?;
        let context = candidate.context_digests.first()?;
        let edit = &self.intake.edits.get(digest)?.edit;
        let seed = self.draw.seed_of_run(context, measured.runs.len());
        Some(Lesson { digest: *digest, edit, seed })
    }
}

fn no_edit() -> MeasureError {
    MeasureError::Failed("a candidate that could win has no edit".to_owned())
}

fn further<M: Measurer>(
    measurer: &mut M,
    asked: &[&ItemPanel<'_>],
    adapters: &[M::Adapter],
    until: Instant,
) -> Result<Vec<Outcomes>, MeasureError> {
    let numbers = 0..adapters.len();
    let wanted: Vec<_> = numbers
        .clone()
        .flat_map(|adapter| asked.iter().flat_map(move |panel| panels::ask(Some(adapter), panel)))
        .collect();
    let scored = measurer.score(adapters, &wanted, until)?;
    if scored.len() != wanted.len() {
        return Err(MeasureError::Failed("not one outcome per item".to_owned()));
    }
    let mut scored = scored.into_iter();
    let mut of_adapter =
        |_| asked.iter().map(|panel| scored.by_ref().take(panel.items.len()).collect()).collect();
    Ok(numbers.map(&mut of_adapter).collect())
}
