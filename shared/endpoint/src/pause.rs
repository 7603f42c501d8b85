//! How long to wait before an order is asked again: exponential with full jitter, and never less than
//! the endpoint asked for.
//!
//! Source: M. Brooker, "Exponential backoff and jitter" (2015); RFC 9110, section 10.2.3.

use std::time::{Duration, SystemTime};

use rand::Rng;
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// The pause before attempt `attempt + 1`, drawn from `0..first · 2^(attempt - 1)`, capped at
/// `longest`, on top of what the endpoint asked for. `None`: it asked for more than `longest`.
pub(crate) fn pause(
    attempt: u32,
    asked: Option<Duration>,
    first: Duration,
    longest: Duration,
    dice: &mut impl Rng,
) -> Option<Duration> {
    let asked = asked.unwrap_or_default();
    if asked > longest {
        return None;
    }
    let doubled = first.saturating_mul(1 << attempt.saturating_sub(1).min(20));
    let spread = doubled.min(longest).as_secs_f64();
    Some(asked + Duration::from_secs_f64(dice.random::<f64>() * spread))
}

/// `retry-after-ms` (an extension), else `Retry-After` in seconds or as a date.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |text: &str| text.parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0);
    if let Some(ms) = text("retry-after-ms").and_then(number) {
        return Duration::try_from_secs_f64(ms / 1000.0).ok();
    }
    let value = text(RETRY_AFTER.as_str())?;
    match number(value) {
        Some(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        None => {
            let date = httpdate::parse_http_date(value).ok()?;
            Some(date.duration_since(now).unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    const FIRST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(60);

    #[test]
    fn pauses_double_are_spread_from_zero_and_end_at_the_cap() {
        let mut dice = ChaCha8Rng::seed_from_u64(1);
        let mut draw = |attempt| {
            let draws = (0..400).filter_map(|_| pause(attempt, None, FIRST, LONGEST, &mut dice));
            let draws: Vec<f64> = draws.map(|pause| pause.as_secs_f64()).collect();
            let mean = draws.iter().sum::<f64>() / 400.0;
            (mean, draws.iter().copied().fold(0.0, f64::max))
        };
        for (attempt, most) in [(1, 0.5), (2, 1.0), (4, 4.0), (12, 60.0), (40, 60.0)] {
            let (mean, largest) = draw(attempt);
            assert!(largest <= most && largest > 0.9 * most, "{attempt}: {largest}");
            assert!((mean / most - 0.5).abs() < 0.07, "{attempt}: {mean}");
        }
    }

    #[test]
    fn what_the_endpoint_asks_for_is_the_least_and_too_much_is_given_up() {
        let mut dice = ChaCha8Rng::seed_from_u64(1);
        let asked = Some(Duration::from_secs(7));
        let waited = pause(1, asked, FIRST, LONGEST, &mut dice).unwrap();
        assert!(waited >= Duration::from_secs(7) && waited < Duration::from_millis(7500));
        let asked = Some(Duration::from_secs(61));
        assert_eq!(pause(1, asked, FIRST, LONGEST, &mut dice), None);
    }

    #[test]
    fn every_form_of_retry_after_reads() {
        let now = httpdate::parse_http_date("Fri, 27 Nov 2026 06:00:00 GMT").unwrap();
        let read = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            retry_after(&headers, now)
        };
        let seconds = |n| Some(Duration::from_secs_f64(n));
        assert_eq!(read("retry-after", "3"), seconds(3.0));
        assert_eq!(read("retry-after", " 1.5 "), seconds(1.5));
        assert_eq!(read("retry-after-ms", "250"), seconds(0.25));
        assert_eq!(read("retry-after", "Fri, 27 Nov 2026 06:00:30 GMT"), seconds(30.0));
        assert_eq!(read("retry-after", "Fri, 27 Nov 2026 05:00:00 GMT"), seconds(0.0));
        for odd in ["", "soon", "-1", "inf", "1e400"] {
            assert_eq!(read("retry-after", odd), None, "{odd}");
        }
    }
}
