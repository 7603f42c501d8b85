//! What judges said, read again: the judge's stage of every candidate follows from kept judgements.

use std::path::Path;

use seal_protocol::{AuditPurpose, Digest, Judgement};

use super::database::Database;
use super::{Annex, CandidateAnnex, Finding, Stage, said};
use crate::judge;
use crate::ledger::{ArtefactKind, file_of};

/// The stages of a group, and that its constitution is kept.
pub(super) fn check(
    state: &Path,
    database: &Database,
    path: &Path,
    annex: &Annex,
) -> Result<(), Finding> {
    if let Some(constitution) = &annex.constitution_digest {
        if annex.purpose == AuditPurpose::Evaluation {
            return Err(Finding::new(path, "an evaluation asks no judge"));
        }
        database.kept(state, ArtefactKind::Constitution, constitution)?;
    }
    annex.candidates.iter().try_for_each(|candidate| {
        let derived = match &annex.constitution_digest {
            Some(constitution) => Some(derived(state, database, constitution, candidate)?),
            None => None,
        };
        let mut recorded =
            candidate.ruling.stages.iter().filter(|record| record.stage == Stage::Judge);
        let same = recorded.next() == derived.as_ref() && recorded.next().is_none();
        let unasked = derived.is_none() && !candidate.judgement_digests.is_empty();
        match same && !unasked {
            true => Ok(()),
            false => {
                Err(Finding::new(path, "what it says of the judge is not what the judge said"))
            }
        }
    })
}

fn derived(
    state: &Path,
    database: &Database,
    constitution: &Digest,
    candidate: &CandidateAnnex,
) -> Result<crate::gate::StageRecord, Finding> {
    let read = candidate.judgement_digests.iter().map(|digest| judgement(state, database, digest));
    let judgements: Vec<Judgement> = read.collect::<Result<_, _>>()?;
    Ok(judge::stage(constitution, &candidate.edit_digests, judgements.iter()))
}

/// A judgement as it was verified among the artefacts.
fn judgement(state: &Path, database: &Database, digest: &Digest) -> Result<Judgement, Finding> {
    let body = database.kept(state, ArtefactKind::Judgement, digest)?;
    let path = file_of(state, ArtefactKind::Judgement, digest);
    said(&path, body)
}
