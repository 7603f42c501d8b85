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

/// Any statistic of `units` independent units with its 95 % percentile interval. `statistic` is given the
/// units of a resample, some of them several times; resamples for which it is undefined are left out.
/// `None` where it is undefined for the units as they are.
pub fn bootstrap_units(
    units: usize,
    seed: u64,
    statistic: impl Fn(&[usize]) -> Option<f64>,
) -> Option<Interval> {
    let all: Vec<usize> = (0..units).collect();
    let estimate = statistic(&all).filter(|value| value.is_finite())?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = || (0..units).map(|_| rng.random_range(0..units)).collect::<Vec<_>>();
    let mut drawn: Vec<f64> = (0..RESAMPLES).filter_map(|_| statistic(&draw())).collect();
    drawn.retain(|value| value.is_finite());
    drawn.sort_by(f64::total_cmp);
    let end = |share| if drawn.is_empty() { estimate } else { quantile(&drawn, share) };
    Some(Interval { mean: estimate, low: end(0.025), high: end(0.975) })
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
    fn units_give_the_interval_of_their_mean_and_of_any_other_statistic() {
        let flips: Vec<f64> = (0..400).map(|i| f64::from(i % 2)).collect();
        let of = |drawn: &[usize]| mean(&drawn.iter().map(|at| flips[*at]).collect::<Vec<_>>());
        let (units, plain) =
            (bootstrap_units(400, 3, of).unwrap(), bootstrap_mean(&flips, 7).unwrap());
        assert!((units.low - plain.low).abs() < 0.005 && (units.high - plain.high).abs() < 0.005);
        let twice = bootstrap_units(400, 3, |drawn| Some(2.0 * of(drawn)?)).unwrap();
        assert_eq!((twice.mean, twice.low), (2.0 * units.mean, 2.0 * units.low));
        assert_eq!(bootstrap_units(0, 3, of), None);
    }

    #[test]
    fn a_constant_has_no_width_and_nothing_has_no_interval() {
        let interval = bootstrap_mean(&[0.25; 9], 0).unwrap();
        assert_eq!((interval.low, interval.high), (0.25, 0.25));
        assert_eq!(bootstrap_mean(&[], 0), None);
        assert_eq!(bootstrap_mean(&[0.0, f64::NAN], 0), None);
    }
}
