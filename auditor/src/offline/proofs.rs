//! The portable proofs beside the verdicts: each leads from the verdict's row to a checkpoint of this
//! ledger, and every line under that checkpoint is the ledger's or a witness's.

use std::path::Path;

use seal_protocol::{Digest, UnixSeconds, Verdict};
use seal_trust::{LedgerProof, RootChain, merkle};

use super::database::Database;
use super::rows::LedgerRows;
use super::{Finding, read, said};
use crate::ledger::proof_file;

pub(super) fn verify(
    state: &Path,
    database: &Database,
    ledger: &LedgerRows,
    roots: &RootChain,
    now: UnixSeconds,
) -> Result<(), Finding> {
    for stored in &database.verdicts {
        let path = proof_file(state, &stored.payload_digest);
        let index = said::<Verdict>(&path, &stored.envelope)?.attempt;
        verify_text(&read(&path)?, index, &ledger.leaves, roots, now)
            .map_err(|what| Finding::new(&path, what))?;
    }
    Ok(())
}

/// A proof of row `index` over a ledger whose leaves are at hand.
fn verify_text(
    text: &[u8],
    index: u64,
    leaves: &[Digest],
    roots: &RootChain,
    now: UnixSeconds,
) -> Result<(), String> {
    let text = std::str::from_utf8(text).map_err(|_| "it is no text".to_owned())?;
    let proof = LedgerProof::from_text(text).map_err(|error| error.to_string())?;
    let origin = proof.checkpoint.lines().next().unwrap_or_default();
    let checkpoint = roots
        .verify_checkpoint(&proof.checkpoint, origin, now)
        .map_err(|error| error.to_string())?;
    let at = |number: u64| usize::try_from(number).ok();
    let covered = at(checkpoint.size).and_then(|size| leaves.get(..size));
    if covered.map(merkle::root) != Some(checkpoint.root) {
        return Err("its checkpoint is not of this ledger".to_owned());
    }
    let leaf = at(index).and_then(|index| leaves.get(index)).filter(|_| proof.index == index);
    let leaf = leaf.ok_or("it is about another row")?;
    merkle::verify_inclusion(leaf, index, checkpoint.size, &proof.path, &checkpoint.root)
        .map_err(|error| error.to_string())?;
    refuse_strangers(&proof.checkpoint, roots)
}

/// One line is the ledger's own, every other a witness's: a line that nobody vouches for could say
/// anything.
pub(super) fn refuse_strangers(note: &str, roots: &RootChain) -> Result<(), String> {
    let lines = note.lines().filter(|line| line.starts_with('—')).count();
    let witnesses = roots.witnesses(note).map_err(|error| error.to_string())?.len();
    match lines == witnesses + 1 {
        true => Ok(()),
        false => Err("a signature line under its checkpoint is of nobody we know".to_owned()),
    }
}
