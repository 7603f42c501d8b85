//! Exact test on discordant pairs (McNemar, sign test).

use super::binomial_at_least;

/// One item graded under both conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairedOutcome {
    /// Right under the base.
    pub base: bool,
    /// Right under the candidate.
    pub candidate: bool,
}

/// The pairs that differ; the others carry no evidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Discordant {
    /// Wrong before, right after.
    pub wins: u64,
    /// Right before, wrong after.
    pub losses: u64,
}

impl Discordant {
    /// Counts the pairs that differ.
    pub fn count(pairs: impl IntoIterator<Item = PairedOutcome>) -> Self {
        pairs.into_iter().fold(Self::default(), Self::with)
    }

    fn with(self, pair: PairedOutcome) -> Self {
        Self {
            wins: self.wins + u64::from(pair.candidate && !pair.base),
            losses: self.losses + u64::from(pair.base && !pair.candidate),
        }
    }

    /// One-sided p of "no gain": at least this many wins by coin flips. 1 without discordant pairs.
    pub fn p_gain(self) -> f64 {
        binomial_at_least(self.wins, self.wins + self.losses, 0.5)
    }

    /// One-sided p of "no loss".
    pub fn p_loss(self) -> f64 {
        binomial_at_least(self.losses, self.wins + self.losses, 0.5)
    }

    /// Two-sided exact McNemar p.
    pub fn p_two_sided(self) -> f64 {
        (2.0 * self.p_gain().min(self.p_loss())).min(1.0)
    }

    /// Whether the lower bound of the gain at level `alpha` is above zero.
    pub fn gain_proven(self, alpha: f64) -> bool {
        self.p_gain() <= alpha
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn discordant(wins: u64, losses: u64) -> Discordant {
        Discordant { wins, losses }
    }

    #[test]
    fn only_discordant_pairs_count() {
        let pair = |base, candidate| PairedOutcome { base, candidate };
        let pairs = [pair(true, true), pair(false, false), pair(false, true), pair(true, false)];
        assert_eq!(Discordant::count(pairs), discordant(1, 1));
    }

    #[test]
    fn five_wins_without_a_loss_are_the_fewest_that_prove_a_gain_at_five_percent() {
        assert!(discordant(5, 0).gain_proven(0.05));
        assert!(!discordant(4, 0).gain_proven(0.05));
        assert!(!discordant(0, 0).gain_proven(0.999));
    }

    #[test]
    fn mcnemar_is_symmetric() {
        assert_eq!(discordant(8, 2).p_two_sided(), discordant(2, 8).p_two_sided());
        // 2 · P(X ≥ 8 | 10, ½) = 2 · 56 / 1024.
        assert!((discordant(8, 2).p_two_sided() - 112.0 / 1024.0).abs() < 1e-12);
        assert_eq!(discordant(0, 0).p_two_sided(), 1.0);
    }

    #[test]
    fn an_alpha_that_is_nan_proves_nothing() {
        assert!(!discordant(50, 0).gain_proven(f64::NAN));
    }
}
