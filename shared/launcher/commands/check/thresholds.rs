//! Thresholds chosen on one half of the passages and measured on the other: what a figure on the data
//! that it was chosen by is worth.

use std::collections::HashMap;

use seal_auditor::graders::{Agreement, Asked, Grader};
use serde::Serialize;

use super::graders::figure;

/// Thresholds tried: 0.50, 0.55, …, 1.00.
const TRIED: usize = 11;

fn threshold(index: usize) -> f64 {
    // Hundredths first: 0.6 and not its neighbour.
    (50 + 5 * index) as f64 / 100.0
}

/// Agreement at every threshold of every grader that has one, on both halves.
pub(super) struct Sweep {
    graders: Vec<(&'static str, Grader, [[Agreement; TRIED]; 2])>,
    /// Half of a passage: by turns, in the order of the file.
    halves: HashMap<String, usize>,
}

/// One grader's thresholds.
#[derive(Serialize)]
pub(super) struct Held {
    name: &'static str,
    /// Chosen on the first, third, … passage, measured on the others; and the other way round.
    directions: [Direction; 2],
}

#[derive(Serialize)]
struct Direction {
    threshold: f64,
    kappa_where_chosen: Option<f64>,
    kappa: Option<f64>,
}

impl Sweep {
    pub(super) fn new(graders: impl IntoIterator<Item = (&'static str, Grader)>) -> Self {
        let with_threshold = graders.into_iter().filter(|(_, grader)| grader.threshold().is_some());
        let graders = with_threshold.map(|(name, grader)| (name, grader, Default::default()));
        Self { graders: graders.collect(), halves: HashMap::new() }
    }

    pub(super) fn add(&mut self, passage: &str, asked: &Asked<'_>, judge: bool) {
        let next = self.halves.len() % 2;
        let half = match self.halves.get(passage) {
            Some(half) => *half,
            None => *self.halves.entry(passage.to_owned()).or_insert(next),
        };
        let empty = asked.answer.trim().is_empty();
        for (_, grader, halves) in &mut self.graders {
            let score = grader.score(asked).filter(|_| !empty).unwrap_or(-1.0);
            for (index, agreement) in halves[half].iter_mut().enumerate() {
                agreement.add(score >= threshold(index), judge);
            }
        }
    }

    pub(super) fn held_out(&self) -> Vec<Held> {
        let held = |(name, _, [even, odd]): &(&'static str, Grader, [[Agreement; TRIED]; 2])| {
            let directions = [Direction::of(even, odd), Direction::of(odd, even)];
            Held { name, directions }
        };
        self.graders.iter().map(held).collect()
    }
}

impl Direction {
    /// The first threshold with the largest κ on one half.
    fn of(chosen_on: &[Agreement; TRIED], measured_on: &[Agreement; TRIED]) -> Self {
        let better = |best: usize, index: usize| {
            if chosen_on[index].kappa() > chosen_on[best].kappa() { index } else { best }
        };
        let best = (0..TRIED).fold(0, better);
        Self {
            threshold: threshold(best),
            kappa_where_chosen: chosen_on[best].kappa(),
            kappa: measured_on[best].kappa(),
        }
    }
}

impl Held {
    pub(super) fn cells(&self) -> Vec<String> {
        let cells = |direction: &Direction| {
            [format!("{:.2}", direction.threshold), figure(direction.kappa)]
        };
        let [there, back] = self.directions.each_ref().map(cells);
        let [there, kappa_there] = there;
        let [back, kappa_back] = back;
        vec![self.name.to_owned(), there, kappa_there, back, kappa_back]
    }
}
