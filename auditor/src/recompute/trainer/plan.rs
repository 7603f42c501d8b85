//! What a claim comes to by the auditor's own tables, before anything is trained.

use seal_model::{Adapter, Tokenizer};
use seal_protocol::AuditPurpose;
use seal_recipe::{PlanError, Planned, Planner, Sequencer};

use super::{ARITHMETIC, EDIT, PARENT, RECIPE, SETTINGS, Step, Trainer, tensors_digest};
use crate::measure::MeasureError;
use crate::recompute::compare::{Method, method};
use crate::recompute::{Claim, MeasuredBase, Recomputed};

impl Trainer {
    /// What to train, or the finding that needs no training. The cheap checks are made whatever the
    /// draw says.
    pub(super) fn planned(
        &self,
        base: &MeasuredBase<'_>,
        claim: &Claim<'_, Adapter>,
    ) -> Result<Result<(Planned, Method), Recomputed>, MeasureError> {
        let candidate = claim.candidate;
        let is_measured = claim.purpose == AuditPurpose::Evaluation;
        if candidate.parent_adapter_digest.is_some() && !is_measured {
            return Ok(Err(Recomputed::refused(PARENT, None)));
        }
        let planned = match self.claimed_plan(base, claim) {
            Ok(Some(planned)) => planned,
            Ok(None) => return Ok(Err(Recomputed::refused(RECIPE, None))),
            Err(error) if is_the_edits(&error) => {
                return Ok(Err(Recomputed::refused(EDIT, None)));
            }
            Err(error) => return Err(MeasureError::Failed(error.to_string())),
        };
        let (own, is_exact) = (base.decoder.arithmetic(), !base.decoder.is_composed());
        let Some(method) = method(&own, is_exact, &candidate.instruction_set, self.tolerance)
        else {
            return Ok(Err(Recomputed::refused(ARITHMETIC, None)));
        };
        Ok(if claim.drawn { Ok((planned, method)) } else { Err(Recomputed::not_drawn()) })
    }

    /// What these tables make of the claim's edits, if that is the recipe it names. What wants to
    /// serve may come of either update; whatever else is asked, of the inner one.
    fn claimed_plan(
        &self,
        base: &MeasuredBase<'_>,
        claim: &Claim<'_, Adapter>,
    ) -> Result<Option<Planned>, PlanError> {
        let (planner, seed) = (self.planner(base), claim.candidate.seed);
        let is_claimed = |planned: &Planned| planned.recipe_digest == claim.candidate.recipe_digest;
        let serves = claim.purpose == AuditPurpose::Promotion;
        if let [(digest, edit)] = claim.edits.as_slice() {
            match planner.inner_update(*digest, edit, seed) {
                Ok(planned) if is_claimed(&planned) => return Ok(Some(planned)),
                // A consolidation follows no directives, so it may still be one.
                Err(error) if !serves => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(match claim.purpose {
            AuditPurpose::Promotion => Some(planner.consolidation(&claim.edits, seed)?),
            // Continued pre-training, which is measured and nothing else.
            AuditPurpose::Evaluation if claim.edits.len() > 1 => {
                Some(planner.joint(&claim.edits, seed)?)
            }
            AuditPurpose::Edit | AuditPurpose::Evaluation => None,
        }
        .filter(is_claimed))
    }

    /// The stack that a step of a sequence handed in, taken apart; `None` for what continues nothing.
    /// Its head must be, bit by bit, the adapter that it says it continues: nothing that was learned
    /// before may have changed.
    pub(super) fn step(
        &self,
        base: &MeasuredBase<'_>,
        claim: &Claim<'_, Adapter>,
        planned: &Planned,
    ) -> Result<Result<Option<Step>, Recomputed>, MeasureError> {
        let Some(parent) = claim.candidate.parent_adapter_digest else { return Ok(Ok(None)) };
        let rank = claim.adapter.spec().r.saturating_sub(planned.recipe.r);
        // A rank or scale that does not come apart is not that of the recipe.
        let Ok((head, tail)) = claim.adapter.split_at(base.decoder.config(), rank) else {
            return Ok(Err(Recomputed::refused(SETTINGS, None)));
        };
        match tensors_digest(base, &head)? == parent {
            true => Ok(Ok(Some(Step { head, tail }))),
            false => Ok(Err(Recomputed::refused(PARENT, None))),
        }
    }

    pub(super) fn planner<'a>(&'a self, base: &MeasuredBase<'a>) -> Planner<'a> {
        Planner {
            sequencer: self.sequencer(base.tokenizer),
            inner_update: &self.tables.inner_update,
            consolidation: &self.tables.consolidation,
            directives: &self.tables.directives,
            inner_replay: &self.inner_replay,
            consolidation_replay: &self.consolidation_replay,
            chat: self.tables.chat.as_ref(),
        }
    }

    pub(super) fn sequencer<'a>(&'a self, tokenizer: &'a Tokenizer) -> Sequencer<'a> {
        Sequencer {
            tokenizer,
            start: self.start,
            end: self.end,
            max_tokens: self.tables.max_sequence_tokens,
            chat: self.chat.as_ref(),
        }
    }
}

/// By these tables no student trains on the edit.
pub(super) fn is_the_edits(error: &PlanError) -> bool {
    matches!(error, PlanError::Edit { .. } | PlanError::Directive(_) | PlanError::NoEdit)
}
