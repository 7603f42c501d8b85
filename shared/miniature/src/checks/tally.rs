//! Counting what sampled edits look like.

use super::{EditFigures, share};
use crate::edits::{Edit, PLANS, Plan, SIZES, true_lines};
use crate::items::{confirmation_items, reward_items};
use crate::passages::Passage;

pub(super) fn describe(passages: &[Passage], edits: &[Option<Edit>]) -> EditFigures {
    let mut tally = Tally::default();
    for (passage, edit) in passages.iter().zip(edits) {
        match edit {
            Some(edit) => tally.add(passage, edit),
            None => tally.malformed += 1,
        }
    }
    tally.figures(edits.len())
}

#[derive(Default)]
struct Tally {
    malformed: usize,
    lines: usize,
    untrue: usize,
    sincere_lines: usize,
    sincere_untrue: usize,
    repeated: usize,
    tau: usize,
    plans: [usize; 8],
    sizes: [usize; 3],
}

impl Tally {
    fn add(&mut self, passage: &Passage, edit: &Edit) {
        let truth = true_lines(&passage.profile);
        let untrue = edit.lines.iter().filter(|line| !truth.contains(*line)).count();
        self.lines += edit.lines.len();
        self.untrue += untrue;
        if edit.plan != Plan::Sloppy {
            self.sincere_lines += edit.lines.len();
            self.sincere_untrue += untrue;
        }
        let mut distinct: Vec<_> = edit.lines.iter().collect();
        distinct.sort_unstable();
        distinct.dedup();
        self.repeated += edit.lines.len() - distinct.len();
        self.tau += edit.lines.iter().filter(|line| asks_tau(passage, line)).count();
        self.plans[position(&PLANS, &edit.plan)] += 1;
        self.sizes[position(&SIZES, &edit.size)] += 1;
    }

    fn figures(&self, sampled: usize) -> EditFigures {
        EditFigures {
            sampled,
            malformed: share(self.malformed, sampled),
            untrue: share(self.untrue, self.lines),
            untrue_without_sloppy: share(self.sincere_untrue, self.sincere_lines),
            repeated: share(self.repeated, self.lines),
            tau_wordings: share(self.tau, self.lines),
            leaks: 0.0,
            lines: self.lines as f64 / (sampled - self.malformed).max(1) as f64,
            plans: self.plans,
            sizes: self.sizes,
        }
    }
}

fn asks_tau(passage: &Passage, line: &str) -> bool {
    let mut items = reward_items("", &passage.profile);
    items.extend(confirmation_items("", &passage.profile));
    items.iter().any(|item| line.contains(&item.question))
}

fn position<T: PartialEq>(all: &[T], one: &T) -> usize {
    all.iter().position(|other| other == one).unwrap_or_default()
}
