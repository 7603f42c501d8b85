//! All versions of a trust root: the newest decides, the older ones say who might speak back then.
//!
//! A record outlives the key that signed it. It verifies under the version in force when it was
//! made, unless the newest version revokes its signer.
//!
//! **Invariant:** versions follow each other without a gap, each signed by its predecessor's keys.

use seal_protocol::{Digest, Envelope, Predicate, UnixSeconds};

use crate::{Checkpoint, NoteError, TrustRoot, TrustedRoot, Verified, VerifyError, Witnessed};

/// A trust root with its predecessors.
#[derive(Clone, Debug)]
pub struct RootChain {
    /// Oldest first, without gaps.
    versions: Vec<TrustedRoot>,
}

impl RootChain {
    /// The newest version with the files of earlier ones, in any order; the newest's own file may be
    /// among them.
    ///
    /// # Errors
    /// A file that is no trust root; two files of one version; a gap; a version that its successor's
    /// signatures do not cover.
    pub fn new(newest: TrustedRoot, earlier: &[Vec<u8>]) -> Result<Self, VerifyError> {
        let mut opened = Vec::new();
        for file in earlier.iter().filter(|file| file.as_slice() != newest.file()) {
            opened.push(TrustRoot::open_for_update(file, crate::sha256(file))?);
        }
        opened.sort_by_key(|root| root.root().version);
        opened.push(newest);
        for pair in opened.windows(2) {
            pair[0].successor(pair[1].file())?;
        }
        Ok(Self { versions: opened })
    }

    /// The version in force.
    ///
    /// # Panics
    /// Never: a chain holds at least one version.
    pub fn newest(&self) -> &TrustedRoot {
        self.versions.last().expect("a chain holds at least one version")
    }

    /// Every version, oldest first.
    pub fn versions(&self) -> &[TrustedRoot] {
        &self.versions
    }

    /// The version whose file has this digest.
    pub fn by_digest(&self, digest: &Digest) -> Option<&TrustedRoot> {
        self.versions.iter().find(|root| root.digest() == *digest)
    }

    /// Verifies a record: a statement that some version's key of the right role signed, and that the
    /// newest version does not revoke. Newer versions are tried first.
    ///
    /// No quorum is counted: one auditor's records hold one auditor's signature.
    ///
    /// # Errors
    /// What the newest version says against it, where no earlier one knows the signer.
    pub fn verify_record<P: Predicate>(
        &self,
        envelope: &Envelope,
        now: UnixSeconds,
    ) -> Result<Verified<P>, VerifyError> {
        self.newest().refuse_expired(now)?;
        let verified = self.first_of(|root| root.verify_record::<P>(envelope))?;
        let sequence = verified.statement.predicate.sequence();
        self.newest().refuse_revoked(&verified.keyid, sequence)?;
        Ok(verified)
    }

    /// As [`TrustedRoot::verify_checkpoint`], under the ledger keys of any version.
    ///
    /// # Errors
    /// What the newest version says against it, where no earlier one knows the signer.
    pub fn verify_checkpoint(
        &self,
        note: &str,
        origin: &str,
        now: UnixSeconds,
    ) -> Result<Checkpoint, VerifyError> {
        self.newest().refuse_expired(now)?;
        self.first_of(|root| root.verify_recorded_checkpoint(note, origin))
    }

    /// As [`TrustedRoot::witnesses`], under the witness keys of any version.
    ///
    /// # Errors
    /// A note of another form.
    pub fn witnesses(&self, note: &str) -> Result<Vec<Witnessed>, NoteError> {
        let mut found: Vec<Witnessed> = Vec::new();
        for root in self.versions.iter().rev() {
            let more = root.witnesses(note)?;
            found.extend(
                more.into_iter()
                    .filter(|one| !found.iter().any(|known| known.keyid == one.keyid))
                    .collect::<Vec<_>>(),
            );
        }
        Ok(found)
    }

    fn first_of<T>(
        &self,
        verify: impl Fn(&TrustedRoot) -> Result<T, VerifyError>,
    ) -> Result<T, VerifyError> {
        let refused = match verify(self.newest()) {
            Ok(verified) => return Ok(verified),
            Err(refused) => refused,
        };
        let earlier = self.versions.iter().rev().skip(1);
        earlier.map(verify).find_map(Result::ok).ok_or(refused)
    }
}

impl From<TrustedRoot> for RootChain {
    fn from(root: TrustedRoot) -> Self {
        Self { versions: vec![root] }
    }
}
