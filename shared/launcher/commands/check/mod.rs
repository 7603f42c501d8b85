//! `seal check`: our rules beside what others recorded. Each file is read once, row by row.

mod graders;
mod judge;
mod policy;
mod reward;
mod rows;
mod rules;
mod selection;
mod sequences;
mod thresholds;

use std::path::Path;

use serde::Serialize;

use crate::cli::{Check, Global};
use crate::exit::{Ended, Failure};
use crate::text::percent;

/// Differences that are printed; `--json` has them all.
const SHOWN: usize = 10;

pub(crate) async fn check(global: &Global, check: &Check) -> Result<Option<Ended>, Failure> {
    match check {
        Check::Selection { file, selections } => {
            selection::check(global, file, selections.as_deref()).await
        }
        Check::Sequences { file } => sequences::check(global, file).await,
        Check::Rules { file, rules, tau } => {
            rules::check(global, file, rules, tau.as_deref()).await
        }
        Check::Policy { bundle, inputs } => policy::check(global, bundle, inputs),
        Check::Judge { config, file } => judge::check(global, config, file.as_deref()).await,
        Check::Reward { contexts, seed, begin } => {
            reward::check(global, *contexts as usize, *seed, begin)
        }
        Check::Graders { file, passages } => {
            graders::check(global, file, passages.as_deref()).await
        }
    }
}

/// How many of the compared came out as recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
struct Count {
    compared: u64,
    equal: u64,
}

impl Count {
    fn add(&mut self, equal: bool) {
        self.compared += 1;
        self.equal += u64::from(equal);
    }

    /// Everything there was to compare is equal, and there was something.
    fn is_complete(self) -> bool {
        self.compared > 0 && self.equal == self.compared
    }

    /// Cells of a table: `50 of 50`, `100.0 %`.
    fn cells(self) -> [String; 2] {
        let share = self.equal as f64 / self.compared as f64;
        let share = if self.compared == 0 { "–".to_owned() } else { percent(share) };
        [format!("{} of {}", self.equal, self.compared), share]
    }
}

/// Ends with 1 where agreement is not complete, and says so.
fn ending(complete: bool, file: &Path) -> Option<Ended> {
    if complete {
        return None;
    }
    eprintln!("agreement with `{}` is not complete", file.display());
    Some(Ended::Failed)
}
