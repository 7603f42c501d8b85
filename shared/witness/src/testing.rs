//! For tests: a ledger without an auditor, whose rows about verdicts are shown as the real one shows
//! them, and a trust root that demands more.

use std::collections::BTreeMap;
use std::path::Path;

use seal_protocol::{
    Attempt, AuditPurpose, Decision, Digest, Envelope, Labels, LedgerEntry, LedgerEvent,
    LedgerHead, LedgerShown, Role, ShownRow, UnixSeconds,
};
use seal_trust::{
    SigningKey, TrustRoot, canonical_json, envelope_to_bytes, merkle, sha256, sign_checkpoint,
    sign_root,
};

/// Rows in memory under a ledger key.
pub struct FakeLedger {
    key: SigningKey,
    origin: String,
    rows: Vec<(Digest, String)>,
}

impl FakeLedger {
    /// An empty ledger.
    pub fn new(key: SigningKey, origin: &str) -> Self {
        Self { key, origin: origin.to_owned(), rows: Vec::new() }
    }

    /// Adds a verdict's row unless it is there.
    ///
    /// # Panics
    /// Never: a row has canonical JSON.
    pub fn append(&mut self, verdict: &Envelope) {
        let digest = sha256(&envelope_to_bytes(verdict));
        if self.rows.iter().any(|(there, _)| *there == digest) {
            return;
        }
        let attempt = Attempt {
            request_digest: digest,
            purpose: AuditPurpose::Edit,
            stage: "test".to_owned(),
            context_digests: Vec::new(),
            tau: BTreeMap::new(),
            edit_digests: Vec::new(),
            adapter_digest: None,
            decision: Decision::Accept,
            reasons: Vec::new(),
            metrics_annex_digest: digest,
            recomputation: None,
            labels: Labels::Gold,
            verdict_envelope_digest: Some(digest),
        };
        let index = self.rows.len() as u64;
        let event = LedgerEvent::Attempt(attempt);
        let entry = LedgerEntry { index, at: UnixSeconds(1_800_000_000), event };
        let bytes = canonical_json(&entry).expect("a row has canonical JSON");
        self.rows.push((digest, String::from_utf8(bytes).expect("JSON is text")));
    }

    /// Loses all rows from `size` on, as a restored backup does.
    pub fn truncate(&mut self, size: usize) {
        self.rows.truncate(size);
    }

    /// The ledger as a reader that knows `known` is shown it, with the rows of `verdicts`.
    ///
    /// # Panics
    /// With an origin that cannot stand in a checkpoint.
    pub fn show(&self, known: &[LedgerHead], verdicts: &[Envelope]) -> LedgerShown {
        self.show_at(self.rows.len(), known, verdicts)
    }

    /// The same at the checkpoint of the first `size` rows.
    ///
    /// # Panics
    /// With fewer rows than `size`, and as [`FakeLedger::show`].
    pub fn show_at(&self, size: usize, known: &[LedgerHead], verdicts: &[Envelope]) -> LedgerShown {
        let rows = &self.rows[..size];
        let leaves: Vec<Digest> =
            rows.iter().map(|(_, entry)| merkle::leaf_hash(entry.as_bytes())).collect();
        let size = leaves.len() as u64;
        let checkpoint = sign_checkpoint(&self.key, &self.origin, size, merkle::root(&leaves));
        let known = known.iter().find(|head| head.origin == self.origin);
        let known = known.map_or(0, |head| head.size as usize);
        let wanted = verdicts.iter().map(|verdict| sha256(&envelope_to_bytes(verdict)));
        let row = |digest: Digest| {
            let index = rows.iter().position(|(there, _)| *there == digest)?;
            let path = merkle::inclusion_proof(&leaves, index)?;
            Some(ShownRow { index: index as u64, entry: rows[index].1.clone(), path })
        };
        LedgerShown {
            checkpoint: checkpoint.expect("a test's origin is a name"),
            consistency: merkle::consistency_proof(&leaves, known).unwrap_or_default(),
            rows: wanted.filter_map(row).collect(),
        }
    }
}

/// Replaces the trust root in `file` by its next version, under which two auditors must accept, and
/// keeps the first beside it.
///
/// # Panics
/// A file that is no first version signed by `root_key`.
pub fn demand_second_auditor(
    file: &Path,
    root_key: &SigningKey,
    second: &SigningKey,
    now: UnixSeconds,
) {
    let bytes = std::fs::read(file).expect("a trust root lies there");
    let first = TrustRoot::open(&bytes, None, now).expect("it is the first version");
    let next = first.root().next().with_key(Role::Auditor, &second.public());
    let next = next.with_threshold(Role::Auditor, 2);
    let signed = sign_root(&next, &[root_key]).expect("a root has canonical JSON");
    std::fs::write(file.with_file_name("root.1.json"), first.file()).expect("the folder is ours");
    std::fs::write(file, envelope_to_bytes(&signed)).expect("the folder is ours");
}
