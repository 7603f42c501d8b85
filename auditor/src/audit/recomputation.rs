//! The stage between text rules and τ: adapters that are trained again.

use std::time::Instant;

use seal_protocol::Recomputation;

use super::intake::Intake;
use super::{AuditError, Auditor};
use crate::annex::Measured;
use crate::gate::{Stage, StageRecord};
use crate::measure::{MeasureError, Measurer};
use crate::recompute::{Claim, Recomputed};

impl<M: Measurer> Auditor<M> {
    /// Trains again what the draw falls on, notes what came of it, and keeps what may be measured.
    /// `loaded` holds adapters with the numbers of their candidates.
    pub(super) fn recomputed(
        &mut self,
        intake: &Intake,
        loaded: Vec<(usize, M::Adapter)>,
        measured: &mut [Measured],
        until: Instant,
    ) -> Result<Vec<(usize, M::Adapter)>, AuditError> {
        if self.parts.draw.share().is_none() {
            return Ok(loaded);
        }
        let findings = self.findings(intake, &loaded, until)?;
        for candidate in measured.iter_mut() {
            candidate.early.push(StageRecord::not_run(Stage::Recomputation));
        }
        let mut kept = Vec::new();
        for ((number, adapter), finding) in loaded.into_iter().zip(findings) {
            let candidate = &mut measured[number];
            if let Some(record) = candidate.early.last_mut() {
                *record = finding.stage();
            }
            if finding.outcome == Recomputation::Refused {
                let (reason, adapter) = (&finding.reason, candidate.adapter_digest);
                tracing::warn!(?reason, ?adapter, "an adapter is not shown to be what is claimed");
            } else {
                kept.push((number, adapter));
            }
            candidate.recomputation = Some(finding);
        }
        Ok(kept)
    }

    fn findings(
        &mut self,
        intake: &Intake,
        loaded: &[(usize, M::Adapter)],
        until: Instant,
    ) -> Result<Vec<Recomputed>, AuditError> {
        let request = &intake.request;
        // Who handed in a foreign adapter once is not left to the draw any more.
        let everything = self.parts.ledger.holds_a_forgery();
        let (draw, ledger) = (&self.parts.draw, &self.parts.ledger);
        let claims: Vec<Claim<'_, M::Adapter>> = loaded
            .iter()
            .map(|(number, adapter)| {
                let candidate = &request.candidates[*number];
                // Of a step of a sequence, what its parent had learned was trained again when that came.
                let parent = candidate.parent_adapter_digest;
                let before = parent.and_then(|parent| ledger.measured(&parent));
                let learned = before.map_or(&[][..], |before| &before.edit_digests);
                let edits = candidate.edit_digests.iter().filter(|edit| !learned.contains(edit));
                let drawn = draw.falls_on(request.purpose, &intake.digest, *number);
                Claim {
                    purpose: request.purpose,
                    candidate,
                    edits: edits
                        .filter_map(|digest| Some((*digest, &intake.edits.get(digest)?.edit)))
                        .collect(),
                    adapter,
                    drawn: everything || drawn,
                }
            })
            .collect();
        let findings = self.parts.measurer.recompute(&claims, until)?;
        match findings.len() == claims.len() {
            true => Ok(findings),
            false => Err(MeasureError::Failed("not one finding per claim".to_owned()).into()),
        }
    }
}

#[cfg(test)]
mod tests;
