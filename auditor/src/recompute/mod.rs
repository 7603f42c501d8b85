//! Training an adapter again, from the base, the edits, the recipe and the seed that it claims.
//!
//! A student that was taken over can return weights that its edit never made, a planted trigger among
//! them. No measurement shows what it does not ask about; training again does: on the CPU in f32 an
//! adapter is a pure function of what it claims, so an honest one comes out equal to the bit.
//!
//! **Invariant:** who is trained again is drawn by a key that never leaves the auditor, so no student
//! can tell before it is judged.
//! **Invariant:** what is drawn and cannot be compared is refused by name; nothing of it is a pass.
//! **Absent:** in a build without the feature `recompute`, the training itself. Such a build refuses a
//! config that asks for it.

#[cfg(any(test, not(feature = "recompute")))]
mod absent;
mod claim;
#[cfg(feature = "recompute")]
mod compare;
mod config;
mod draw;
mod finding;
mod lesson;
#[cfg(feature = "recompute")]
mod trainer;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use seal_model::fit::Work;
use seal_model::{Decoder, Tokenizer};

#[cfg(not(feature = "recompute"))]
use absent as built;
pub(crate) use built::Trainer;
#[cfg(feature = "recompute")]
use trainer as built;

pub use claim::{Claim, MeasuredBase};
pub use config::{RecomputationConfig, Share};
pub use draw::Draw;
pub use finding::{DIFFERS, Recomputed};
pub use lesson::Lesson;

/// What a config asks for, read before the process is confined.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    share: Share,
    tables: built::Tables,
    tolerance: Option<f64>,
}

impl Asked {
    /// Reads what the config asks for; `None` if it asks for nothing.
    ///
    /// # Errors
    /// A build that trains nothing, a missing `[recomputation]`, tables that cannot be used.
    pub(crate) fn of(
        share: Share,
        repeats: bool,
        settings: Option<&RecomputationConfig>,
    ) -> Result<Option<Self>> {
        if share == Share::Never && !repeats {
            return Ok(None);
        }
        let Some(settings) = settings else {
            let (asks, instead) = match share {
                Share::Never => ("[gate.repeats]".to_owned(), "leave that table out"),
                share => (format!("recompute = {share}"), "say recompute = \"never\""),
            };
            bail!(
                "{asks} needs to know how the student trains: name its tables under [recomputation] as \
                 `update_tables = \"student.toml\"`, or {instead}"
            );
        };
        let tables = built::Tables::load(&settings.update_tables)?;
        let tolerance = settings.tolerance;
        ensure!(
            tolerance.is_none_or(|tolerance| tolerance > 0.0 && tolerance < 1.0),
            "[recomputation] tolerance must lie between 0 and 1; leave it out to refuse what another \
             arithmetic made"
        );
        Ok(Some(Self { share, tables, tolerance }))
    }

    /// What trains by it.
    pub(crate) fn trainer(
        self,
        base: &Path,
        decoder: &Decoder,
        tokenizer: &Tokenizer,
    ) -> Result<Trainer> {
        Trainer::open(self.tables, (self.share, self.tolerance), base, decoder, tokenizer)
    }

    /// Files that are read once the process is confined.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        self.tables.files()
    }

    /// The training that must fit into memory.
    pub(crate) fn works(&self) -> Vec<Work> {
        self.tables.works()
    }
}

#[cfg(test)]
mod tests;
