//! Promotion and rollback: the only ways by which what serves can change.
//!
//! **Invariant:** an adapter serves only if a promotion verdict covers the very bytes that lie in
//! the store at that moment, and each verdict promotes once.

use std::collections::{BTreeMap, BTreeSet};

use seal_model::Adapter;
use seal_protocol::{
    ADAPTER_CONFIG_FILE, ADAPTER_MODEL_FILE, AdapterFile, AuditRequest, Candidate, Digest,
    Envelope, PromoteRequest, RollBackRequest, Served, ServingAction, ServingChange, Subject,
    Verdict, VerdictKind,
};
use seal_trust::{
    Expectation, VerdictError, Verified, check_binding, check_verdict_quorum, digest_of, sha256,
};

use crate::error::StudentError;
use crate::history::{history, served};
use crate::serving::BASE;
use crate::state::{PROMOTION, VersionRow};
use crate::student::{Student, file_form};

impl Student {
    /// Makes an audited adapter the active version.
    ///
    /// The same verdict again changes nothing while its version serves, so that an interrupted
    /// request can be repeated; afterwards it is a replay.
    ///
    /// # Errors
    /// A verdict that does not verify, is of another kind, for another base or other adapter bytes,
    /// replayed, or older than one already used.
    pub fn promote(&self, request: &PromoteRequest) -> Result<Served, StudentError> {
        let (verdicts, files) = self.check_promotion(&request.verdicts)?;
        self.witness.demand_shown(&request.verdicts)?;
        let verdict = &verdicts[0];
        let mut seen = self.state.seen(PROMOTION)?;
        if let Some(used_by) = seen.used_by(&verdict.payload_digest) {
            return self.promoted_before(verdict, used_by);
        }
        seen.check_and_insert_newest(digest_of(request)?, &verdicts.iter().collect::<Vec<_>>())?;
        let adapter_digest = self.shadow(&files)?;
        let (serving, _) = history(&self.state)?;
        let change = serving.promotion(adapter_digest, verdict.payload_digest, self.now());
        let envelope = self.sign_change(&change)?;
        let version = VersionRow {
            version: version_of(&change),
            files: &files,
            verdict: &file_form(&request.verdicts[0]),
        };
        self.state.promote(change.number, &file_form(&envelope), &version, &seen)?;
        tracing::info!(
            adapter.digest = %adapter_digest,
            version = version.version,
            "promoted {}",
            version.version
        );
        self.after_promotion()
    }

    /// What follows a promotion that is recorded; done again where a failure kept it from being done.
    fn after_promotion(&self) -> Result<Served, StudentError> {
        self.restore_serving_files()?;
        self.prune()?;
        served(&self.state)
    }

    /// Makes an earlier version, or the base, serve again.
    ///
    /// # Errors
    /// No such version, it is active already, or its adapter files are missing or damaged.
    pub fn roll_back(&self, request: &RollBackRequest) -> Result<Served, StudentError> {
        let (serving, _) = history(&self.state)?;
        let change = serving.roll_back(&request.version, &request.reason, self.now())?;
        self.adapter(&request.version)?;
        let envelope = self.sign_change(&change)?;
        self.state.roll_back(change.number, &file_form(&envelope))?;
        tracing::info!(version = request.version, "rolled back to {}", request.version);
        self.restore_serving_files()?;
        served(&self.state)
    }

    /// Checks the verdicts on one adapter against the trust root, this base, the candidate that was
    /// put up for audit, and the adapter's bytes as they are now. There is at least one.
    fn check_promotion(
        &self,
        envelopes: &[Envelope],
    ) -> Result<(Vec<Verified<Verdict>>, Vec<AdapterFile>), StudentError> {
        let expected = Expectation {
            base_model_digest: Some(self.base_digest),
            tokenizer_digest: Some(self.tokenizer_digest),
            ..Expectation::of(VerdictKind::Promotion)
        };
        let envelopes: Vec<&Envelope> = envelopes.iter().collect();
        let verdicts = check_verdict_quorum(&self.root, &envelopes, &expected, self.now())?;
        // The quorum's verdicts agree on all that is compared below, so one speaks for all.
        let verdict = verdicts.first().ok_or(StudentError::Empty("verdict"))?;
        let (nonce, candidate) = self.audited_candidate(verdict)?;
        let subjects = &verdict.statement.subject;
        let here = subjects.iter().map(|subject| self.file_as_it_is(subject));
        let here: Vec<AdapterFile> = here.collect::<Result<_, _>>()?;
        let expected = Expectation {
            nonce: Some(&nonce),
            edit_digests: Some(&candidate.edit_digests),
            context_digests: Some(&candidate.context_digests),
            adapter_files: Some(&here),
            ..expected
        };
        verdicts.iter().try_for_each(|verdict| check_binding(verdict, &expected))?;
        Ok((verdicts, here))
    }

    /// The nonce and the candidate of the audit request that a verdict answers.
    fn audited_candidate(
        &self,
        verdict: &Verified<Verdict>,
    ) -> Result<(String, Candidate), StudentError> {
        let request_digest = verdict.statement.predicate.request_digest;
        let unknown = || StudentError::RequestUnknown(request_digest);
        let stored = self.requests.get(&request_digest.to_string()).ok_or_else(unknown)?;
        let request = self.root.verify::<AuditRequest>(&stored, self.now())?;
        if request.payload_digest != request_digest {
            return Err(unknown());
        }
        let AuditRequest { nonce, candidates, .. } = request.statement.predicate;
        let wanted = verdict.statement.subject.iter().map(|subject| subject.digest.sha256);
        let wanted: BTreeSet<Digest> = wanted.collect();
        let audited = candidates.into_iter().find(|candidate| {
            candidate.files.iter().map(|file| file.sha256).collect::<BTreeSet<_>>() == wanted
        });
        Ok((nonce, audited.ok_or_else(unknown)?))
    }

    /// Reads and hashes the file that a verdict names; its digest is what the bytes say.
    fn file_as_it_is(&self, subject: &Subject) -> Result<AdapterFile, StudentError> {
        let wanted = subject.digest.sha256;
        let bytes = std::fs::read(self.adapters.path(&wanted))
            .map_err(|_| StudentError::AdapterMissing(wanted))?;
        Ok(AdapterFile {
            name: subject.name.clone(),
            sha256: sha256(&bytes),
            size_bytes: bytes.len() as u64,
        })
    }

    /// Loads the adapter beside the active one; it must fit the base before it may serve.
    fn shadow(&self, files: &[AdapterFile]) -> Result<Digest, StudentError> {
        let missing = || StudentError::Config("the verdict names no adapter tensors".to_owned());
        self.load_adapter(files)?;
        tensors_of(files).ok_or_else(missing)
    }

    /// The adapter of a version, from the store; `None` for the base.
    pub(crate) fn adapter(&self, version: &str) -> Result<Option<(Digest, Adapter)>, StudentError> {
        let (serving, _) = history(&self.state)?;
        match serving.adapter_of(version)? {
            None => Ok(None),
            Some(digest) => {
                let files = self.state.version_files(version)?;
                Ok(Some((digest, self.load_adapter(&files)?)))
            }
        }
    }

    fn load_adapter(&self, files: &[AdapterFile]) -> Result<Adapter, StudentError> {
        let by_name: BTreeMap<&str, &Digest> =
            files.iter().map(|file| (file.name.as_str(), &file.sha256)).collect();
        let bytes = |name: &str| match by_name.get(name) {
            Some(digest) => Ok(self.adapters.get(digest)?),
            None => Err(StudentError::Config(format!("the adapter has no file `{name}`"))),
        };
        let base = self.base_digest.as_bytes();
        let config = bytes(ADAPTER_CONFIG_FILE)?;
        let model = bytes(ADAPTER_MODEL_FILE)?;
        Ok(Adapter::from_peft_bytes(&config, &model, self.base.config(), Some(base))?)
    }

    fn sign_change(&self, change: &ServingChange) -> Result<Envelope, StudentError> {
        let subject = match &change.action {
            ServingAction::Promote { adapter_digest, .. }
            | ServingAction::RollBack { adapter_digest: Some(adapter_digest), .. } => {
                Subject::new(ADAPTER_MODEL_FILE, *adapter_digest)
            }
            ServingAction::RollBack { adapter_digest: None, .. } => {
                Subject::new(BASE, self.base_digest)
            }
        };
        Ok(self.sign(vec![subject], change.clone())?.0)
    }

    fn promoted_before(
        &self,
        verdict: &Verified<Verdict>,
        used_by: Digest,
    ) -> Result<Served, StudentError> {
        let (serving, changes) = history(&self.state)?;
        let digest = verdict.payload_digest;
        let serves = changes.iter().any(|change| {
            matches!(&change.action, ServingAction::Promote { version, verdict_digest, .. }
                if *verdict_digest == digest && version == serving.active())
        });
        match serves {
            true => self.after_promotion(),
            false => Err(VerdictError::Replayed { verdict: digest, used_by }.into()),
        }
    }
}

fn tensors_of(files: &[AdapterFile]) -> Option<Digest> {
    let tensors = files.iter().find(|file| file.name == ADAPTER_MODEL_FILE);
    tensors.map(|file| file.sha256)
}

fn version_of(change: &ServingChange) -> &str {
    match &change.action {
        ServingAction::Promote { version, .. } | ServingAction::RollBack { version, .. } => version,
    }
}
