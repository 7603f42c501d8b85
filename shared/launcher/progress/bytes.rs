//! Progress of a download.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use seal_hub::Event;
use seal_model::fit::human;

use super::Style;

/// Where there is no terminal, a line comes at most so often.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Tells how far a download is.
pub(crate) struct ByteProgress {
    style: Style,
    what: String,
    bar: ProgressBar,
    state: Mutex<State>,
}

struct State {
    total: u64,
    /// When the last line was written.
    told: Instant,
}

impl ByteProgress {
    pub(crate) fn new(style: Style, what: String) -> Self {
        let template = "  {bar:28} {bytes:>10} of {total_bytes} {bytes_per_sec:>12} {eta:>5} left";
        let look = ProgressStyle::with_template(template);
        let bar =
            ProgressBar::hidden().with_style(look.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let state = Mutex::new(State { total: 0, told: Instant::now() });
        Self { style, what: crate::text::printable(&what), bar, state }
    }

    /// Takes part in what happens.
    pub(crate) fn tell(&self, event: Event) {
        match event {
            Event::Resolved(commit) => self.say(&format!("{} is commit {commit}", self.what)),
            Event::Waiting(file) => self.say(&format!("another process fetches {file}; waiting")),
            Event::Planned { bytes, present } => self.planned(bytes, present),
            Event::Progress(now) => self.moved(now),
        }
    }

    fn planned(&self, bytes: u64, present: u64) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).total = bytes;
        if bytes == present {
            return;
        }
        self.say(&format!("fetching {} of {}", human(bytes - present), human(bytes)));
        self.bar.set_length(bytes);
        self.bar.set_position(present);
        // What was there before says nothing about how long the rest takes.
        self.bar.reset_eta();
        if self.style == Style::Bars {
            self.bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
        }
    }

    fn moved(&self, now: u64) {
        self.bar.set_position(now);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if self.style == Style::Lines && state.told.elapsed() >= LINE_EVERY {
            state.told = Instant::now();
            let share = now.saturating_mul(100) / state.total.max(1);
            eprintln!("{share} %: {} of {}", human(now), human(state.total));
        }
    }

    /// A line of talk.
    pub(crate) fn say(&self, text: &str) {
        if self.style != Style::Quiet {
            self.bar.suspend(|| eprintln!("{text}"));
        }
    }

    /// Everything is there.
    pub(crate) fn done(&self) {
        self.bar.finish_and_clear();
    }
}
