//! Percentile bootstrap of a mean. For paired designs pass the differences.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Interval, mean};

/// Resamples behind every interval that is shown.
pub const RESAMPLES: usize = 10_000;

/// Mean of `values` with its 95 % percentile interval over [`RESAMPLES`] resamples drawn by `seed`.
/// `None` for nothing or a value that is not finite.
pub fn bootstrap_mean(values: &[f64], seed: u64) -> Option<Interval> {
    let mean = mean(values)?;
    if values.iter().all(|value| *value == values[0]) {
        // Every resample is the same; no need to draw them.
        return Some(Interval { mean, low: mean, high: mean });
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut means: Vec<f64> = (0..RESAMPLES).map(|_| resampled(values, &mut rng)).collect();
    means.sort_by(f64::total_cmp);
    Some(Interval { mean, low: quantile(&means, 0.025), high: quantile(&means, 0.975) })
}

fn resampled(values: &[f64], rng: &mut ChaCha8Rng) -> f64 {
    let draw = |_| values[rng.random_range(0..values.len())];
    (0..values.len()).map(draw).sum::<f64>() / values.len() as f64
}

/// Quantile of sorted values with linear interpolation. There must be at least one.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_many_coin_flips_matches_the_normal_one() {
        let flips: Vec<f64> = (0..400).map(|i| f64::from(i % 2)).collect();
        let interval = bootstrap_mean(&flips, 7).unwrap();
        let half_width = 1.96 * (0.25_f64 / 400.0).sqrt();
        assert_eq!(interval.mean, 0.5);
        assert!((interval.low - (0.5 - half_width)).abs() < 0.005, "{interval:?}");
        assert!((interval.high - (0.5 + half_width)).abs() < 0.005, "{interval:?}");
    }

    #[test]
    fn the_same_seed_gives_the_same_interval() {
        let values = [0.1, 0.4, -0.2, 0.9, 0.3];
        assert_eq!(bootstrap_mean(&values, 1), bootstrap_mean(&values, 1));
        assert_ne!(bootstrap_mean(&values, 1), bootstrap_mean(&values, 2));
    }

    #[test]
    fn a_constant_has_no_width_and_nothing_has_no_interval() {
        let interval = bootstrap_mean(&[0.25; 9], 0).unwrap();
        assert_eq!((interval.low, interval.high), (0.25, 0.25));
        assert_eq!(bootstrap_mean(&[], 0), None);
        assert_eq!(bootstrap_mean(&[0.0, f64::NAN], 0), None);
    }
}
