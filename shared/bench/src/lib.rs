//! The speed of the inner loop: many short LoRA fine-tunes of one base, each asked some questions.
//!
//! **Invariant:** both sides of a comparison do the same work: the same weights, token ids and
//! number of steps, without padding; their first losses must agree or the run is refused.
//! **Invariant:** blocks of both sides alternate within one run, so that a machine that slows down
//! slows both; what is reported is the median of the rounds' ratios, with their spread.
//! Absent: quality of any kind. The weights are random.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod flops;
mod machine;
mod ours;
mod paper_round;
mod peer;
mod report;
mod run;
mod shape;
mod target;
mod work;

pub use machine::Machine;
pub use paper_round::{RoundReport, RoundSettings, paper_round};
pub use report::{Comparison, Report, Side, Spread};
pub use run::{Settings, run};
pub use shape::Shape;
pub use target::Target;
