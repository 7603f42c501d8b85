//! Rows of a JSON Lines file, one at a time, with progress; a bad row ends the reading with its place.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use serde::de::DeserializeOwned;

use crate::exit::{Ended, Failure, OrEnd};
use crate::progress::Style;

/// Longest line that is read.
const LINE_LIMIT_BYTES: u64 = 16 << 20;
/// Rows between two moments in which Ctrl-C is heard.
const ROWS_PER_TURN: u64 = 64;
/// Time between two lines of progress where there is no terminal.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// Hands every row of `file` to `take`, with its line number. Blank lines are skipped.
///
/// # Errors
/// A file that cannot be read; the first line that is too long, no UTF-8, no JSON of the shape, or
/// refused by `take`.
pub(super) async fn each<T: DeserializeOwned>(
    file: &Path,
    quiet: bool,
    mut take: impl FnMut(u64, T) -> Result<(), String>,
) -> Result<(), Failure> {
    let unreadable = || format!("cannot read `{}`", file.display());
    let opened = File::open(file).with_context(unreadable).or_end(Ended::BadConfig)?;
    let total = opened.metadata().with_context(unreadable)?.len();
    let mut reader = BufReader::new(opened);
    let mut progress = Progress::new(file, total, quiet);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let limited = (&mut reader).take(LINE_LIMIT_BYTES + 1).read_until(b'\n', &mut line);
        let read = limited.with_context(unreadable)? as u64;
        if read == 0 {
            break;
        }
        row(&line)
            .and_then(|row| row.map_or(Ok(()), |row| take(number, row)))
            .map_err(|reason| anyhow!("{}:{number}: {reason}", file.display()))
            .or_end(Ended::BadConfig)?;
        progress.advance(read);
        if number % ROWS_PER_TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

fn row<T: DeserializeOwned>(line: &[u8]) -> Result<Option<T>, String> {
    if line.len() as u64 > LINE_LIMIT_BYTES {
        return Err(format!("the line is longer than {LINE_LIMIT_BYTES} bytes"));
    }
    let text = std::str::from_utf8(line)
        .map_err(|error| format!("no UTF-8 from byte {}", error.valid_up_to() + 1))?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    serde_json::from_str(text).map(Some).map_err(|error| reason(&error))
}

/// The reason alone: the line within a line says nothing.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place) {
        Some(reason) => format!("{reason} (column {})", error.column()),
        None => text,
    }
}

/// A bar on a terminal, a line now and then elsewhere.
enum Progress {
    Bar(ProgressBar),
    Lines { name: String, total: u64, done: u64, begun: Instant, told: Instant },
    Quiet,
}

impl Progress {
    fn new(file: &Path, total: u64, quiet: bool) -> Self {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match Style::choose(quiet) {
            Style::Quiet => Self::Quiet,
            Style::Lines => {
                let begun = Instant::now();
                Self::Lines { name, total, done: 0, begun, told: begun }
            }
            Style::Bars => {
                let style = ProgressStyle::with_template(
                    "  {prefix} {bar:28} {bytes}/{total_bytes} {eta:>5} left",
                );
                let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
                let bar = ProgressBar::new(total).with_style(style).with_prefix(name);
                Self::Bar(bar)
            }
        }
    }

    fn advance(&mut self, bytes: u64) {
        match self {
            Self::Bar(bar) => bar.inc(bytes),
            Self::Lines { name, total, done, begun, told } => {
                *done += bytes;
                if told.elapsed() >= TELL_EVERY {
                    *told = Instant::now();
                    let share = *done * 100 / (*total).max(1);
                    eprintln!("[{:>4} s] {name}: {share} %", begun.elapsed().as_secs());
                }
            }
            Self::Quiet => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
