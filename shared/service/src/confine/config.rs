//! `[confinement]` of every role's config.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Profile;
use crate::endpoint::Endpoint;

/// What a role insists on, and what its self-test must not be able to do.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfinementConfig {
    /// How much of it is required.
    pub profile: Profile,
    /// Folder, outside all that this process may touch, of the file that its self-test must fail
    /// to read.
    pub decoy_dir: PathBuf,
    /// Files and folders of others that a self-test must fail to read.
    #[serde(default)]
    pub must_not_read: Vec<PathBuf>,
    /// Endpoints that a self-test must fail to reach.
    #[serde(default)]
    pub must_not_connect: Vec<Endpoint>,
}

impl ConfinementConfig {
    /// Takes relative paths from the config's own folder.
    pub fn resolve(&mut self, folder: &Path) {
        let paths = std::iter::once(&mut self.decoy_dir).chain(&mut self.must_not_read);
        paths.for_each(|path| *path = folder.join(&path));
        for endpoint in &mut self.must_not_connect {
            *endpoint = endpoint.clone().under(folder);
        }
    }
}
