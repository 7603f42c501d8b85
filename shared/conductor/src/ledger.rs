//! Carries the auditors' ledgers to those who act on them, and their cosignatures back.
//!
//! A role acts on a verdict only after it was shown that the verdict stands in a ledger which
//! continues the one it remembers. Nothing carried here is believed because the conductor says so.

use seal_protocol::{
    Cosignature, CosignedCheckpoint, Digest, Envelope, LedgerHead, LedgerQuestion, LedgerSeen,
    LedgerShown, path,
};

use crate::client::{Client, ClientError};

/// Shows every auditor's ledger to the readers in turn; the last of them also the rows of `verdicts`,
/// when the others have cosigned. All are shown the checkpoint that the first one saw: rows added
/// meanwhile would put the cosignatures under different checkpoints, none with all of them.
///
/// # Errors
/// A daemon that is gone, and a reader that refuses: a ledger that was rolled back or forked.
pub async fn show(
    auditors: &[&Client],
    readers: &[&Client],
    verdicts: &[Envelope],
) -> Result<(), ClientError> {
    // An envelope that does not read has no row; whoever acts on it will say so.
    let wanted: Vec<Digest> =
        verdicts.iter().filter_map(|verdict| seal_trust::payload_digest(verdict).ok()).collect();
    let last = readers.len().saturating_sub(1);
    for auditor in auditors {
        let mut at = None;
        for (place, reader) in readers.iter().enumerate() {
            let wanted = if place == last { &wanted[..] } else { &[] };
            let seen = show_one(auditor, reader, wanted, at).await?;
            at = Some(seen.head.size);
        }
    }
    Ok(())
}

async fn show_one(
    auditor: &Client,
    reader: &Client,
    verdicts: &[Digest],
    at: Option<u64>,
) -> Result<LedgerSeen, ClientError> {
    let known: Vec<LedgerHead> = reader.get(path::LEDGER_HEADS).await?;
    let question = LedgerQuestion { known, verdicts: verdicts.to_vec(), at };
    let shown: LedgerShown = auditor.post(path::LEDGER, &question).await?;
    let seen: LedgerSeen = reader.post(path::LEDGER_HEADS, &shown).await?;
    if let Some(line) = &seen.cosignature {
        let cosignature = Cosignature { size: seen.head.size, line: line.clone() };
        let _: CosignedCheckpoint = auditor.post(path::COSIGNATURES, &cosignature).await?;
    }
    Ok(seen)
}
