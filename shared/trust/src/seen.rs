//! Which verdicts already had their effect.
//!
//! A verdict is used once. The same request again is no replay: a request that was interrupted is
//! sent again as it was, and must find its verdicts free.
//!
//! **Absent:** storage. The caller keeps the value, in the same transaction as the effect.

use std::collections::BTreeMap;

use seal_protocol::{Digest, Verdict};
use serde::{Deserialize, Serialize};

use crate::{VerdictError, Verified};

/// The verdicts that one consumer has used, and by which request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeenVerdicts {
    /// Verdict payload digest → digest of the request that used it.
    used_by: BTreeMap<String, Digest>,
    /// Auditor → its number → verdict payload digest.
    numbers: BTreeMap<String, BTreeMap<u64, Digest>>,
}

impl SeenVerdicts {
    /// Marks all verdicts of a request as used by it, or none.
    ///
    /// # Errors
    /// `Replayed`: one was used by another request, or comes twice in this one.
    /// `SequenceNotRising`: an auditor's numbers do not rise in the order given.
    /// `SequenceReused`: an auditor signed two verdicts with one number.
    pub fn check_and_insert(
        &mut self,
        request: Digest,
        verdicts: &[&Verified<Verdict>],
    ) -> Result<(), VerdictError> {
        self.check_rising(request, verdicts)?;
        verdicts.iter().try_for_each(|verdict| self.check(request, verdict))?;
        verdicts.iter().for_each(|verdict| self.insert(request, verdict));
        Ok(())
    }

    /// As [`Self::check_and_insert`], for the verdicts of one promotion, one of each auditor, which
    /// must also be newer than all others of their auditors that were used: an old promotion does not
    /// come back after a newer one.
    ///
    /// # Errors
    /// As [`Self::check_and_insert`].
    pub fn check_and_insert_newest(
        &mut self,
        request: Digest,
        verdicts: &[&Verified<Verdict>],
    ) -> Result<(), VerdictError> {
        for verdict in verdicts {
            let known = self.used_by.contains_key(&verdict.payload_digest.to_string());
            match self.newest(&verdict.keyid) {
                Some(previous) if !known && sequence(verdict) <= previous => {
                    self.check(request, verdict)?;
                    return Err(not_rising(verdict, previous));
                }
                _ => {}
            }
        }
        self.check_and_insert(request, verdicts)
    }

    /// The highest number of an auditor that was used.
    pub fn newest(&self, keyid: &str) -> Option<u64> {
        self.numbers.get(keyid)?.keys().next_back().copied()
    }

    /// Which request used a verdict.
    pub fn used_by(&self, verdict: &Digest) -> Option<Digest> {
        self.used_by.get(&verdict.to_string()).copied()
    }

    fn check(&self, request: Digest, verdict: &Verified<Verdict>) -> Result<(), VerdictError> {
        let digest = verdict.payload_digest;
        match self.used_by(&digest) {
            Some(used_by) if used_by != request => {
                return Err(VerdictError::Replayed { verdict: digest, used_by });
            }
            _ => {}
        }
        let same_number =
            self.numbers.get(&verdict.keyid).and_then(|of| of.get(&sequence(verdict)));
        match same_number {
            Some(other) if *other != digest => Err(VerdictError::SequenceReused {
                keyid: verdict.keyid.clone(),
                sequence: sequence(verdict),
            }),
            _ => Ok(()),
        }
    }

    /// Rising numbers per auditor within the request; equal digests are told as replays.
    fn check_rising(
        &self,
        request: Digest,
        verdicts: &[&Verified<Verdict>],
    ) -> Result<(), VerdictError> {
        let mut last: BTreeMap<&str, u64> = BTreeMap::new();
        let mut digests = std::collections::BTreeSet::new();
        for verdict in verdicts {
            let digest = verdict.payload_digest;
            if !digests.insert(digest) {
                return Err(VerdictError::Replayed { verdict: digest, used_by: request });
            }
            match last.insert(&verdict.keyid, sequence(verdict)) {
                Some(previous) if sequence(verdict) <= previous => {
                    return Err(not_rising(verdict, previous));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn insert(&mut self, request: Digest, verdict: &Verified<Verdict>) {
        let digest = verdict.payload_digest;
        self.used_by.insert(digest.to_string(), request);
        let numbers = self.numbers.entry(verdict.keyid.clone()).or_default();
        numbers.insert(sequence(verdict), digest);
    }
}

fn sequence(verdict: &Verified<Verdict>) -> u64 {
    verdict.statement.predicate.sequence
}

fn not_rising(verdict: &Verified<Verdict>, previous: u64) -> VerdictError {
    VerdictError::SequenceNotRising {
        keyid: verdict.keyid.clone(),
        previous,
        got: sequence(verdict),
    }
}
