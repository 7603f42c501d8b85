//! What the log says of refused peers: a line a second at most, for they choose how many there are.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Notices(Mutex<Said>);

#[derive(Default)]
struct Said {
    last: Option<Instant>,
    left_out: u64,
}

impl Notices {
    pub(super) fn refused(&self, from: IpAddr, reason: &str) {
        let left_out = self.0.lock().unwrap_or_else(PoisonError::into_inner).due(Instant::now());
        if let Some(left_out) = left_out {
            tracing::warn!(peer.address = %from, left_out, "refused a connection from {from}: {reason}");
        }
    }
}

impl Said {
    /// If a line is due: how many were left out since the last one.
    fn due(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < PAUSE) {
            self.left_out += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_a_second_that_counts_the_rest() {
        let mut said = Said::default();
        let begun = Instant::now();
        assert_eq!(said.due(begun), Some(0));
        assert!((0..1000).all(|_| said.due(begun).is_none()));
        assert_eq!(said.due(begun + PAUSE), Some(1000));
        assert_eq!(said.due(begun + 3 * PAUSE), Some(0));
    }
}
