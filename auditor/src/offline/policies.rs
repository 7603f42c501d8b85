//! Written policies that were in force, compiled again from the bytes that were kept.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use seal_protocol::Digest;

use super::Finding;
use super::database::Database;
use crate::ledger::{ArtefactKind, file_of};
use crate::policy::{Bundle, Policy};

/// A reader has time; what was refused for want of it is not judged again.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// By bundle digest.
pub(super) struct Policies(BTreeMap<Digest, Policy>);

impl Policies {
    pub(super) fn read(state: &Path, database: &Database) -> Result<Self, Finding> {
        let kept = database.artefacts.iter().filter(|kept| kept.kind == ArtefactKind::Policy);
        let compiled = kept.map(|kept| {
            let at = file_of(state, kept.kind, &kept.digest);
            let bundle = Bundle::from_bytes(&kept.body, kept.digest)
                .map_err(|error| Finding::new(&at, error))?;
            let policy =
                Policy::new(bundle, TIME_LIMIT).map_err(|error| Finding::new(&at, error))?;
            Ok((kept.digest, policy))
        });
        compiled.collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn get(&self, digest: Option<Digest>) -> Option<&Policy> {
        self.0.get(&digest?)
    }
}
