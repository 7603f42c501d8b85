//! How the auditor knows that adapters are trained.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, ensure};
use seal_model::fit::Work;
use seal_recipe::UpdateTables;

/// By which tables adapters are trained, as far as it is read before the process is confined.
#[derive(Clone, Debug)]
pub(crate) struct Tables(pub(super) UpdateTables);

impl Tables {
    /// Reads the tables of a `student.toml`.
    ///
    /// # Errors
    /// A file that is missing or malformed, a recipe that no run can have.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let mut tables: UpdateTables = seal_service::config::load(path)?;
        tables.resolve(path.parent().unwrap_or_else(|| Path::new("")));
        let checked = tables.check();
        checked.map_err(|(section, error)| anyhow!("{}: [{section}]: {error}", path.display()))?;
        ensure!(
            tables.candidates_per_batch > 0,
            "{}: candidates_per_batch must be at least 1",
            path.display()
        );
        Ok(Self(tables))
    }

    /// Files that are read later.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        self.0.replay_files()
    }

    /// The training that must fit into memory.
    pub(crate) fn works(&self) -> Vec<Work> {
        self.0.works()
    }
}
