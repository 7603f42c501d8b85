//! The circuit breaker: an endpoint that only fails is left alone for a while, then tried once, and
//! given up after some such tries.
//!
//! **Invariant:** pure; the caller brings the time.

use std::time::{Duration, Instant};

/// When it opens, for how long, and how often before it stays open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BreakerSettings {
    /// Failures in a row that open it.
    pub(crate) after: u32,
    /// Time before a trial.
    pub(crate) pause: Duration,
    /// Openings until it is over.
    pub(crate) openings: u32,
}

/// What a request may do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permit {
    /// Go.
    Go,
    /// Ask again after this long.
    Wait(Duration),
    /// No more requests.
    Over,
}

/// State of the circuit.
#[derive(Debug)]
pub(crate) struct Breaker {
    settings: BreakerSettings,
    failures: u32,
    openings: u32,
    open_until: Option<Instant>,
    trial: bool,
}

impl Breaker {
    pub(crate) fn new(settings: BreakerSettings) -> Self {
        Self { settings, failures: 0, openings: 0, open_until: None, trial: false }
    }

    /// Asked before each request. After a pause one request goes as a trial and the others wait.
    pub(crate) fn permit(&mut self, now: Instant) -> Permit {
        if self.is_over() {
            return Permit::Over;
        }
        match self.open_until {
            None => Permit::Go,
            Some(until) if now < until => Permit::Wait(until - now),
            Some(_) if self.trial => Permit::Wait(self.settings.pause / 4),
            Some(_) => {
                self.trial = true;
                Permit::Go
            }
        }
    }

    /// Whether it stays open.
    pub(crate) fn is_over(&self) -> bool {
        self.openings >= self.settings.openings
    }

    /// A request was answered.
    pub(crate) fn succeeded(&mut self) {
        *self = Self::new(self.settings);
    }

    /// A request failed. Late failures of requests that left before it opened change nothing.
    pub(crate) fn failed(&mut self, now: Instant) {
        self.failures += 1;
        let trial_failed = std::mem::take(&mut self.trial);
        let opens = self.open_until.is_none() && self.failures >= self.settings.after;
        if trial_failed || opens {
            self.openings += 1;
            self.open_until = Some(now + self.settings.pause);
        }
    }

    /// A request ended without a word for or against the endpoint.
    pub(crate) fn undecided(&mut self) {
        self.trial = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(30);

    fn breaker() -> Breaker {
        Breaker::new(BreakerSettings { after: 3, pause: PAUSE, openings: 2 })
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_trial_closes_it() {
        let (mut breaker, start) = (breaker(), Instant::now());
        for _ in 0..2 {
            breaker.failed(start);
        }
        breaker.succeeded();
        for _ in 0..3 {
            assert_eq!(breaker.permit(start), Permit::Go);
            breaker.failed(start);
        }
        assert_eq!(breaker.permit(start), Permit::Wait(PAUSE));
        assert_eq!(breaker.permit(start + PAUSE), Permit::Go);
        assert_eq!(breaker.permit(start + PAUSE), Permit::Wait(PAUSE / 4), "one trial at a time");
        breaker.succeeded();
        assert_eq!(breaker.permit(start + PAUSE), Permit::Go);
    }

    #[test]
    fn failed_trials_end_it() {
        let (mut breaker, start) = (breaker(), Instant::now());
        (0..3).for_each(|_| breaker.failed(start));
        // These left before it opened.
        (0..5).for_each(|_| breaker.failed(start));
        assert_eq!(breaker.permit(start + PAUSE), Permit::Go);
        breaker.failed(start + PAUSE);
        assert!(breaker.is_over());
        assert_eq!(breaker.permit(start + 3 * PAUSE), Permit::Over);
    }

    #[test]
    fn a_trial_that_says_nothing_leaves_room_for_another() {
        let (mut breaker, start) = (breaker(), Instant::now());
        (0..3).for_each(|_| breaker.failed(start));
        assert_eq!(breaker.permit(start + PAUSE), Permit::Go);
        breaker.undecided();
        assert_eq!(breaker.permit(start + PAUSE), Permit::Go);
    }
}
