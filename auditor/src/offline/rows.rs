//! Rows, leaves and checkpoints.

use std::path::Path;

use seal_protocol::{Digest, LedgerEntry, LedgerEvent, UnixSeconds};
use seal_trust::{RootChain, canonical_json, merkle, with_lines};

use super::database::{Database, StoredCosignature, StoredRow};
use super::{Finding, read};
use crate::ledger::{Asked, CHECKPOINT_FILE};

/// The rows, parsed, with their leaves as derived.
pub(super) struct LedgerRows {
    pub(super) entries: Vec<LedgerEntry>,
    pub(super) leaves: Vec<Digest>,
}

pub(super) fn verify(_: &Path, database: &Database) -> Result<LedgerRows, Finding> {
    let mut ledger = LedgerRows { entries: Vec::new(), leaves: Vec::new() };
    let mut asked = Asked::default();
    for (index, row) in database.rows.iter().enumerate() {
        let (entry, leaf) =
            verified(index, row).map_err(|what| Finding::new(database.row_name(index), what))?;
        let last = ledger.entries.last().map_or(0, |last: &LedgerEntry| last.at.0);
        if entry.at.0 < last {
            return Err(Finding::new(
                database.row_name(index),
                "it is older than the row before it",
            ));
        }
        let refuse = |what| Finding::new(database.row_name(index), what);
        asked.check(&entry.event).map_err(refuse)?;
        asked.add(&entry.event);
        ledger.entries.push(entry);
        ledger.leaves.push(leaf);
    }
    match ledger.entries.first().map(|entry| &entry.event) {
        Some(LedgerEvent::Genesis { .. }) => Ok(ledger),
        _ => Err(Finding::new(
            database.row_name(0),
            "the first row does not say what the ledger is about",
        )),
    }
}

fn verified(index: usize, row: &StoredRow) -> Result<(LedgerEntry, Digest), String> {
    let entry: LedgerEntry = serde_json::from_slice(&row.entry)
        .map_err(|error| format!("it does not parse: {error}"))?;
    let canonical = canonical_json(&entry).map_err(|error| error.to_string())?;
    let leaf = merkle::leaf_hash(&row.entry);
    if canonical != row.entry {
        return Err("its bytes are not in canonical form".to_owned());
    }
    if row.index != index as u64 || entry.index != row.index {
        return Err("its number is not its place".to_owned());
    }
    if row.leaf != leaf.as_bytes() {
        return Err("its bytes do not hash to its leaf".to_owned());
    }
    Ok((entry, leaf))
}

/// Every checkpoint that was ever signed must hold; the last one covers all rows and is the file's.
pub(super) fn verify_checkpoints(
    state: &Path,
    database: &Database,
    ledger: &LedgerRows,
    roots: &RootChain,
    now: UnixSeconds,
) -> Result<(), Finding> {
    for (size, note) in &database.checkpoints {
        let at = database.path.with_file_name(format!("ledger.sqlite checkpoint {size}"));
        verify_note(*size, note, ledger, roots, now).map_err(|what| Finding::new(at, what))?;
    }
    let path = state.join(CHECKPOINT_FILE);
    let Some((size, note)) = database.checkpoints.last() else {
        return Err(Finding::new(path, "the ledger has no checkpoint"));
    };
    if *size != ledger.leaves.len() as u64 {
        return Err(Finding::new(
            &database.path,
            format!("{} rows, but the last checkpoint covers {size}", ledger.leaves.len()),
        ));
    }
    if read(&path)? != note.as_bytes() {
        return Err(Finding::new(path, "it is not the ledger's last checkpoint"));
    }
    Ok(())
}

/// Every cosignature stands under one of the checkpoints, by the witness it is kept for.
pub(super) fn verify_cosignatures(database: &Database, roots: &RootChain) -> Result<(), Finding> {
    for StoredCosignature { size, keyid, line } in &database.cosignatures {
        let at = database.path.with_file_name(format!("ledger.sqlite cosignature of {size}"));
        let note = database.checkpoints.iter().find(|(of, _)| of == size).map(|(_, note)| note);
        let cosigned = note.and_then(|note| with_lines(note, std::slice::from_ref(line)).ok());
        let witnesses = cosigned.and_then(|note| roots.witnesses(&note).ok()).unwrap_or_default();
        if !matches!(witnesses.as_slice(), [only] if only.keyid == *keyid) {
            return Err(Finding::new(at, "no witness of the trust root made it"));
        }
    }
    Ok(())
}

fn verify_note(
    size: u64,
    note: &str,
    ledger: &LedgerRows,
    roots: &RootChain,
    now: UnixSeconds,
) -> Result<(), String> {
    let origin = note.lines().next().unwrap_or_default();
    let checkpoint =
        roots.verify_checkpoint(note, origin, now).map_err(|error| error.to_string())?;
    let covered = usize::try_from(size).ok().and_then(|size| ledger.leaves.get(..size));
    let covered = covered.ok_or("it covers rows that are not there")?;
    if checkpoint.size != size || checkpoint.root != merkle::root(covered) {
        return Err("the rows do not yield the root it signs".to_owned());
    }
    Ok(())
}

/// Every row that says what is in force names a trust root that leads to the one at hand.
pub(super) fn verify_in_force(ledger: &LedgerRows, roots: &RootChain) -> Result<(), Finding> {
    let ours = roots.newest().root().version;
    let mut before = 0;
    for entry in &ledger.entries {
        let LedgerEvent::Genesis { trust_root_digest, trust_root_version: version, .. } =
            entry.event
        else {
            continue;
        };
        let refuse = |what: String| Err(Finding::new("trust root", what));
        let row = entry.index;
        if version > ours {
            return refuse(format!(
                "ledger row {row} knows version {version}, this one is {ours}: fetch the newest"
            ));
        }
        if version < before {
            return refuse(format!(
                "ledger row {row} goes back from version {before} to {version}"
            ));
        }
        let known = roots.by_digest(&trust_root_digest);
        if known.is_none_or(|known| known.root().version != version) {
            return refuse(format!(
                "ledger row {row} was written under another version {version}, digest \
                 {trust_root_digest}"
            ));
        }
        before = version;
    }
    Ok(())
}
