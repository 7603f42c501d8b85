//! One audit from submission to reply.
//!
//! **Invariant:** a request has one reply, whatever is sent again.
//! **Invariant:** the base of the measurement is the one this process loaded and hashed; a claim of
//! the student about it only ever refuses.
//! **Absent:** transport, start-up, the model itself.

mod adapters;
mod ballot;
mod base_cache;
mod error;
mod facts;
mod intake;
mod panels;
mod provenance;
mod recomputation;
mod record;
mod repeats;
mod signing;
mod sources;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use base_cache::BaseCache;
pub use error::AuditError;
use seal_protocol::{AuditPurpose, AuditSubmission, Audited, Candidate, Digest, UnixSeconds};
use seal_service::clock::Clock;
use seal_service::store::ContentStore;
use seal_trust::{TrustedRoot, canonical_json, envelope_to_bytes, sha256};
pub use signing::Identity;

use self::adapters::Adapters;
use self::intake::Intake;
use self::panels::{ItemPanel, SuiteSizes};
use self::repeats::Repeating;
use crate::annex::{Annex, Measured, Terms};
use crate::gate::{GateSettings, Panel, Stage, StageRecord};
use crate::grading::Gradings;
use crate::items::Item;
use crate::judge;
use crate::ledger::{Head, Ledger, LedgerError, NewGroup};
use crate::level::Level;
use crate::measure::{MeasureError, Measurer};
use crate::policy::{AttemptFacts, Facts, Policy};
use crate::recompute::Draw;
use crate::rules::Rules;
use crate::vault::Vault;
use crate::voting::voters;

/// The audit's time was over before all was measured.
const OUT_OF_TIME: &str = "measurement.out-of-time";

/// Everything an auditor is built from.
pub struct Parts<M> {
    /// Who may say what.
    pub root: TrustedRoot,
    /// Who decides.
    pub identity: Identity,
    /// τ and suites.
    pub vault: Vault,
    /// Text rules.
    pub rules: Rules,
    /// The constitution that edits are held against, where a judge is demanded.
    pub constitution: Option<Digest>,
    /// Levels and limits.
    pub settings: GateSettings,
    /// Written policy, where there is one.
    pub policy: Option<Policy>,
    /// How answers are judged.
    pub gradings: Gradings,
    /// Items of the retention suite an edit is measured on.
    pub retention_items: usize,
    /// Items of the refusal suite an edit is measured on.
    pub refusal_items: usize,
    /// Known questions with random words in them; none where the gate does not ask for them.
    pub perturbed: Vec<Item>,
    /// Who is trained again.
    pub draw: Draw,
    /// The record.
    pub ledger: Ledger,
    /// Base outcomes.
    pub cache: BaseCache,
    /// Uploaded adapter files.
    pub uploads: ContentStore,
    /// A folder of its own for laying out adapters.
    pub bench: PathBuf,
    /// The model.
    pub measurer: M,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Longest time that one audit may take, from its first candidate on.
    pub time_limit: Duration,
}

/// Candidates after the early stages, and the adapters of those that can be measured.
type Early<M> = (Vec<Measured>, Vec<(usize, <M as Measurer>::Adapter)>);

/// The auditor behind its door.
pub struct Auditor<M> {
    parts: Parts<M>,
    adapters: Adapters,
}

impl<M: Measurer> Auditor<M> {
    /// Puts the parts together.
    pub fn new(parts: Parts<M>) -> Self {
        let (uploads, bench) = (parts.uploads.clone(), parts.bench.clone());
        let adapters = Adapters { uploads, bench };
        Self { parts, adapters }
    }

    /// Digest of the base it measures against.
    pub fn base_model_digest(&self) -> Digest {
        self.parts.measurer.base_model_digest()
    }

    /// Judges a group and records it; the same request again gets the stored reply.
    ///
    /// # Errors
    /// A request that does not verify or asks nothing; files not uploaded; a model, ledger or disk
    /// that failed. In none of these cases was anything signed, but where the disk failed after the
    /// commit: the same request then gets the stored reply.
    pub fn audit(&mut self, submission: AuditSubmission) -> Result<Audited, AuditError> {
        let now = self.parts.clock.now();
        let intake = Intake::verify(&self.parts.root, submission, now)?;
        if let Some(reply) = self.parts.ledger.reply(&intake.digest)? {
            // What a failure after the commit left undone, is done now.
            self.parts.ledger.catch_up()?;
            self.forget_losers(&intake);
            return Ok(reply);
        }
        if self.parts.ledger.nonce_is_taken(&intake.request.nonce, &intake.digest)? {
            return Err(LedgerError::NonceUsed.into());
        }
        let (panels, measured) = self.measured(&intake)?;
        let annex = Annex::rule(self.terms(&intake), panels, measured);
        let reply = self.recorded(&intake, &annex, now)?;
        self.forget_losers(&intake);
        Ok(reply)
    }

    /// Every candidate through the early stages. Returns, beside all of them, the adapters that can be
    /// measured with the numbers of their candidates.
    fn early(&mut self, intake: &Intake, until: Instant) -> Result<Early<M>, AuditError> {
        let mut measured = Vec::new();
        let mut loaded = Vec::new();
        for candidate in &intake.request.candidates {
            let (bytes, adapter) = self.adapters.load(&mut self.parts.measurer, candidate)?;
            let mut early =
                vec![bytes, self.provenance(intake, candidate), self.text(intake, candidate)];
            early.extend(self.judged(intake, candidate));
            let sound = early[..2].iter().all(StageRecord::passed);
            loaded.extend(adapter.filter(|_| sound).map(|adapter| (measured.len(), adapter)));
            measured.push(self.unmeasured(intake, candidate, early));
        }
        let loaded = self.recomputed(intake, loaded, &mut measured, until)?;
        Ok((measured, loaded))
    }

    /// The early stages, then all that can be measured in one go, and what runs again after that.
    fn measured(&mut self, intake: &Intake) -> Result<(Vec<Panel>, Vec<Measured>), AuditError> {
        let begun = Instant::now();
        let until = begun.checked_add(self.parts.time_limit).unwrap_or(begun);
        let (mut measured, loaded) = self.early(intake, until)?;
        if loaded.is_empty() {
            return Ok((Vec::new(), measured));
        }
        let (at, adapters): (Vec<usize>, Vec<M::Adapter>) = loaded.into_iter().unzip();
        let voters = self.voters(intake, &at, &measured);
        let last = self.last_version(intake)?;
        let sizes = SuiteSizes {
            retention: self.parts.retention_items,
            refusals: self.parts.refusal_items,
        };
        let alpha = self.level(intake).alpha;
        let Parts { vault, cache, measurer, gradings, perturbed, draw, settings, .. } =
            &mut self.parts;
        let (purpose, contexts) = (intake.request.purpose, intake.contexts());
        let mut items = ItemPanel::of(vault, purpose, contexts, sizes, gradings, perturbed);
        let all = || -> Result<Vec<Panel>, AuditError> {
            if let Some(voters) = voters {
                ballot::label(measurer, &mut items, &adapters, &voters, until)?;
            }
            let (panels, outcomes) =
                panels::measure(measurer, cache, &items, adapters, last, until)?;
            for (index, outcomes) in at.iter().zip(outcomes) {
                measured[*index].outcomes = Some(outcomes);
            }
            let asked = (items.as_slice(), panels.as_slice());
            let repeating = Repeating { settings, alpha, intake, draw, asked };
            repeating.run(measurer, &mut measured, until)?;
            Ok(panels)
        };
        let panels = match all() {
            // It depends on the machine's pace, so it only ever refuses; and whoever comes next is
            // judged.
            Err(AuditError::Measure(MeasureError::OutOfTime)) => {
                tracing::warn!("an audit was not over in time; its candidates are refused");
                for index in at {
                    let record = StageRecord::out_of_time(Stage::Measurement, OUT_OF_TIME);
                    measured[index].early.push(record);
                    measured[index].outcomes = None;
                    measured[index].runs.clear();
                }
                Vec::new()
            }
            all => all?,
        };
        Ok((panels, measured))
    }

    /// Where labels are voted, which of the loaded adapters vote beside the base: those that nothing
    /// spoke against so far, so that a refused edit steers no label, and each only once.
    fn voters(&self, intake: &Intake, at: &[usize], measured: &[Measured]) -> Option<Vec<usize>> {
        if self.parts.settings.labels_of(intake.request.purpose).is_gold() {
            return None;
        }
        let sound = |index: &usize| measured[*index].early.iter().all(StageRecord::permits);
        let (places, marks): (Vec<usize>, Vec<_>) = at
            .iter()
            .enumerate()
            .filter(|(_, index)| sound(index))
            .map(|(place, index)| {
                (place, ballot::marks(intake, &intake.request.candidates[*index]))
            })
            .unzip();
        Some(voters(marks).into_iter().map(|voter| places[voter]).collect())
    }

    /// The version accepted last, for what wants to follow it.
    fn last_version(&mut self, intake: &Intake) -> Result<Option<M::Adapter>, AuditError> {
        if intake.request.purpose != AuditPurpose::Promotion {
            return Ok(None);
        }
        let base = self.base_model_digest();
        let Some(files) = self.parts.ledger.last_promotion(&base)? else { return Ok(None) };
        self.adapters.load_accepted(&mut self.parts.measurer, &files).map(Some)
    }

    fn provenance(&self, intake: &Intake, candidate: &Candidate) -> StageRecord {
        let Parts { vault, ledger, measurer, root, settings, .. } = &self.parts;
        let over = |quota| sources::over_quota(quota, vault, ledger, intake, candidate);
        let budget = root.root().limits.tau_query_budget;
        let known = provenance::Known {
            base_model: measurer.base_model_digest(),
            tokenizer: measurer.tokenizer_digest(),
            has_tau: &|context| vault.tau(context).is_some(),
            is_accepted: &|edit| ledger.is_accepted(edit),
            measured: &|adapter| ledger.measured(adapter),
            over_source_quota: settings.max_edits_per_source.is_some_and(over),
            budget_spent: self.level(intake).is_spent(budget),
        };
        provenance::stage(&known, intake, candidate)
    }

    fn text(&self, intake: &Intake, candidate: &Candidate) -> StageRecord {
        let edits = candidate.edit_digests.iter().filter_map(|digest| intake.edits.get(digest));
        let mut reasons: Vec<String> =
            edits.flat_map(|verified| self.parts.rules.findings(&verified.edit)).collect();
        reasons.sort();
        reasons.dedup();
        StageRecord::of(Stage::Text, reasons)
    }

    /// What judges said of the edits, for what asks for a signature.
    fn judged(&self, intake: &Intake, candidate: &Candidate) -> Option<StageRecord> {
        let constitution = self.constitution(intake)?;
        let judgements = intake.judgements.iter().map(|verified| &verified.judgement);
        Some(judge::stage(&constitution, &candidate.edit_digests, judgements))
    }

    /// The constitution in force for a request; an evaluation asks for nothing.
    fn constitution(&self, intake: &Intake) -> Option<Digest> {
        self.parts.constitution.filter(|_| intake.request.purpose != AuditPurpose::Evaluation)
    }

    /// What of the level is left under the τ of the claimed contexts.
    fn level(&self, intake: &Intake) -> Level {
        let Parts { vault, ledger, settings, .. } = &self.parts;
        let used = |context| ledger.used(context, vault.in_force(context), intake.request.purpose);
        Level::of(settings, intake.contexts().iter().map(used))
    }

    fn terms(&self, intake: &Intake) -> Terms<'_> {
        Terms {
            request_digest: intake.digest,
            purpose: intake.request.purpose,
            stage: intake.request.stage.clone(),
            base_model_digest: self.parts.measurer.base_model_digest(),
            alpha: self.level(intake).alpha,
            settings: self.parts.settings.clone(),
            recompute: self.parts.draw.share(),
            constitution: self.constitution(intake),
            policy: self.parts.policy.as_ref(),
        }
    }

    fn unmeasured(
        &self,
        intake: &Intake,
        candidate: &Candidate,
        early: Vec<StageRecord>,
    ) -> Measured {
        Measured {
            context_digests: candidate.context_digests.clone(),
            edit_digests: candidate.edit_digests.clone(),
            adapter_digest: candidate.adapter_digest(),
            judgement_digests: match self.constitution(intake) {
                Some(_) => intake.judgements_on(candidate),
                None => Vec::new(),
            },
            early,
            recomputation: None,
            outcomes: None,
            runs: Vec::new(),
            facts: self.facts(intake, candidate),
        }
    }

    /// What written policy is told besides the measurements. Kept where there is none, too, so that
    /// one written later can be tried on it.
    fn facts(&self, intake: &Intake, candidate: &Candidate) -> Option<Facts> {
        let Level { earlier, alpha } = self.level(intake);
        let attempts = AttemptFacts {
            earlier,
            budget: self.parts.root.root().limits.tau_query_budget,
            group: u32::try_from(intake.request.candidates.len()).unwrap_or(u32::MAX),
            alpha,
        };
        facts::of(intake, candidate, attempts, &self.parts.identity)
    }

    fn recorded(
        &mut self,
        intake: &Intake,
        annex: &Annex,
        now: UnixSeconds,
    ) -> Result<Audited, AuditError> {
        let annex_bytes = canonical_json(annex).map_err(LedgerError::from)?;
        let annex_digest = sha256(&annex_bytes);
        let commitments = record::commitments(&self.parts.vault, intake);
        let tau = record::tau(&self.parts.vault, intake);
        let (ledger, identity) = (&mut self.parts.ledger, &self.parts.identity);
        let build = |head: Head| {
            let verdict =
                record::signed(identity, intake, annex, annex_digest, commitments, &head)?;
            let verdict_digest =
                verdict.as_ref().map(|envelope| sha256(&envelope_to_bytes(envelope)));
            Ok(NewGroup {
                rows: record::rows(intake, annex, annex_digest, &tau, verdict_digest),
                verdict,
                artefacts: record::artefacts(intake, annex, annex_digest, annex_bytes),
            })
        };
        Ok(ledger.commit(Some((intake.digest, &intake.request.nonce)), now, build)?)
    }

    /// Tensors that no verdict covers are measured and done with.
    fn forget_losers(&self, intake: &Intake) {
        let tensors = intake.request.candidates.iter().filter_map(Candidate::adapter_digest);
        tensors
            .filter(|digest| !self.parts.ledger.keeps(digest))
            .for_each(|digest| self.adapters.forget(&digest));
    }
}

#[cfg(test)]
mod tests;
