//! What a vote of the base and some edits says of a context's reward questions, beside the gold answers.

use std::collections::BTreeSet;

use anyhow::{Result, anyhow};
use seal_auditor::graders::exact;
use seal_auditor::statistics::{Interval, bootstrap_units};
use seal_auditor::voting::{vote, voters};
use seal_miniature::edits::Edit;
use seal_miniature::rewards::{Group, Reading};
use serde::Serialize;

use super::reliability::RESAMPLING;

/// One vote on every question of a context.
#[derive(Clone, Debug, Default)]
pub(super) struct Ballot {
    /// How each edit answers by the labels; no edit where no question has one.
    pub(super) readings: Vec<Reading>,
    pub(super) questions: usize,
    pub(super) labelled: usize,
    /// Labels that the gold answer says, too.
    pub(super) right: usize,
}

impl Ballot {
    /// The base and the first `count` edits vote; edits of the same lines have one voice.
    pub(super) fn of(group: &Group<'_>, edits: &[Edit], count: usize) -> Result<Self> {
        let lines = |edit: &Edit| vec![edit.lines.iter().cloned().collect::<BTreeSet<String>>()];
        // The base answers first.
        let electorate: Vec<usize> = std::iter::once(0)
            .chain(voters(edits[..count].iter().map(lines)).into_iter().map(|edit| edit + 1))
            .collect();
        let answers = group.answers().map_err(|error| anyhow!(error))?;
        let label = |answers: &Vec<String>| vote(electorate.iter().map(|at| answers[*at].as_str()));
        let labels: Vec<Option<String>> = answers.iter().map(|one| label(one).label).collect();
        let pairs = labels.iter().zip(group.golds());
        let right =
            pairs.filter(|(label, gold)| label.as_ref().is_some_and(|label| exact(label, gold)));
        let (right, labelled) = (right.count(), labels.iter().flatten().count());
        let readings = match labelled {
            0 => Vec::new(),
            _ => group.readings(&labels).map_err(|error| anyhow!(error))?,
        };
        let readings = readings.into_iter().take(count).collect();
        Ok(Self { readings, questions: labels.len(), labelled, right })
    }
}

/// What the votes of all contexts come to.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Labelled {
    pub(super) voters: String,
    /// Share of the questions that got a label.
    pub(super) labelled: Interval,
    /// Share of the labels that the gold answer says, too; absent where there is none in some resample.
    pub(super) right: Option<Interval>,
    /// Contexts of which no question got a label.
    pub(super) without: usize,
}

/// Pools ballots; contexts are the independent units of the intervals.
pub(super) fn labelled(edits: usize, ballots: &[&Ballot]) -> Option<Labelled> {
    let share = |part: fn(&Ballot) -> usize, whole: fn(&Ballot) -> usize| {
        bootstrap_units(ballots.len(), RESAMPLING, |drawn| {
            let sum = |of: fn(&Ballot) -> usize| drawn.iter().map(|at| of(ballots[*at])).sum();
            let (part, whole): (usize, usize) = (sum(part), sum(whole));
            (whole > 0).then(|| part as f64 / whole as f64)
        })
    };
    Some(Labelled {
        voters: format!("the base and {edits} edits"),
        labelled: share(|one| one.labelled, |one| one.questions)?,
        right: share(|one| one.right, |one| one.labelled),
        without: ballots.iter().filter(|one| one.labelled == 0).count(),
    })
}
