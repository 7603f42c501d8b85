//! Test data of the original system, where the machine has it.

use std::path::PathBuf;

use serde::de::DeserializeOwned;

/// Rows of `file`, or `None` (and a line that says so) where the data is absent.
pub(crate) fn rows<T: DeserializeOwned>(file: &str) -> Option<Vec<T>> {
    let path = folder().join(file);
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("skipped: no {}", path.display());
        return None;
    };
    let parse = |line| serde_json::from_str(line).unwrap();
    Some(text.lines().map(parse).collect())
}

fn folder() -> PathBuf {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    match std::env::var_os("SEAL_REFERENCE_DATA") {
        Some(folder) => workspace.join(folder),
        None => workspace.join("../shared/data/seal"),
    }
}
