//! Time as a dependency, so that tests decide what time it is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use seal_protocol::UnixSeconds;

/// Where a daemon takes the time from.
pub trait Clock: Send + Sync {
    /// Seconds since 1970.
    fn now(&self) -> UnixSeconds;
}

/// The machine's clock. A clock before 1970 reads as 0, at which no signed message is valid.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixSeconds {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        UnixSeconds(since.map_or(0, |elapsed| elapsed.as_secs()))
    }
}

/// A clock that stands still until it is told otherwise.
#[derive(Debug, Default)]
pub struct FixedClock(AtomicU64);

impl FixedClock {
    /// A clock that reads `now`.
    pub fn at(now: UnixSeconds) -> Self {
        Self(AtomicU64::new(now.0))
    }

    /// Moves the clock, forwards or back.
    pub fn set(&self, now: UnixSeconds) {
        self.0.store(now.0, Ordering::SeqCst);
    }
}

impl Clock for FixedClock {
    fn now(&self) -> UnixSeconds {
        UnixSeconds(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_clock_reads_what_it_was_set_to() {
        let clock = FixedClock::at(UnixSeconds(7));
        assert_eq!(clock.now(), UnixSeconds(7));
        clock.set(UnixSeconds(5));
        assert_eq!(clock.now(), UnixSeconds(5));
    }

    #[test]
    fn the_system_clock_is_past_the_year_2020() {
        assert!(SystemClock.now() > UnixSeconds(1_577_836_800));
    }
}
