//! How many requests a second one bearer of a certificate may send.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::tls::Identity;

/// How many seconds' worth may come at once.
const BURST_S: f64 = 2.0;

/// A bucket for each name that a CA has signed, so there are no more of them than certificates.
pub(super) struct Rates {
    per_s: f64,
    buckets: Mutex<HashMap<Identity, Bucket>>,
}

struct Bucket {
    requests: f64,
    filled: Instant,
}

impl Rates {
    pub(super) fn new(per_s: u32) -> Self {
        Self { per_s: per_s.into(), buckets: Mutex::default() }
    }

    /// Whether one more request of `caller` may be served now.
    pub(super) fn take(&self, caller: &Identity, now: Instant) -> bool {
        let most = self.per_s * BURST_S;
        // What is in there is right after every step, a panic between two of them included.
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let full = || Bucket { requests: most, filled: now };
        let bucket = buckets.entry(caller.clone()).or_insert_with(full);
        let waited = now.saturating_duration_since(bucket.filled).as_secs_f64();
        bucket.requests = waited.mul_add(self.per_s, bucket.requests).min(most);
        bucket.filled = now;
        let served = bucket.requests >= 1.0;
        if served {
            bucket.requests -= 1.0;
        }
        served
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_caller_gets_its_burst_and_then_its_rate() {
        let rates = Rates::new(10);
        let [one, other]: [Identity; 2] =
            ["a", "b"].map(|id| format!("spiffe://seal.test/conductor/{id}").parse().unwrap());
        let begun = Instant::now();
        let served = |caller, now| (0..100).filter(|_| rates.take(caller, now)).count();
        assert_eq!(served(&one, begun), 20);
        assert_eq!(served(&other, begun), 20, "one caller's haste is not another's");
        assert_eq!(served(&one, begun + Duration::from_millis(500)), 5);
        assert_eq!(served(&one, begun + Duration::from_secs(3600)), 20, "no more than a burst");
        assert_eq!(served(&one, begun), 0, "a clock that goes back gives nothing");
    }
}
