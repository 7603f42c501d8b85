//! Binomial tail and Wilson interval.

use statrs::distribution::{Binomial, DiscreteCDF};

use super::Interval;

/// Standard normal 97.5 % quantile.
const Z_95: f64 = 1.959_963_984_540_054;

/// P(X ≥ `successes`) for X ~ Binomial(`n`, `p`), exact. 1 where `p` is no probability.
pub fn binomial_at_least(successes: u64, n: u64, p: f64) -> f64 {
    match (successes, Binomial::new(p, n)) {
        (0, _) | (_, Err(_)) => 1.0,
        (_, Ok(binomial)) => binomial.sf(successes - 1),
    }
}

/// Share `successes / n` with its 95 % Wilson score interval; `None` without trials.
pub fn wilson(successes: u64, n: u64) -> Option<Interval> {
    if n == 0 || successes > n {
        return None;
    }
    let (n, z2) = (n as f64, Z_95 * Z_95);
    let share = successes as f64 / n;
    let centre = (share + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z_95 * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt() / (1.0 + z2 / n);
    Some(Interval { mean: share, low: (centre - half).max(0.0), high: (centre + half).min(1.0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_exact() {
        assert!((binomial_at_least(5, 5, 0.5) - 1.0 / 32.0).abs() < 1e-12);
        assert!((binomial_at_least(4, 5, 0.5) - 6.0 / 32.0).abs() < 1e-12);
        assert_eq!(binomial_at_least(0, 0, 0.5), 1.0);
        assert_eq!(binomial_at_least(1, 5, f64::NAN), 1.0);
    }

    #[test]
    fn wilson_stays_inside_the_unit_interval_and_has_width_at_the_ends() {
        let all = wilson(20, 20).unwrap();
        assert_eq!(all.high, 1.0);
        // 20 of 20 leaves about 16 % of failures possible: z² / (n + z²).
        assert!((all.low - 20.0 / (20.0 + Z_95 * Z_95)).abs() < 1e-12);
        assert_eq!(wilson(0, 0), None);
    }
}
