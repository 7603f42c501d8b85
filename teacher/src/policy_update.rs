//! The job "policy update", the M-step of ReST^EM: SFT of a policy on edits that were accepted.
//!
//! **Invariant:** the policy learns from verified verdicts alone, each on one edit that this teacher
//! wrote, for this base, and used by no other request. If one verdict fails, nothing is trained.
//! **Invariant:** the same request leads to the same policy, after a crash too; a long update goes on
//! from where it was last saved.
//!
//! Source: arXiv:2506.10943, section 3.1. Differences: all weights are trained and not an adapter,
//! directives weigh more, and replay lines keep the policy's other abilities.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::num::NonZeroU64;
use std::path::PathBuf;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use seal_model::Decoder;
use seal_protocol::{
    Digest, Envelope, LossPart, PolicyUpdate, PolicyUpdateRequest, PolicyUpdated, SelfEdit,
    Subject, TrainingExample, Verdict, VerdictKind,
};
use seal_training::{OptimRecipe, SaveError, Saves, TrainOptions, TrainSequence, fine_tune_with};
use seal_trust::{
    Expectation, Verified, check_verdict, digest_of, envelope_from_file_bytes, envelope_to_bytes,
    payload_digest,
};
use serde::Serialize;

use crate::batches::{batches, replay_lines};
use crate::edits::{self, unwritable};
use crate::error::TeacherError;
use crate::replay::RecordedQuota;
use crate::rows::{replay_row, reply_row};
use crate::seeds::update_seed;
use crate::teacher::{Report, Teacher};

/// One accepted edit as the policy learns it.
struct Lesson {
    verdict_digest: Digest,
    edit_digest: Digest,
    row: TrainSequence,
}

/// The recipe as it is hashed.
#[derive(Serialize)]
struct Recipe<'a> {
    version: u32,
    loss: &'a str,
    optimizer: &'a OptimRecipe,
    batch: usize,
    epochs: usize,
    directive_weight: f32,
    replay: Vec<RecordedQuota>,
}

const LOSS: &str = "mean over reply tokens + mean over replay tokens";

impl Teacher {
    /// Trains a policy on accepted edits and signs the receipt.
    ///
    /// # Errors
    /// No verdict; a verdict that does not verify, is of another kind or for another base, was used
    /// by another request, or is about an edit that this teacher did not write; an unknown parent.
    pub fn policy_update(
        &mut self,
        request: &PolicyUpdateRequest,
        report: Report<'_>,
    ) -> Result<PolicyUpdated, TeacherError> {
        let id = digest_of(request)?;
        if let Some((policy_digest, receipt)) = self.state.updated(&id)? {
            let update = envelope_from_file_bytes(&receipt)?;
            return Ok(PolicyUpdated { update, policy_digest });
        }
        if request.verdicts.is_empty() {
            return Err(TeacherError::NoVerdict);
        }
        let verdicts = self.checked_verdicts(&request.verdicts)?;
        let lessons = self.lessons(&verdicts)?;
        let mut seen = self.state.seen()?;
        seen.check_and_insert(id, &verdicts.iter().collect::<Vec<_>>())?;
        let parent_policy_digest = self.policy_digest(request.parent_policy_digest)?;
        let parent = self.policies.get(parent_policy_digest)?;
        let seed = update_seed(request.seed, &request.stage);
        let recipe_digest = self.policy_recipe_digest()?;
        let identity = [id, parent_policy_digest, recipe_digest].map(|digest| *digest.as_bytes());
        let trained = self.train(&parent, &lessons, seed, &identity.concat(), report)?;
        let policy_digest = self.policies.put(&trained)?;
        let update = PolicyUpdate {
            stage: request.stage.clone(),
            parent_policy_digest,
            policy_digest,
            verdict_digests: lessons.iter().map(|lesson| lesson.verdict_digest).collect(),
            edit_digests: lessons.iter().map(|lesson| lesson.edit_digest).collect(),
            recipe_digest,
            seed,
        };
        let (update, _) = self.sign(Subject::new("policy", policy_digest), update)?;
        self.state.commit(&id, &policy_digest, &envelope_to_bytes(&update), &seen)?;
        tracing::info!(policy.digest = %policy_digest, edits = lessons.len(), "policy updated");
        self.restore_receipts()?;
        self.clear_unfinished()?;
        Ok(PolicyUpdated { update, policy_digest })
    }

    /// The file of an update that was not finished. One is under way at a time.
    fn unfinished(&self) -> PathBuf {
        self.config.state.join("unfinished-policy.safetensors")
    }

    fn clear_unfinished(&self) -> Result<(), TeacherError> {
        let file = self.unfinished();
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(unwritable(&file, error)),
            _ => Ok(()),
        }
    }

    fn checked_verdicts(
        &self,
        envelopes: &[Envelope],
    ) -> Result<Vec<Verified<Verdict>>, TeacherError> {
        let expected = self.expectation();
        let now = self.now();
        let check = |envelope| Ok(check_verdict(&self.root, envelope, &expected, now)?);
        let verdicts: Vec<_> = envelopes.iter().map(check).collect::<Result<_, TeacherError>>()?;
        // A second look binds each verdict to the context its edit was written for.
        for (envelope, verdict) in envelopes.iter().zip(&verdicts) {
            let edit = self.own_edit(&only_edit(verdict)?)?;
            let contexts = [edit.context_digest];
            let bound = Expectation { context_digests: Some(&contexts), ..expected };
            check_verdict(&self.root, envelope, &bound, now)?;
        }
        Ok(verdicts)
    }

    fn expectation(&self) -> Expectation<'static> {
        Expectation {
            base_model_digest: Some(self.base_digest),
            tokenizer_digest: Some(self.tokenizer_digest),
            ..Expectation::of(VerdictKind::Edit)
        }
    }

    /// An edit that this teacher wrote and signed.
    fn own_edit(&self, digest: &Digest) -> Result<SelfEdit, TeacherError> {
        let envelope = self.edits.edit(digest)?.ok_or(TeacherError::EditUnknown(*digest))?;
        let edit = self.root.verify::<SelfEdit>(&envelope, self.now())?.statement.predicate;
        match digest_of(&edit)? == *digest {
            true => Ok(edit),
            false => Err(self.edits.edit_damaged(digest)),
        }
    }

    /// What the verdicts teach, in the order of the edits' digests: those follow from the run's seed,
    /// while a verdict's digest holds a time and would make each run another one.
    fn lessons(&self, verdicts: &[Verified<Verdict>]) -> Result<Vec<Lesson>, TeacherError> {
        let mut lessons =
            verdicts.iter().map(|verdict| self.lesson(verdict)).collect::<Result<Vec<_>, _>>()?;
        lessons.sort_by_key(|lesson| lesson.edit_digest);
        Ok(lessons)
    }

    fn lesson(&self, verdict: &Verified<Verdict>) -> Result<Lesson, TeacherError> {
        let edit_digest = only_edit(verdict)?;
        let edit = self.own_edit(&edit_digest)?;
        let reply =
            self.edits.reply(&edit_digest)?.ok_or(TeacherError::NoReply(edit_digest))?.tokens;
        // What is learned must be what was signed and judged, word for word.
        let parsed = self.prompter.parse(&reply).ok();
        let said = parsed.filter(|parsed| {
            parsed.labels == edit.directives.labels && parsed.lines == lines_of(&edit)
        });
        said.ok_or_else(|| self.edits.reply_damaged(&edit_digest))?;
        let prompt = self.prompter.write(&self.context(&edit.context_digest)?.text, &[])?;
        let weight = self.config.policy_update.directive_weight;
        Ok(Lesson {
            verdict_digest: verdict.payload_digest,
            edit_digest,
            row: reply_row(&self.prompter, &prompt, &reply, weight),
        })
    }

    fn train(
        &self,
        parent: &Decoder,
        lessons: &[Lesson],
        seed: u64,
        identity: &[u8],
        report: Report<'_>,
    ) -> Result<Decoder, TeacherError> {
        let settings = &self.config.policy_update;
        let steps = batches(lessons.len(), settings.batch, settings.epochs, seed);
        let replay = self.replay_rows()?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(1);
        let mut next = |step: u64| {
            let rows = usize::try_from(step).ok().and_then(|step| steps.get(step));
            let rows = rows.into_iter().flatten().map(|row| lessons[*row].row.clone());
            let kept = replay.iter().flat_map(|(lines, quota)| {
                let drawn = replay_lines(lines.len(), *quota, &mut rng);
                drawn.into_iter().map(|line| lines[line].clone()).collect::<Vec<_>>()
            });
            rows.chain(kept).collect()
        };
        let (optimizer, unfinished) = (settings.optimizer(), self.unfinished());
        let options = TrainOptions {
            gradient_checkpointing: settings.gradient_checkpointing,
            saves: NonZeroU64::new(settings.save_steps).map(|every_steps| Saves {
                every_steps,
                identity,
                files: std::slice::from_ref(&unfinished),
                unusable: &|error: &SaveError| tracing::warn!("{error}"),
            }),
        };
        let count = steps.len() as u64;
        let (trained, _) = fine_tune_with(parent, &mut next, &optimizer, count, &options, report)?;
        Ok(trained)
    }

    /// Every replay file's rows with the number drawn from it in each step.
    fn replay_rows(&self) -> Result<Vec<(Vec<TrainSequence>, usize)>, TeacherError> {
        let row = |line: &String| Ok(replay_row(&self.prompter, line)?);
        let rows = |lines: &[String]| lines.iter().map(row).collect::<Result<_, TeacherError>>();
        self.replay.iter().map(|file| Ok((rows(&file.lines)?, file.quota))).collect()
    }

    fn policy_recipe_digest(&self) -> Result<Digest, TeacherError> {
        let settings = &self.config.policy_update;
        Ok(digest_of(&Recipe {
            version: 1,
            loss: LOSS,
            optimizer: &settings.optimizer(),
            batch: settings.batch,
            epochs: settings.epochs,
            directive_weight: settings.directive_weight,
            replay: self.replay.iter().map(|file| file.recorded.clone()).collect(),
        })?)
    }

    /// Writes the receipts' files, where a crash kept them from being written.
    pub(crate) fn restore_receipts(&self) -> Result<(), TeacherError> {
        let folder = self.config.state.join("policy-updates");
        std::fs::create_dir_all(&folder).map_err(|source| unwritable(&folder, source))?;
        for receipt in self.state.receipts()? {
            let digest = payload_digest(&envelope_from_file_bytes(&receipt)?)?;
            edits::put(&folder.join(format!("{digest}.json")), &receipt)?;
        }
        Ok(())
    }
}

/// The one edit a verdict is about.
fn only_edit(verdict: &Verified<Verdict>) -> Result<Digest, TeacherError> {
    let edits: BTreeSet<Digest> =
        verdict.statement.predicate.edit_digests.iter().copied().collect();
    match (edits.len(), edits.first()) {
        (1, Some(edit)) => Ok(*edit),
        (count, _) => Err(TeacherError::NotOneEdit(count)),
    }
}

fn lines_of(edit: &SelfEdit) -> Vec<String> {
    let line = |example: &TrainingExample| match example {
        TrainingExample::Text { text, part: LossPart::Edit } => Some(text.clone()),
        _ => None,
    };
    edit.examples.iter().filter_map(line).collect()
}
