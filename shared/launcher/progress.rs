//! Progress on the terminal: one line per lane with the time left; plain lines where there is no
//! terminal.

pub(crate) mod bytes;

use std::collections::{HashMap, HashSet};
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use seal_conductor::driver::{Event, Watcher};
use seal_conductor::plan::{Lane, Task};

/// How progress is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Bars that move.
    Bars,
    /// A line per finished stage and every tenth of the work.
    Lines,
    /// Nothing.
    Quiet,
}

impl Style {
    /// Bars on a terminal, lines elsewhere, nothing when asked.
    pub(crate) fn choose(quiet: bool) -> Self {
        let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
        match (quiet, std::io::stderr().is_terminal() && !dumb) {
            (true, _) => Self::Quiet,
            (false, true) => Self::Bars,
            (false, false) => Self::Lines,
        }
    }
}

/// A watcher for the conductor.
pub(crate) fn watcher(style: Style, tasks: &[Task]) -> Watcher {
    match style {
        Style::Quiet => Arc::new(|_| {}),
        Style::Lines => lines(tasks),
        Style::Bars => bars(tasks),
    }
}

fn lane_name(lane: Lane) -> &'static str {
    match lane {
        Lane::Teacher => "teacher",
        Lane::Student => "student",
        Lane::Auditor => "auditor",
    }
}

fn lines(tasks: &[Task]) -> Watcher {
    let begun = Instant::now();
    let total = tasks.len();
    let open: HashMap<String, usize> = tasks.iter().fold(HashMap::new(), |mut open, task| {
        *open.entry(task.stage.clone()).or_default() += 1;
        open
    });
    let state = Mutex::new((0_usize, 0_usize, open, HashSet::new()));
    Arc::new(move |event| {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let (done, told, open, seen) = &mut *state;
        match event {
            Event::Progress { task, stage, lane, .. } => {
                if seen.insert(task) && seen.len() % 8 == 1 {
                    eprintln!(
                        "[{:>4} s] {} works on {stage}",
                        begun.elapsed().as_secs(),
                        lane_name(lane)
                    );
                }
            }
            Event::Finished { stage, .. } => {
                *done += 1;
                let left = open.get_mut(&stage).map_or(1, |left| {
                    *left -= 1;
                    *left
                });
                if left == 0 || *done * 10 / total > *told {
                    *told = *done * 10 / total;
                    let state = if left == 0 { "done" } else { "under way" };
                    eprintln!(
                        "[{:>4} s] {stage} {state}; {done} of {total} tasks",
                        begun.elapsed().as_secs()
                    );
                }
            }
        }
    })
}

fn bars(tasks: &[Task]) -> Watcher {
    let multi = MultiProgress::new();
    let style = ProgressStyle::with_template(
        "  {prefix:<8} {bar:28} {pos:>3}/{len:<3} {wide_msg} {eta:>5} left",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bars: HashMap<&'static str, ProgressBar> = [Lane::Teacher, Lane::Student, Lane::Auditor]
        .map(|lane| {
            let own = tasks.iter().filter(|task| task.lane == lane).count() as u64;
            let bar = multi.add(ProgressBar::new(own).with_style(style.clone()));
            bar.set_prefix(lane_name(lane));
            bar.enable_steady_tick(std::time::Duration::from_millis(500));
            (lane_name(lane), bar)
        })
        .into();
    Arc::new(move |event| match event {
        Event::Progress { stage, lane, done, total, .. } => {
            let bar = &bars[lane_name(lane)];
            if total > 0 {
                bar.set_message(format!("{stage} {done}/{total}"));
            } else {
                bar.set_message(stage);
            }
        }
        Event::Finished { lane, resumed, .. } => {
            let bar = &bars[lane_name(lane)];
            bar.inc(1);
            if resumed {
                // Work of an earlier process says nothing about how long the rest takes.
                bar.reset_eta();
            }
            if bar.length() == Some(bar.position()) {
                bar.finish_with_message("done");
            }
        }
    })
}
