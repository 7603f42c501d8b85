//! The judge at work: its trial first, then one judgement for each edit.

use std::sync::Arc;

use seal_endpoint::{Report, WayOut};
use seal_protocol::{
    Digest, Envelope, JudgeRequest, Judged, Judgement, Role, SelfEdit, Statement, Subject,
    TrainingExample, Trial, UnixSeconds, UnjudgedEdit,
};
use seal_service::clock::Clock;
use seal_trust::{SigningKey, TrustedRoot, digest_of, sign_statement};
use seal_witness::{RootSource, own_key};

use crate::asking::{Asking, Material, Said};
use crate::config::JudgeConfig;
use crate::error::JudgeError;
use crate::trial;

/// Most edits of one request.
const MAX_EDITS: usize = 4096;

/// What is read before the process is confined, because afterwards it cannot be read again.
pub struct Identity {
    key: SigningKey,
    root: TrustedRoot,
    /// The way to the endpoint; absent: no way out.
    pub(crate) way_out: Option<WayOut>,
}

impl Identity {
    /// Reads the key and the trust root; resolves and pins the endpoint and reads its key.
    ///
    /// # Errors
    /// A key that is unreadable, revoked or holds another role, a trust root that is not to be trusted, an
    /// endpoint that may not be reached.
    pub fn read(config: &JudgeConfig, now: UnixSeconds) -> Result<Self, JudgeError> {
        let root = RootSource {
            file: &config.trust_root,
            pinned: config.trust_root_sha256,
            state: &config.state,
        };
        let root = root.in_force(now)?.newest().clone();
        let key = own_key(&root, Role::Judge, &config.key)?;
        let way_out = WayOut::prepare(&config.backend, &config.egress)?;
        Ok(Self { key, root, way_out })
    }
}

/// Everything the judge's work needs.
pub struct Judge {
    config: JudgeConfig,
    asking: Asking,
    key: SigningKey,
    root: TrustedRoot,
    clock: Arc<dyn Clock>,
    /// Held once a process; its answers are kept, so a restart pays for none of them.
    trial: Option<Trial>,
}

/// An edit that a teacher signed.
struct Submitted {
    digest: Digest,
    edit: SelfEdit,
}

impl Judge {
    /// Opens record and store, reads the constitution.
    ///
    /// # Errors
    /// A constitution that cannot try a judge; a state folder that cannot be written or is damaged.
    pub fn load(
        config: JudgeConfig,
        identity: Identity,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, JudgeError> {
        let Identity { key, root, way_out } = identity;
        let asking = Asking::open(&config, way_out, &config.state, clock.clone())?;
        Ok(Self { config, asking, key, root, clock, trial: None })
    }

    /// Judges edits. The same edit is asked about once, whatever request it comes in.
    ///
    /// # Errors
    /// An edit that no teacher signed; a model that fails on the constitution's own cases; an endpoint that
    /// answers no further. What was answered until then is stored.
    pub fn judge(
        &mut self,
        request: &JudgeRequest,
        report: Report<'_>,
    ) -> Result<Judged, JudgeError> {
        let found = request.edits.len();
        if found > MAX_EDITS {
            return Err(JudgeError::TooMany { found, most: MAX_EDITS });
        }
        let now = self.clock.now();
        let submitted = request.edits.iter().map(|envelope| self.verified(envelope, now));
        let submitted: Vec<Submitted> = submitted.collect::<Result<_, _>>()?;
        let trial = self.trial()?;
        let most = self.config.max_edit_bytes;
        let (short, long): (Vec<&Submitted>, Vec<&Submitted>) =
            submitted.iter().partition(|one| bytes(&one.edit) <= most);
        let materials: Vec<Material<'_>> = short.iter().map(|one| material(&one.edit)).collect();
        let said = self.asking.about(&materials, report)?;
        let mut judged = Judged { judgements: Vec::new(), unjudged: Vec::new() };
        for (one, said) in short.into_iter().zip(said) {
            match self.judgement(one.digest, said, trial) {
                Ok(judgement) => judged.judgements.push(self.sign(judgement)?),
                Err(unjudged) => judged.unjudged.push(unjudged),
            }
        }
        judged.unjudged.extend(long.into_iter().map(|one| UnjudgedEdit {
            edit_digest: one.digest,
            reason: format!(
                "the edit has more than {most} bytes; raise `max_edit_bytes` of the judge"
            ),
        }));
        Ok(judged)
    }

    fn verified(&self, envelope: &Envelope, now: UnixSeconds) -> Result<Submitted, JudgeError> {
        let verified = self.root.verify::<SelfEdit>(envelope, now).map_err(JudgeError::Edit)?;
        let edit = verified.statement.predicate;
        Ok(Submitted { digest: digest_of(&edit)?, edit })
    }

    fn trial(&mut self) -> Result<Trial, JudgeError> {
        if let Some(trial) = self.trial {
            return Ok(trial);
        }
        let rulings = self.asking.about_cases()?;
        let trial = trial::held(&self.asking.constitution, &rulings);
        trial::demand(&self.asking.constitution, trial, &rulings)?;
        tracing::info!(
            judge.caught = trial.caught,
            judge.attacks = trial.attacks,
            judge.passed = trial.passed,
            judge.harmless = trial.harmless,
            "the judge knows the cases of its constitution"
        );
        self.trial = Some(trial);
        Ok(trial)
    }

    fn judgement(
        &self,
        edit_digest: Digest,
        said: Said,
        trial: Trial,
    ) -> Result<Judgement, UnjudgedEdit> {
        let ruling = said.ruling.map_err(|reason| UnjudgedEdit { edit_digest, reason })?;
        Ok(Judgement {
            edit_digest,
            ruling: ruling.ruling,
            violated: ruling.violated,
            constitution_digest: self.asking.constitution.digest(),
            judge: self.config.name.clone(),
            judge_digest: self.asking.judge_digest(),
            prompt_digest: said.prompt_digest,
            reply_schema: said.schema,
            trial,
        })
    }

    fn sign(&self, judgement: Judgement) -> Result<Envelope, JudgeError> {
        let subject = vec![Subject::new("self-edit", judgement.edit_digest)];
        Ok(sign_statement(&self.key, &Statement::new(subject, judgement))?)
    }
}

fn material(edit: &SelfEdit) -> Material<'_> {
    Material { texts: texts(edit), about: (edit.context_digest, edit.proposal) }
}

fn bytes(edit: &SelfEdit) -> usize {
    texts(edit).iter().map(|text| text.len()).sum()
}

/// All that an edit says: what is trained on, its reason, its labels.
fn texts(edit: &SelfEdit) -> Vec<&str> {
    let rationale = Some(edit.rationale.as_str()).filter(|text| !text.is_empty());
    let examples = edit.examples.iter().flat_map(TrainingExample::texts);
    examples.chain(rationale).chain(edit.directives.labels.iter().map(String::as_str)).collect()
}
