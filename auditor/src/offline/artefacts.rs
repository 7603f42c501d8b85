//! Requests, edits and annexes: file, database and name agree, and signatures hold.

use std::collections::BTreeSet;
use std::path::Path;

use seal_protocol::{AuditRequest, Judgement, SelfEdit, UnixSeconds};
use seal_trust::{RootChain, digest_of, sha256};

use super::database::Database;
use super::{Finding, envelope, read};
use crate::ledger::{Artefact, ArtefactKind, file_of};

pub(super) fn verify(
    state: &Path,
    database: &Database,
    roots: &RootChain,
    now: UnixSeconds,
) -> Result<(), Finding> {
    for artefact in &database.artefacts {
        let path = file_of(state, artefact.kind, &artefact.digest);
        let bytes = read(&path)?;
        check(&path, artefact.kind, artefact, &bytes, roots, now)?;
        if bytes != artefact.body {
            return Err(Finding::new(
                &database.path,
                format!("its copy of `{}` was changed", path.display()),
            ));
        }
    }
    Ok(())
}

/// The trust root at hand with the earlier versions that the ledger kept.
pub(super) fn roots(
    state: &Path,
    database: &Database,
    roots: &RootChain,
) -> Result<RootChain, Finding> {
    let kept = database.artefacts.iter().filter(|kept| kept.kind == ArtefactKind::TrustRoot);
    let kept = kept.map(|kept| &kept.body[..]);
    let given = roots.versions().iter().map(|root| root.file());
    let files: BTreeSet<&[u8]> = given.chain(kept).collect();
    let files: Vec<Vec<u8>> = files.into_iter().map(<[u8]>::to_vec).collect();
    RootChain::new(roots.newest().clone(), &files)
        .map_err(|error| Finding::new(state.join(ArtefactKind::TrustRoot.folder()), error))
}

/// The file's own bytes, against its name and its author.
fn check(
    path: &Path,
    kind: ArtefactKind,
    artefact: &Artefact,
    bytes: &[u8],
    roots: &RootChain,
    now: UnixSeconds,
) -> Result<(), Finding> {
    let refuse = |what: String| Finding::new(path, what);
    let found = match kind {
        ArtefactKind::Annex
        | ArtefactKind::Policy
        | ArtefactKind::TrustRoot
        | ArtefactKind::Constitution => sha256(bytes),
        ArtefactKind::Judgement => {
            let verified = roots.verify_record::<Judgement>(&envelope(path, bytes)?, now);
            verified.map_err(|error| refuse(error.to_string()))?.payload_digest
        }
        ArtefactKind::Request => {
            let verified = roots.verify_record::<AuditRequest>(&envelope(path, bytes)?, now);
            verified.map_err(|error| refuse(error.to_string()))?.payload_digest
        }
        ArtefactKind::Edit => {
            let verified = roots.verify_record::<SelfEdit>(&envelope(path, bytes)?, now);
            let edit = verified.map_err(|error| refuse(error.to_string()))?.statement.predicate;
            digest_of(&edit).map_err(|error| refuse(error.to_string()))?
        }
        ArtefactKind::Verdict => return Err(refuse("a verdict among the artefacts".to_owned())),
    };
    if found == artefact.digest {
        Ok(())
    } else {
        Err(refuse("its content is not what its name says".to_owned()))
    }
}

/// No folder holds more than the ledger says.
pub(super) fn verify_complete(state: &Path, database: &Database) -> Result<(), Finding> {
    ArtefactKind::ALL.into_iter().try_for_each(|kind| refuse_strangers(state, kind, database))
}

/// A file that the ledger does not know proves nothing and may mislead.
fn refuse_strangers(state: &Path, kind: ArtefactKind, database: &Database) -> Result<(), Finding> {
    let verdicts = database
        .verdicts
        .iter()
        .filter(|_| kind == ArtefactKind::Verdict)
        .map(|verdict| verdict.payload_digest);
    let others = database
        .artefacts
        .iter()
        .filter(|artefact| artefact.kind == kind)
        .map(|artefact| artefact.digest);
    let proofs = verdicts.clone().map(|digest| format!("{digest}.tlog-proof"));
    let files = verdicts.chain(others).map(|digest| format!("{digest}.json"));
    let known: BTreeSet<String> = files.chain(proofs).collect();
    let folder = state.join(kind.folder());
    if known.is_empty() && !folder.exists() {
        return Ok(());
    }
    let listed = std::fs::read_dir(&folder)
        .map_err(|error| Finding::new(&folder, format!("it cannot be read: {error}")))?;
    for entry in listed {
        let name = entry.map_err(|error| Finding::new(&folder, error))?.file_name();
        let unfinished = name.to_string_lossy().starts_with(".tmp-");
        if !unfinished && !known.contains(name.to_string_lossy().as_ref()) {
            return Err(Finding::new(folder.join(name), "the ledger does not know this file"));
        }
    }
    Ok(())
}
