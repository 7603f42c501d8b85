//! `seal verify`: everything signed or digested in a run folder, offline and from files alone.
//!
//! **Invariant:** the first thing that does not fit is an error that names its file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use seal_auditor::offline;
use seal_protocol::{
    AuditRequest, Digest, Envelope, PolicyUpdate, Predicate, Role, SelfEdit, ServingAction,
    ServingChange, UnixSeconds, Verdict, VerdictKind,
};
use seal_service::clock::{Clock, SystemClock};
use seal_teacher::TeacherConfig;
use seal_trust::{
    RootChain, TrustRoot, Verified, digest_of, envelope_from_file_bytes, sha256, sha256_file,
};
use seal_witness::predecessor_files;
use serde::Serialize;

use super::policies;
use crate::run_dir::RunDir;

/// What was verified, line by line.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) lines: Vec<String>,
}

/// Every file, row and signature.
pub(crate) fn verify_all(run: &RunDir) -> Result<Summary> {
    let check = Check::open(run)?;
    let mut lines = vec![format!("trust root   version {}", check.roots.newest().root().version)];
    let ledger = check.auditor()?;
    lines.push(format!(
        "ledger       {} rows, root {}, checkpoint signed, {} cosignatures of witnesses",
        ledger.rows,
        ledger.root.short(),
        ledger.cosignatures
    ));
    lines.push(format!(
        "auditor      {} verdicts, {} requests, {} edits, {} annexes, {} adapter files",
        ledger.verdicts, ledger.requests, ledger.edits, ledger.annexes, ledger.adapter_files
    ));
    let verdicts = check.verdicts()?;
    lines.push(format!("base model   {}", check.base(&verdicts)?.short()));
    for role in [Role::Teacher, Role::Student] {
        let line = match (run.host_elsewhere(role)?, role) {
            (Some(endpoint), _) => {
                format!("not checked: its files are on its host ({endpoint})")
            }
            (None, Role::Teacher) => check.teacher(&verdicts)?,
            (None, _) => check.student(&verdicts)?,
        };
        lines.push(format!("{:<12} {line}", role.name()));
    }
    Ok(Summary { lines })
}

/// One version: its verdict, its adapter's bytes, and the ledger they stand in.
pub(crate) fn verify_version(run: &RunDir, version: &str) -> Result<Summary> {
    let check = Check::open(run)?;
    let adapter = super::known_version(run, version)?;
    let ledger = check.auditor()?;
    let verdicts = check.verdicts()?;
    let changes = check.serving(&verdicts)?;
    let bytes = run.state_here(Role::Student)?.join(format!("adapter-files/{adapter}"));
    check_file(&bytes, &adapter)?;
    Ok(Summary {
        lines: vec![
            format!("version      {version}, adapter {}", adapter.short()),
            format!("ledger       {} rows, root {}", ledger.rows, ledger.root.short()),
            format!("history      {changes} serving changes, each signed and chained"),
        ],
    })
}

/// The trust root, held against the digest that came with the folder, and the versions before it.
pub(crate) fn trust_roots(run: &RunDir) -> Result<RootChain> {
    let file = run.trust_root_file();
    let bytes = read(&file)?;
    let pin_file = run.path("trust/root.sha256");
    let pinned: Digest = String::from_utf8_lossy(&read(&pin_file)?)
        .trim()
        .parse()
        .with_context(|| format!("`{}` was changed", pin_file.display()))?;
    let root = TrustRoot::open(&bytes, Some(pinned), SystemClock.now()).with_context(|| {
        format!("`{}` does not hold against `{}`", file.display(), pin_file.display())
    })?;
    let earlier = predecessor_files(&root, &file)
        .with_context(|| format!("cannot read the versions beside `{}`", file.display()))?;
    RootChain::new(root, &earlier)
        .with_context(|| format!("the versions beside `{}` do not lead to it", file.display()))
}

struct Check<'a> {
    run: &'a RunDir,
    roots: RootChain,
    now: UnixSeconds,
}

pub(super) type Verdicts = BTreeMap<Digest, Verdict>;

impl<'a> Check<'a> {
    fn open(run: &'a RunDir) -> Result<Self> {
        // Everything here is held against its ledger.
        run.state_here(Role::Auditor)?;
        Ok(Self { run, roots: trust_roots(run)?, now: SystemClock.now() })
    }

    fn auditor(&self) -> Result<offline::Summary> {
        let state = self.run.state_here(Role::Auditor)?;
        Ok(offline::verify_state(&state, &self.roots, self.now)?)
    }

    fn verdicts(&self) -> Result<Verdicts> {
        let state = self.run.state_here(Role::Auditor)?;
        offline::verdicts(&state)?
            .into_iter()
            .map(|(envelope, verdict)| Ok((seal_trust::payload_digest(&envelope)?, verdict)))
            .collect()
    }

    /// The base model is the one that every verdict speaks of.
    fn base(&self, verdicts: &Verdicts) -> Result<Digest> {
        let folder = self.run.path("base");
        let digest = Digest::from_bytes(
            seal_model::folder_digest(&folder)
                .with_context(|| format!("cannot digest `{}`", folder.display()))?,
        );
        match verdicts.values().find(|verdict| verdict.base_model_digest != digest) {
            Some(_) => {
                bail!("`{}` is not the base model that the verdicts speak of", folder.display())
            }
            None => Ok(digest),
        }
    }

    fn teacher(&self, verdicts: &Verdicts) -> Result<String> {
        let state = self.run.role_state(Role::Teacher);
        let mut edits = 0;
        for (file, envelope) in envelopes(&state.join("edits"))? {
            let verified = self.verify::<SelfEdit>(&file, &envelope)?;
            check_name(&file, &digest_of(&verified.statement.predicate)?)?;
            edits += 1;
        }
        let config = TeacherConfig::load(&self.run.config_file(Role::Teacher))?;
        let first = config.policy_source();
        let mut updates = 0;
        for (file, envelope) in envelopes(&state.join("policy-updates"))? {
            let verified = self.verify::<PolicyUpdate>(&file, &envelope)?;
            check_name(&file, &verified.payload_digest)?;
            policies::check_update(&file, &verified.statement.predicate, verdicts)?;
            policies::check(&state, &first, &verified.statement.predicate, verdicts)?;
            updates += 1;
        }
        Ok(format!("{edits} edits, {updates} policy updates, each from verified verdicts alone"))
    }

    fn student(&self, verdicts: &Verdicts) -> Result<String> {
        let state = self.run.role_state(Role::Student);
        let mut requests = 0;
        for (file, envelope) in envelopes(&state.join("requests"))? {
            let verified = self.verify::<AuditRequest>(&file, &envelope)?;
            check_name(&file, &verified.payload_digest)?;
            requests += 1;
        }
        let mut adapters = 0;
        for file in files(&state.join("adapter-files"))? {
            check_name(&file, &digest_file(&file)?)?;
            adapters += 1;
        }
        let changes = self.serving(verdicts)?;
        Ok(format!("{requests} requests, {adapters} adapter files, {changes} serving changes"))
    }

    /// The serving history: numbered, chained, each promotion on a verdict of its own.
    fn serving(&self, verdicts: &Verdicts) -> Result<u64> {
        let folder = self.run.role_state(Role::Student).join("serving");
        let mut changes: BTreeMap<u64, (PathBuf, Verified<ServingChange>)> = BTreeMap::new();
        for (file, envelope) in envelopes(&folder)? {
            let verified = self.verify::<ServingChange>(&file, &envelope)?;
            let number = verified.statement.predicate.number;
            ensure!(
                file.file_stem().is_some_and(|stem| stem.to_string_lossy() == number.to_string()),
                "`{}` says it is change {number}",
                file.display()
            );
            changes.insert(number, (file, verified));
        }
        let mut previous = None;
        for (expected, (number, (file, verified))) in (1..).zip(&changes) {
            let change = &verified.statement.predicate;
            ensure!(*number == expected, "change {expected} is missing in `{}`", folder.display());
            ensure!(
                change.prev_change_digest == previous,
                "`{}` does not follow the change before it",
                file.display()
            );
            if let ServingAction::Promote { verdict_digest, adapter_digest, .. } = &change.action {
                let allowed = verdicts.get(verdict_digest);
                ensure!(
                    allowed.is_some_and(|verdict| verdict.kind == VerdictKind::Promotion),
                    "`{}` promotes without a promotion verdict",
                    file.display()
                );
                let bytes = self
                    .run
                    .role_state(Role::Student)
                    .join(format!("adapter-files/{adapter_digest}"));
                check_file(&bytes, adapter_digest)?;
            }
            previous = Some(verified.payload_digest);
        }
        Ok(changes.len() as u64)
    }

    fn verify<P: Predicate>(&self, file: &Path, envelope: &Envelope) -> Result<Verified<P>> {
        self.roots
            .verify_record(envelope, self.now)
            .with_context(|| format!("`{}` does not verify", file.display()))
    }
}

fn envelopes(folder: &Path) -> Result<Vec<(PathBuf, Envelope)>> {
    files(folder)?
        .into_iter()
        .map(|file| {
            let envelope = envelope_from_file_bytes(&read(&file)?)
                .with_context(|| format!("`{}` was changed", file.display()))?;
            Ok((file, envelope))
        })
        .collect()
}

/// Files of a folder by name; a folder that was never needed has none.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot list `{}`", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        // What a killed writer left half-written was never taken for evidence by anyone.
        let unfinished = entry_name(&path).starts_with(".tmp-");
        if path.is_file() && !unfinished {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn entry_name(path: &Path) -> std::borrow::Cow<'_, str> {
    path.file_name().map_or_else(Default::default, std::ffi::OsStr::to_string_lossy)
}

pub(super) fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("cannot read `{}`", file.display()))
}

fn digest_file(file: &Path) -> Result<Digest> {
    sha256_file(file).with_context(|| format!("cannot read `{}`", file.display()))
}

/// A content-addressed file bears its digest as its name.
fn check_name(file: &Path, digest: &Digest) -> Result<()> {
    let named = file.file_stem().is_some_and(|stem| stem.to_string_lossy() == digest.to_string());
    ensure!(named, "`{}` was changed: its content has digest {}", file.display(), digest.short());
    Ok(())
}

fn check_file(file: &Path, digest: &Digest) -> Result<()> {
    let found = sha256(&read(file)?);
    ensure!(
        found == *digest,
        "`{}` was changed: its content has digest {}",
        file.display(),
        found.short()
    );
    Ok(())
}
