//! Rate limits on our side: requests and tokens per minute, spread evenly.
//!
//! **Invariant:** pure; the caller brings the time. Over any minute no more leaves than one minute's
//! allowance and the burst that one request may be.

use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

/// The next moment at which a request may leave.
#[derive(Debug)]
pub(crate) struct Pace {
    requests_per_minute: Option<u32>,
    tokens_per_minute: Option<u64>,
    next: Option<Instant>,
}

impl Pace {
    pub(crate) fn new(requests_per_minute: Option<u32>, tokens_per_minute: Option<u64>) -> Self {
        Self { requests_per_minute, tokens_per_minute, next: None }
    }

    /// Takes a place in the line for a request of so many tokens; returns how long to wait for it.
    pub(crate) fn place(&mut self, tokens: u64, now: Instant) -> Duration {
        let leaves = self.next.map_or(now, |next| next.max(now));
        let by_requests = share(1, self.requests_per_minute.map(u64::from));
        let by_tokens = share(tokens, self.tokens_per_minute);
        self.next = Some(leaves + by_requests.max(by_tokens));
        leaves - now
    }
}

/// The share of a minute that `part` of its allowance takes.
fn share(part: u64, allowance: Option<u64>) -> Duration {
    match allowance {
        Some(allowance) if allowance > 0 => {
            Duration::from_secs_f64(MINUTE.as_secs_f64() * part as f64 / allowance as f64)
        }
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_leave_evenly_and_no_limit_means_at_once() {
        let now = Instant::now();
        let mut pace = Pace::new(Some(120), None);
        let waits: Vec<u128> = (0..4).map(|_| pace.place(999, now).as_millis()).collect();
        assert_eq!(waits, [0, 500, 1000, 1500]);
        assert_eq!(pace.place(1, now + MINUTE), Duration::ZERO, "time that passed is not saved up");
        let mut free = Pace::new(None, None);
        assert!((0..9).all(|_| free.place(1 << 40, now).is_zero()));
    }

    #[test]
    fn the_stricter_limit_counts() {
        let now = Instant::now();
        let mut pace = Pace::new(Some(600), Some(60_000));
        assert_eq!(pace.place(2000, now), Duration::ZERO);
        assert_eq!(pace.place(10, now), Duration::from_secs(2));
        assert_eq!(pace.place(10, now), Duration::from_millis(2100));
    }
}
