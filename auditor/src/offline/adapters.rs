//! Adapter files: each holds the bytes of its name, and those of accepted verdicts are there.

use std::path::Path;

use seal_protocol::{Digest, Statement, Verdict};
use seal_trust::{payload_bytes, sha256_file};

use super::database::Database;
use super::{Finding, envelope};
use crate::start::ADAPTERS;

pub(super) fn verify(state: &Path, database: &Database) -> Result<u64, Finding> {
    let folder = state.join(ADAPTERS);
    let unreadable =
        |error: std::io::Error| Finding::new(&folder, format!("it cannot be read: {error}"));
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name =
            path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if !name.starts_with(".tmp-") {
            verify_file(&path, &name)?;
            count += 1;
        }
    }
    database.verdicts.iter().try_for_each(|verdict| demand_files(&folder, &verdict.envelope))?;
    Ok(count)
}

fn verify_file(path: &Path, name: &str) -> Result<(), Finding> {
    let named: Digest =
        name.parse().map_err(|_| Finding::new(path, "it is not named by a digest"))?;
    let found = sha256_file(path)
        .map_err(|error| Finding::new(path, format!("it cannot be read: {error}")))?;
    match found == named {
        true => Ok(()),
        false => Err(Finding::new(path, format!("its bytes have digest {found}"))),
    }
}

fn demand_files(folder: &Path, bytes: &[u8]) -> Result<(), Finding> {
    let envelope = envelope(folder, bytes)?;
    let payload = payload_bytes(&envelope).map_err(|error| Finding::new(folder, error))?;
    let statement: Statement<Verdict> =
        serde_json::from_slice(&payload).map_err(|error| Finding::new(folder, error))?;
    for file in statement.subject {
        let path = folder.join(file.digest.sha256.to_string());
        if !path.is_file() {
            return Err(Finding::new(
                path,
                "an accepted verdict names this file, but it is not there",
            ));
        }
    }
    Ok(())
}
