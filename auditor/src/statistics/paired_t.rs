//! One-sided paired t test, for the dense score over few items.
//!
//! A percentile bootstrap of five items covers far less than it says; the t interval is honest
//! there under near-normal differences.

use statrs::distribution::{ContinuousCDF, StudentsT};

use super::mean;

/// Mean difference with its standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairedT {
    /// Mean of the differences.
    pub mean: f64,
    /// Standard error of that mean.
    pub standard_error: f64,
    /// Degrees of freedom.
    pub freedom: f64,
}

impl PairedT {
    /// From differences candidate − base; `None` for fewer than two or a value that is not finite.
    pub fn of(differences: &[f64]) -> Option<Self> {
        let mean = mean(differences)?;
        let freedom = differences.len() as f64 - 1.0;
        let squares: f64 = differences.iter().map(|d| (d - mean).powi(2)).sum();
        let standard_error = (squares / freedom / differences.len() as f64).sqrt();
        (freedom >= 1.0 && standard_error.is_finite()).then_some(Self {
            mean,
            standard_error,
            freedom,
        })
    }

    /// One-sided lower bound of the mean difference at level `alpha`; `None` unless 0 < alpha < 1.
    pub fn lower_bound(&self, alpha: f64) -> Option<f64> {
        if !(alpha > 0.0 && alpha < 1.0) {
            return None;
        }
        let t = StudentsT::new(0.0, 1.0, self.freedom).ok()?;
        Some(self.mean - t.inverse_cdf(1.0 - alpha) * self.standard_error)
    }

    /// Whether that bound is above zero.
    pub fn gain_proven(&self, alpha: f64) -> bool {
        self.lower_bound(alpha).is_some_and(|bound| bound > 0.0)
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn the_bound_uses_the_tabulated_quantile() {
        // t(0.95; 4) = 2.131847 in every printed table.
        let test = PairedT::of(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        let expected = 3.0 - 2.131_847 * (2.5_f64 / 5.0).sqrt();
        assert!((test.lower_bound(0.05).unwrap() - expected).abs() < 1e-5);
        assert!(test.gain_proven(0.05));
    }

    #[test]
    fn too_little_or_broken_data_is_no_evidence() {
        assert_eq!(PairedT::of(&[9.0]), None);
        assert_eq!(PairedT::of(&[1.0, f64::NAN]), None);
        let test = PairedT::of(&[1.0, 2.0, 3.0]).unwrap();
        for alpha in [0.0, 1.0, f64::NAN, -0.1] {
            assert!(!test.gain_proven(alpha), "alpha {alpha}");
        }
    }

    #[test]
    fn differences_without_any_spread_prove_a_gain_only_when_positive() {
        assert!(PairedT::of(&[0.5; 4]).unwrap().gain_proven(0.05));
        assert!(!PairedT::of(&[0.0; 4]).unwrap().gain_proven(0.05));
        assert!(!PairedT::of(&[-0.5; 4]).unwrap().gain_proven(0.05));
    }

    #[test]
    fn edits_without_effect_are_proven_no_more_often_than_alpha() {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let mut noise = || (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
        let proven = (0..4000)
            .filter(|_| {
                let differences: Vec<f64> = (0..5).map(|_| noise()).collect();
                PairedT::of(&differences).unwrap().gain_proven(0.05)
            })
            .count();
        // 0.05 · 4000 = 200 expected, standard deviation 14.
        assert!((150..250).contains(&proven), "{proven}");
    }
}
