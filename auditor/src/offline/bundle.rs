//! A portable part of the ledger: a folder that proves itself, without the auditor's state and
//! without us.
//!
//! ```text
//! index.json                 which rows, and the digest of every other file
//! checkpoint.txt             the ledger's claim, with its cosignatures (C2SP)
//! trust/root.N.json          every version of the trust root
//! rows/N.json                the row's exact bytes
//! rows/N.tlog-proof          that it stands in the ledger (C2SP)
//! verdicts/<digest>.json     the verdict of each accepted row (DSSE)
//! policies/<digest>.json     every written policy that was in force
//! constitutions/<digest>.toml   every constitution that a verdict names
//! ```
//!
//! **Invariant:** every file is listed with its digest, every listed file is there, no other is.
//! **Absent:** completeness beyond the rows that the index claims; compare its digest, which the
//! exporter printed, to know that nobody claimed fewer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use seal_protocol::{
    Attempt, Decision, Digest, LedgerEntry, LedgerEvent, Statement, UnixSeconds, Verdict,
};
use seal_trust::{
    Checkpoint, LedgerProof, MAX_TRUST_ROOT_BYTES, RootChain, TrustRoot, canonical_json, merkle,
    sha256,
};
use serde::{Deserialize, Serialize};

use super::verdicts::{check_attempt, in_force_of};
use super::{Finding, envelope, read};
use crate::policy::Bundle;

/// Name of the index.
pub const BUNDLE_INDEX: &str = "index.json";
/// `format` of the only form there is.
pub(super) const FORMAT: &str = "seal.audit-bundle/v1";
pub(super) const CHECKPOINT: &str = "checkpoint.txt";

/// `index.json`, in canonical form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleIndex {
    /// `seal.audit-bundle/v1`.
    pub format: String,
    /// First row.
    pub from: u64,
    /// The row after the last.
    pub to: u64,
    /// The row before `from` that says what was in force there; absent where `from` is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_force_row: Option<u64>,
    /// Version of the trust root in force when this was exported.
    pub trust_root_version: u64,
    /// SHA-256 of every other file, by its path.
    pub files: BTreeMap<String, Digest>,
}

/// What a bundle shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BundleSummary {
    /// First row.
    pub from: u64,
    /// The row after the last.
    pub to: u64,
    /// Rows in the ledger at the checkpoint.
    pub ledger_rows: u64,
    /// Verdicts.
    pub verdicts: u64,
    /// Refused, not selected or only measured.
    pub other_attempts: u64,
    /// Names of the witnesses that cosigned the checkpoint.
    pub witnesses: Vec<String>,
    /// Digest of the trust root that all of it was held against.
    pub trust_root: Digest,
    /// Digest of the index, which the exporter printed.
    pub index: Digest,
}

pub(super) fn row_file(index: u64) -> String {
    format!("rows/{index}.json")
}

pub(super) fn proof_file(index: u64) -> String {
    format!("rows/{index}.tlog-proof")
}

pub(super) fn root_file(version: u64) -> String {
    format!("trust/root.{version}.json")
}

pub(super) fn verdict_file(digest: &Digest) -> String {
    format!("verdicts/{digest}.json")
}

pub(super) fn policy_file(digest: &Digest) -> String {
    format!("policies/{digest}.json")
}

pub(super) fn constitution_file(digest: &Digest) -> String {
    format!("constitutions/{digest}.toml")
}

/// Verifies a bundle from its own files. `pinned` is the digest of the newest trust root in it, as the
/// reader knows it from elsewhere; without it the bundle is only shown to agree with itself.
///
/// # Errors
/// The first thing that does not fit, by file.
pub fn verify_bundle(
    folder: &Path,
    pinned: Option<Digest>,
    now: UnixSeconds,
) -> Result<BundleSummary, Finding> {
    let bundle = Opened::open(folder)?;
    let roots = bundle.roots(pinned, now)?;
    let (note, checkpoint) = bundle.checkpoint(&roots, now)?;
    let rows = bundle.rows(&note, &checkpoint)?;
    bundle.check_in_force(&rows, &roots)?;
    let verdicts = bundle.verdicts(&rows, &roots, now)?;
    let constitutions = bundle.constitutions(&verdicts)?;
    bundle.refuse_unused(&rows, &roots, constitutions)?;
    let verdicts = verdicts.len() as u64;
    let witnesses = roots.witnesses(&note).map_err(|error| bundle.finding(CHECKPOINT, error))?;
    let attempts = rows.iter().filter(|row| matches!(row.event, LedgerEvent::Attempt(_))).count();
    Ok(BundleSummary {
        from: bundle.index.from,
        to: bundle.index.to,
        ledger_rows: checkpoint.size,
        verdicts,
        other_attempts: attempts as u64 - verdicts,
        witnesses: witnesses.into_iter().map(|witness| witness.name).collect(),
        trust_root: roots.newest().digest(),
        index: bundle.digest,
    })
}

/// A bundle whose files are those of its index.
struct Opened {
    folder: PathBuf,
    index: BundleIndex,
    digest: Digest,
    files: BTreeMap<String, Vec<u8>>,
}

impl Opened {
    fn open(folder: &Path) -> Result<Self, Finding> {
        let path = folder.join(BUNDLE_INDEX);
        let bytes = read(&path)?;
        let index: BundleIndex = serde_json::from_slice(&bytes)
            .map_err(|error| Finding::new(&path, format!("it does not parse: {error}")))?;
        if canonical_json(&index).ok().as_ref() != Some(&bytes) || index.format != FORMAT {
            return Err(Finding::new(path, format!("it is no index of format {FORMAT}")));
        }
        if index.from > index.to {
            return Err(Finding::new(path, "it claims rows that end before they begin"));
        }
        let mut files = BTreeMap::new();
        for name in listed(folder)? {
            let path = folder.join(&name);
            let Some(digest) = index.files.get(&name) else {
                return Err(Finding::new(path, "the index does not know this file"));
            };
            let bytes = read(&path)?;
            if sha256(&bytes) != *digest {
                return Err(Finding::new(path, "it was changed"));
            }
            files.insert(name, bytes);
        }
        if let Some(missing) = index.files.keys().find(|name| !files.contains_key(*name)) {
            return Err(Finding::new(folder.join(missing), "it is missing"));
        }
        Ok(Self { folder: folder.to_owned(), index, digest: sha256(&bytes), files })
    }

    fn finding(&self, name: &str, what: impl ToString) -> Finding {
        Finding::new(self.folder.join(name), what)
    }

    fn file(&self, name: &str) -> Result<&[u8], Finding> {
        let file = self.files.get(name);
        file.map(Vec::as_slice).ok_or_else(|| self.finding(name, "it is missing"))
    }

    fn text(&self, name: &str) -> Result<&str, Finding> {
        std::str::from_utf8(self.file(name)?).map_err(|_| self.finding(name, "it is no text"))
    }

    fn roots(&self, pinned: Option<Digest>, now: UnixSeconds) -> Result<RootChain, Finding> {
        let name = root_file(self.index.trust_root_version);
        let file = self.file(&name)?;
        let newest = TrustRoot::open_for_update(file, pinned.unwrap_or_else(|| sha256(file)))
            .and_then(|root| root.refuse_expired(now).map(|()| root).map_err(Into::into))
            .map_err(|error| self.finding(&name, error))?;
        let earlier = self.files.iter().filter(|(name, file)| {
            name.starts_with("trust/") && file.len() <= MAX_TRUST_ROOT_BYTES
        });
        let earlier: Vec<Vec<u8>> = earlier.map(|(_, file)| file.clone()).collect();
        RootChain::new(newest, &earlier).map_err(|error| self.finding("trust", error))
    }

    fn checkpoint(
        &self,
        roots: &RootChain,
        now: UnixSeconds,
    ) -> Result<(String, Checkpoint), Finding> {
        let note = self.text(CHECKPOINT)?;
        let origin = note.lines().next().unwrap_or_default();
        let checkpoint = roots
            .verify_checkpoint(note, origin, now)
            .map_err(|error| self.finding(CHECKPOINT, error))?;
        if self.index.to > checkpoint.size {
            return Err(self.finding(BUNDLE_INDEX, "it claims rows beyond the checkpoint"));
        }
        super::proofs::refuse_strangers(note, roots)
            .map_err(|error| self.finding(CHECKPOINT, error))?;
        Ok((note.to_owned(), checkpoint))
    }

    /// The numbers of all rows that must be here.
    fn numbers(&self) -> impl Iterator<Item = u64> {
        self.index.in_force_row.into_iter().chain(self.index.from..self.index.to)
    }

    fn rows(&self, note: &str, checkpoint: &Checkpoint) -> Result<Vec<LedgerEntry>, Finding> {
        self.numbers().map(|number| self.row(number, note, checkpoint)).collect()
    }

    fn row(
        &self,
        number: u64,
        note: &str,
        checkpoint: &Checkpoint,
    ) -> Result<LedgerEntry, Finding> {
        let (name, proof_name) = (row_file(number), proof_file(number));
        let bytes = self.file(&name)?;
        let entry: LedgerEntry = serde_json::from_slice(bytes)
            .map_err(|error| self.finding(&name, format!("it does not parse: {error}")))?;
        if entry.index != number || canonical_json(&entry).ok().as_deref() != Some(bytes) {
            return Err(self.finding(&name, "it is not the row of that number"));
        }
        let proof = LedgerProof::from_text(self.text(&proof_name)?)
            .map_err(|error| self.finding(&proof_name, error))?;
        if proof.index != number || proof.checkpoint != note {
            return Err(self.finding(&proof_name, "it is about another row or checkpoint"));
        }
        let leaf = merkle::leaf_hash(bytes);
        let Checkpoint { size, root, .. } = checkpoint;
        merkle::verify_inclusion(&leaf, number, *size, &proof.path, root)
            .map_err(|error| self.finding(&proof_name, error))?;
        Ok(entry)
    }

    /// The first row says what is in force, and every such row names a trust root and policy that
    /// are here.
    fn check_in_force(&self, rows: &[LedgerEntry], roots: &RootChain) -> Result<(), Finding> {
        let begins =
            rows.first().is_none_or(|row| matches!(row.event, LedgerEvent::Genesis { .. }));
        if !begins {
            return Err(self.finding(BUNDLE_INDEX, "no row says what was in force at the first"));
        }
        for row in rows {
            let LedgerEvent::Genesis { trust_root_digest, policy_bundle_digest, .. } = &row.event
            else {
                continue;
            };
            if roots.by_digest(trust_root_digest).is_none() {
                let what = format!("ledger row {} names a trust root that is not here", row.index);
                return Err(self.finding("trust", what));
            }
            if let Some(digest) = policy_bundle_digest {
                let name = policy_file(digest);
                Bundle::from_bytes(self.file(&name)?, *digest)
                    .map_err(|error| self.finding(&name, error))?;
            }
        }
        Ok(())
    }

    /// Every accepted row has its verdict, which says the same.
    fn verdicts(
        &self,
        rows: &[LedgerEntry],
        roots: &RootChain,
        now: UnixSeconds,
    ) -> Result<Vec<Verdict>, Finding> {
        let by_digest = self.verdict_names();
        let mut verdicts = Vec::new();
        for (place, row) in rows.iter().enumerate() {
            let Some((attempt, digest)) = accepted(row) else { continue };
            let name = by_digest.get(&digest).ok_or_else(|| {
                self.finding("verdicts", format!("ledger row {} misses its verdict", row.index))
            })?;
            let statement = self.verdict(name, roots, now)?;
            let said = check_attempt(&statement, attempt, in_force_of(&rows[..place]), digest);
            let same_row = statement.predicate.attempt == row.index;
            said.and(if same_row { Ok(()) } else { Err("row") }).map_err(|field| {
                self.finding(name, format!("ledger row {} names another {field}", row.index))
            })?;
            verdicts.push(statement.predicate);
        }
        Ok(verdicts)
    }

    /// Names of the constitutions that verdicts name; each is here as it was.
    fn constitutions(&self, verdicts: &[Verdict]) -> Result<BTreeSet<String>, Finding> {
        let named = verdicts.iter().filter_map(|verdict| verdict.constitution_digest);
        named
            .map(|digest| {
                let name = constitution_file(&digest);
                match sha256(self.file(&name)?) == digest {
                    true => Ok(name),
                    false => Err(self.finding(&name, "its content is not what its name says")),
                }
            })
            .collect()
    }

    /// Names of verdict files by the digest of their bytes.
    fn verdict_names(&self) -> BTreeMap<Digest, &String> {
        let verdicts = self.files.iter().filter(|(name, _)| name.starts_with("verdicts/"));
        verdicts.map(|(name, bytes)| (sha256(bytes), name)).collect()
    }

    fn verdict(
        &self,
        name: &str,
        roots: &RootChain,
        now: UnixSeconds,
    ) -> Result<Statement<Verdict>, Finding> {
        let envelope = envelope(&self.folder.join(name), self.file(name)?)?;
        let verified = roots
            .verify_record::<Verdict>(&envelope, now)
            .map_err(|error| self.finding(name, error))?;
        if verdict_file(&verified.payload_digest) != name {
            return Err(self.finding(name, "its content is not what its name says"));
        }
        Ok(verified.statement)
    }

    /// A file that no row needs proves nothing and may mislead.
    fn refuse_unused(
        &self,
        rows: &[LedgerEntry],
        roots: &RootChain,
        mut used: BTreeSet<String>,
    ) -> Result<(), Finding> {
        let names = self.verdict_names();
        used.insert(CHECKPOINT.to_owned());
        used.extend(self.numbers().flat_map(|number| [row_file(number), proof_file(number)]));
        used.extend(roots.versions().iter().map(|root| root_file(root.root().version)));
        for row in rows {
            let verdict = accepted(row).and_then(|(_, digest)| names.get(&digest));
            used.extend(verdict.map(|name| (*name).clone()));
            if let LedgerEvent::Genesis { policy_bundle_digest: Some(digest), .. } = &row.event {
                used.insert(policy_file(digest));
            }
        }
        match self.files.keys().find(|name| !used.contains(*name)) {
            Some(name) => Err(self.finding(name, "no row needs this file")),
            None => Ok(()),
        }
    }
}

/// An accepted attempt with the digest of its verdict's file.
pub(super) fn accepted(row: &LedgerEntry) -> Option<(&Attempt, Digest)> {
    let LedgerEvent::Attempt(attempt) = &row.event else { return None };
    let verdict = attempt.verdict_envelope_digest;
    verdict.filter(|_| attempt.decision == Decision::Accept).map(|digest| (attempt, digest))
}

/// Paths of all files below the folder but the index, with `/` between the parts.
fn listed(folder: &Path) -> Result<Vec<String>, Finding> {
    let mut names = Vec::new();
    for (name, path) in entries(folder)? {
        match path.is_dir() {
            false if name == BUNDLE_INDEX => {}
            false => names.push(name),
            true => {
                let inner = entries(&path)?.into_iter();
                names.extend(inner.map(|(file, _)| format!("{name}/{file}")));
            }
        }
    }
    Ok(names)
}

fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, Finding> {
    let unreadable =
        |error: std::io::Error| Finding::new(folder, format!("it cannot be read: {error}"));
    let entries = std::fs::read_dir(folder).map_err(unreadable)?;
    entries
        .map(|entry| {
            let entry = entry.map_err(unreadable)?;
            Ok((entry.file_name().to_string_lossy().into_owned(), entry.path()))
        })
        .collect()
}
