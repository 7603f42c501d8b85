//! The job "consolidation": one adapter from every accepted edit, put up for audit as a whole.
//!
//! **Invariant:** it trains on exactly those edits that verified edit verdicts on this base accept.
//! **Invariant:** a verdict feeds one request per stage. What comes out is only a candidate: it
//! serves nobody before a promotion verdict of its own.

use std::collections::BTreeSet;

use seal_protocol::{
    AuditPurpose, ConsolidateRequest, Digest, Envelope, InnerUpdated, Verdict, VerdictKind,
};
use seal_training::TrainError;
use seal_trust::{Expectation, Verified, check_verdicts, digest_of};

use crate::error::StudentError;
use crate::groups::{CheckedEdit, distinct};
use crate::one_candidate::Asked;
use crate::student::{Report, Student};

/// Verdicts with the edits that they let in.
pub(crate) struct Acceptance<'a> {
    /// Who uses them: each verdict once.
    pub(crate) consumer: String,
    /// Digest of the request that does.
    pub(crate) request: Digest,
    pub(crate) verdicts: &'a [Envelope],
    pub(crate) edits: &'a [Envelope],
}

impl Student {
    /// Trains one adapter on all accepted edits and signs its audit request.
    ///
    /// # Errors
    /// No verdict, a verdict that does not verify, is for another base or was used by another
    /// request of this stage, an edit without verdict or a verdict without edit; a training that
    /// diverges.
    pub fn consolidate(
        &self,
        request: &ConsolidateRequest,
        report: Report<'_>,
    ) -> Result<InnerUpdated, StudentError> {
        let edits = self.accepted_edits(&Acceptance {
            consumer: format!("consolidation/{}", request.stage),
            request: digest_of(request)?,
            verdicts: &request.verdicts,
            edits: &request.edits,
        })?;
        let asked =
            Asked { purpose: AuditPurpose::Promotion, stage: &request.stage, seed: request.seed };
        let task = self.task_on_all(&asked, &edits, |planner, edits, seed| {
            planner.consolidation(edits, seed)
        })?;
        let envelope = self.one_candidate(&task, &asked, report)?.map_err(TrainError::from)?;
        Ok(InnerUpdated { requests: vec![envelope], refused: Vec::new() })
    }

    /// The edits that the verdicts accept, in the order of their digests. The verdicts are marked used
    /// only when everything else holds.
    ///
    /// # Errors
    /// No verdict, one that does not verify, was not shown to stand in a ledger, is for another base or
    /// was used by another request of the consumer; a verdict without its edit.
    pub(crate) fn accepted_edits(
        &self,
        acceptance: &Acceptance<'_>,
    ) -> Result<Vec<CheckedEdit>, StudentError> {
        if acceptance.verdicts.is_empty() {
            return Err(StudentError::Empty("verdict"));
        }
        let verdicts = self.checked_verdicts(acceptance.verdicts)?;
        let edits = self.edits_of(&verdicts, acceptance.edits)?;
        self.witness.demand_shown(acceptance.verdicts)?;
        let mut seen = self.state.seen(&acceptance.consumer)?;
        seen.check_and_insert(acceptance.request, &verdicts.iter().collect::<Vec<_>>())?;
        self.state.keep_seen(&acceptance.consumer, &seen)?;
        Ok(edits)
    }

    fn edits_of(
        &self,
        verdicts: &[Verified<Verdict>],
        envelopes: &[Envelope],
    ) -> Result<Vec<CheckedEdit>, StudentError> {
        let accepted =
            verdicts.iter().flat_map(|verdict| &verdict.statement.predicate.edit_digests);
        let accepted: BTreeSet<Digest> = accepted.copied().collect();
        let mut edits = distinct(self.verified_edits(envelopes)?);
        // The sender may hand in all proposals of a stage; only accepted ones are trained on.
        edits.retain(|edit| accepted.contains(&edit.digest));
        edits.sort_by_key(|edit| edit.digest);
        let here: BTreeSet<Digest> = edits.iter().map(|edit| edit.digest).collect();
        match accepted.difference(&here).next() {
            Some(missing) => Err(StudentError::MissingEdit(*missing)),
            None => Ok(edits),
        }
    }

    fn checked_verdicts(
        &self,
        envelopes: &[Envelope],
    ) -> Result<Vec<Verified<Verdict>>, StudentError> {
        let expected = Expectation {
            base_model_digest: Some(self.base_digest),
            tokenizer_digest: Some(self.tokenizer_digest),
            ..Expectation::of(VerdictKind::Edit)
        };
        let groups = check_verdicts(&self.root, envelopes, &expected, self.now())?;
        Ok(groups.into_iter().flatten().collect())
    }
}
