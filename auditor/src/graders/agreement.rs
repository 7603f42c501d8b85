//! How far a grader agrees with a judge: counts, and what follows from them.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::statistics::{Interval, RESAMPLES, quantile};

/// Answers by what grader and judge say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Agreement {
    /// Right under both.
    pub both: u64,
    /// Right under the grader alone.
    pub grader_only: u64,
    /// Right under the judge alone.
    pub judge_only: u64,
    /// Wrong under both.
    pub neither: u64,
}

impl Agreement {
    /// Counts one answer.
    pub fn add(&mut self, grader: bool, judge: bool) {
        *match (grader, judge) {
            (true, true) => &mut self.both,
            (true, false) => &mut self.grader_only,
            (false, true) => &mut self.judge_only,
            (false, false) => &mut self.neither,
        } += 1;
    }

    /// Answers counted.
    pub fn n(&self) -> u64 {
        self.both + self.grader_only + self.judge_only + self.neither
    }

    /// Share on which they agree.
    pub fn accuracy(&self) -> Option<f64> {
        share(self.both + self.neither, self.n())
    }

    /// Cohen's κ: agreement beyond chance. None where both always say the same one thing.
    pub fn kappa(&self) -> Option<f64> {
        let grader = share(self.both + self.grader_only, self.n())?;
        let judge = share(self.both + self.judge_only, self.n())?;
        let chance = grader * judge + (1.0 - grader) * (1.0 - judge);
        let kappa = (self.accuracy()? - chance) / (1.0 - chance);
        kappa.is_finite().then_some(kappa)
    }

    /// Share right under the judge among those right under the grader.
    pub fn precision(&self) -> Option<f64> {
        share(self.both, self.both + self.grader_only)
    }

    /// Share right under the grader among those right under the judge.
    pub fn recall(&self) -> Option<f64> {
        share(self.both, self.both + self.judge_only)
    }
}

impl std::iter::Sum for Agreement {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |sum, part| Self {
            both: sum.both + part.both,
            grader_only: sum.grader_only + part.grader_only,
            judge_only: sum.judge_only + part.judge_only,
            neither: sum.neither + part.neither,
        })
    }
}

/// κ over independent units (passages, whose questions depend on each other) with the 95 % interval
/// of a percentile bootstrap over units. None where κ is undefined.
pub fn kappa_interval(units: &[Agreement], seed: u64) -> Option<Interval> {
    let mean = units.iter().copied().sum::<Agreement>().kappa()?;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut resampled: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| {
            let draw = (0..units.len()).map(|_| units[random.random_range(0..units.len())]);
            draw.sum::<Agreement>().kappa()
        })
        .collect();
    resampled.sort_by(f64::total_cmp);
    let ends =
        (!resampled.is_empty()).then(|| [0.025, 0.975].map(|share| quantile(&resampled, share)));
    ends.map(|[low, high]| Interval { mean, low, high })
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: Agreement = Agreement { both: 20, grader_only: 5, judge_only: 10, neither: 15 };

    #[test]
    fn the_figures_of_a_known_table_are_right() {
        assert_eq!(SOME.accuracy(), Some(0.7));
        assert!((SOME.kappa().unwrap() - 0.4).abs() < 1e-12);
        assert_eq!((SOME.precision(), SOME.recall()), (Some(0.8), Some(20.0 / 30.0)));
    }

    #[test]
    fn what_is_undefined_is_no_number() {
        let nothing = Agreement::default();
        assert_eq!((nothing.accuracy(), nothing.kappa(), nothing.precision()), (None, None, None));
        assert_eq!(Agreement { neither: 5, ..nothing }.kappa(), None);
        assert_eq!(kappa_interval(&[], 0), None);
    }

    #[test]
    fn an_interval_holds_its_estimate_and_is_the_same_again() {
        let units: Vec<Agreement> =
            (0..20).map(|index| Agreement { both: 20 + index, ..SOME }).collect();
        let interval = kappa_interval(&units, 1).unwrap();
        assert!(interval.low <= interval.mean && interval.mean <= interval.high);
        assert!(interval.low < interval.high);
        assert_eq!(kappa_interval(&units, 1), Some(interval));
    }
}
