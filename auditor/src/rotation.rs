//! At the start: what the vault holds beside what the ledger says. A τ that took the place of another
//! becomes a row, before anything is asked of it.
//!
//! **Invariant:** what a context was ever asked lies in the vault, so that no question of it can come
//! back as a new one.
//! **Absent:** whether questions are alike; the vault does not open with such.

use seal_protocol::{Digest, Rotation, UnixSeconds};

use crate::gate::GateSettings;
use crate::ledger::{Ledger, LedgerError};
use crate::vault::{Held, Vault};

/// The vault does not follow from the ledger. Nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RotationError {
    /// Questions that were asked and are gone.
    #[error(
        "[vault] tau: context `{context}` was asked of a τ, commitment {tau}, that the file no longer \
         holds; put the earlier file back and replace questions by `seal audit rotate`, or restore \
         `commitment.key` in the state folder if that is another one"
    )]
    Gone {
        /// Its name.
        context: String,
        /// Commitment to what is missing.
        tau: Digest,
    },
    /// Nothing of the level is left for another τ.
    #[error(
        "[vault] tau: context `{0}` has other questions than before, and [gate] rotation_share = 0 keeps \
         no level for them; set it (0.5 halves the level with each τ), or put the earlier questions back"
    )]
    NoLevel(String),
    /// Not recorded.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Records the rotations since the last start, all in one transaction; how many.
///
/// # Errors
/// A τ that some row names and the vault lacks; a rotation for which no level was kept; a ledger that
/// cannot be written.
pub(crate) fn take_over(
    ledger: &mut Ledger,
    vault: &Vault,
    settings: &GateSettings,
    now: UnixSeconds,
) -> Result<usize, RotationError> {
    let mut rotations = Vec::new();
    for held in vault.held() {
        refuse_gone(ledger, &held)?;
        let known = ledger.tau_in_force(&held.context_digest);
        // Without a row the file alone says what was there before.
        let before = known.or(held.earlier.last().copied()).unwrap_or(held.now);
        if before == held.now {
            continue;
        }
        if settings.rotation_share == 0.0 {
            return Err(RotationError::NoLevel(held.context_id));
        }
        let (context_digest, after) = (held.context_digest, held.now);
        rotations.push(Rotation { context_digest, before, after });
    }
    let count = rotations.len();
    if count > 0 {
        ledger.rotate(rotations, now)?;
        tracing::info!(tau.rotations = count, "contexts are asked other questions from here on");
    }
    Ok(count)
}

fn refuse_gone(ledger: &Ledger, held: &Held) -> Result<(), RotationError> {
    let there = |tau: &&Digest| **tau == held.now || held.earlier.contains(tau);
    let gone = ledger.named_tau(&held.context_digest).iter().find(|tau| !there(tau));
    match gone {
        Some(tau) => Err(RotationError::Gone { context: held.context_id.clone(), tau: *tau }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
