//! What a run costs in memory and survives, and what no result depends on.

use crate::saved::SaveError;
use std::num::NonZeroU64;
use std::path::PathBuf;

/// Settings that change no bit of what is trained.
#[derive(Clone, Copy, Default)]
pub struct TrainOptions<'a> {
    /// Keep only the input of each layer during a forward and compute the rest again in the
    /// backward: about a third more arithmetic for a fraction of the memory.
    pub gradient_checkpointing: bool,
    /// Where unfinished runs are kept; absent: nowhere.
    pub saves: Option<Saves<'a>>,
}

/// Where unfinished runs are kept, so that a killed one goes on from its last save.
#[derive(Clone, Copy)]
pub struct Saves<'a> {
    /// Optimizer steps between two saves.
    pub every_steps: NonZeroU64,
    /// What fixes the result beside recipe, sequences, seed and this crate's version: the digest
    /// of the base. A file saved under another identity is not used.
    pub identity: &'a [u8],
    /// The file of each job. Its folder must exist. Removing it afterwards is the caller's part.
    pub files: &'a [PathBuf],
    /// Hears of a file that is there and cannot be used; its run then begins anew.
    pub unusable: &'a (dyn Fn(&SaveError) + Sync),
}
