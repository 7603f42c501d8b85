//! A whole auditor without weights, for tests: keys, trust root, vault, a model that does as its
//! adapter's bytes say.

mod fake_model;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use seal_protocol::{
    AdapterFile, AuditPurpose, AuditRequest, AuditSubmission, Audited, Candidate, Digest,
    Directives, EditOrigin, Enforcement, EnforcementLevel, Envelope, Evaluator, JudgeRuling,
    Judgement, Labels, LedgerEvent, LossPart, Micro, Role, SelfEdit, Statement, Subject,
    TrainingExample, Trial, UnixSeconds,
};
use seal_service::clock::{Clock, FixedClock};
use seal_service::store::ContentStore;
use seal_trust::{
    Limits, SigningKey, TrustRoot, TrustedRoot, digest_of, envelope_to_bytes, sha256, sign_root,
    sign_statement,
};

use crate::audit::{AuditError, Auditor, BaseCache, Identity, Parts};
use crate::gate::GateSettings;
use crate::graders::Grader;
use crate::grading::{Grading, Gradings};
use crate::items::{Item, ItemKind, item};
use crate::ledger::{Artefact, ArtefactKind, InForce, Ledger, LedgerKey, NewGroup};
use crate::policy::Policy;
use crate::recompute::{Draw, Share};
use crate::rotation::{RotationError, take_over};
use crate::rules::{Limits as TextLimits, Rules, RulesFile};
use crate::vault::{Tau, Vault, VaultFiles};

use fake_model::Honest;
pub(crate) use fake_model::{FakeModel, Skill};

pub(crate) const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
pub(crate) const ORIGIN: &str = "seal.internal/test";
const BASE: Digest = Digest::from_bytes([0xBA; 32]);
const TOKENIZER: Digest = Digest::from_bytes([0x70; 32]);

pub(crate) struct Keys {
    pub(crate) root: SigningKey,
    pub(crate) teacher: SigningKey,
    pub(crate) student: SigningKey,
    pub(crate) auditor: SigningKey,
    pub(crate) ledger: SigningKey,
    pub(crate) judge: SigningKey,
}

/// An auditor with its surroundings.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) keys: Keys,
    pub(crate) root: TrustedRoot,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) base_asked: Arc<std::sync::atomic::AtomicUsize>,
    pub(crate) settings: GateSettings,
    pub(crate) policy: Option<Policy>,
    /// Text of the constitution, where a judge is demanded.
    pub(crate) constitution: Option<&'static str>,
    pub(crate) recompute: Share,
    pub(crate) time_limit: Duration,
    pub(crate) trained_again: Arc<std::sync::atomic::AtomicUsize>,
    honest: Honest,
    next_nonce: std::cell::Cell<u8>,
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed([seed; 32])
}

/// Of the student, for cosigning checkpoints.
pub(crate) fn witness_key() -> SigningKey {
    key(51)
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    /// One that demands a judge.
    pub(crate) fn judged(constitution: &'static str) -> Self {
        Self { constitution: Some(constitution), ..Self::new() }
    }

    pub(crate) fn with_limits(limits: Limits) -> Self {
        let keys = Keys {
            root: key(1),
            teacher: key(2),
            student: key(3),
            auditor: key(4),
            ledger: key(5),
            judge: key(6),
        };
        let root = TrustRoot::first(UnixSeconds(NOW.0 + 1_000_000), limits)
            .with_key(Role::Root, &keys.root.public())
            .with_key(Role::Teacher, &keys.teacher.public())
            .with_key(Role::Student, &keys.student.public())
            .with_key(Role::Auditor, &keys.auditor.public())
            .with_key(Role::Ledger, &keys.ledger.public())
            .with_key(Role::Judge, &keys.judge.public())
            .with_key(Role::Witness, &witness_key().public());
        let file = envelope_to_bytes(&sign_root(&root, &[&keys.root]).unwrap());
        let folder = tempfile::tempdir().unwrap();
        write_vault(folder.path());
        Self {
            folder,
            root: TrustRoot::open(&file, None, NOW).unwrap(),
            keys,
            clock: Arc::new(FixedClock::at(NOW)),
            base_asked: Arc::default(),
            settings: GateSettings::default(),
            policy: None,
            constitution: None,
            recompute: Share::Never,
            time_limit: Duration::from_secs(3600),
            trained_again: Arc::default(),
            honest: Arc::default(),
            next_nonce: std::cell::Cell::new(0),
        }
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) fn vault(&self) -> Vault {
        let path = |name: &str| self.folder.path().join(name);
        let files = VaultFiles {
            tau: path("tau.jsonl"),
            retention: path("retention.jsonl"),
            refusals: Some(path("refusals.jsonl")),
            benign: None,
        };
        Vault::open(&files, [9; 32], self.settings.labels).unwrap()
    }

    fn rules(&self, vault: &Vault) -> Rules {
        let limits = TextLimits { max_examples: 8, max_example_bytes: 200, max_edit_bytes: 2000 };
        let (unicode, deny) = (Vec::new(), Vec::new());
        let file = RulesFile { limits, unicode, tau_overlap: true, tau_ngrams: None, deny };
        Rules::new(file, vault.every_tau_item()).unwrap()
    }

    pub(crate) fn ledger(&self) -> Ledger {
        std::fs::create_dir_all(self.state()).unwrap();
        let event = LedgerEvent::Genesis {
            trust_root_digest: self.root.digest(),
            trust_root_version: self.root.root().version,
            base_model_digest: BASE,
            policy_digest: Digest::from_bytes([6; 32]),
            policy_bundle_digest: self.policy.as_ref().map(Policy::digest),
        };
        let kept = |policy: &Policy| Artefact {
            kind: ArtefactKind::Policy,
            digest: policy.digest(),
            body: policy.bundle().to_bytes().unwrap(),
        };
        let root = Artefact {
            kind: ArtefactKind::TrustRoot,
            digest: self.root.digest(),
            body: self.root.file().to_vec(),
        };
        let constitution = self.constitution.map(|text| Artefact {
            kind: ArtefactKind::Constitution,
            digest: sha256(text.as_bytes()),
            body: text.as_bytes().to_vec(),
        });
        let artefacts = self.policy.iter().map(kept).chain([root]).chain(constitution).collect();
        let signer = LedgerKey { key: SigningKey::from_seed([5; 32]), origin: ORIGIN.to_owned() };
        Ledger::open(&self.state(), signer, &self.root, InForce { event, artefacts }, NOW).unwrap()
    }

    /// Opens the auditor over the state folder, as a start of the process does.
    pub(crate) fn auditor(&self) -> Auditor<FakeModel> {
        self.try_auditor().unwrap()
    }

    /// The same, for a start that may be refused.
    pub(crate) fn try_auditor(&self) -> Result<Auditor<FakeModel>, RotationError> {
        let (state, vault) = (self.state(), self.vault());
        let mut ledger = self.ledger();
        take_over(&mut ledger, &vault, &self.settings, self.clock.now())?;
        Ok(Auditor::new(Parts {
            root: self.root.clone(),
            identity: self.identity(),
            rules: self.rules(&vault),
            vault,
            settings: self.settings.clone(),
            constitution: self.constitution(),
            policy: self.policy.clone(),
            gradings: self.gradings(),
            retention_items: 20,
            refusal_items: 20,
            perturbed: self.perturbed(),
            draw: self.draw(),
            ledger,
            cache: BaseCache::open(&state.join("base-outcomes.sqlite"), [9; 32], BASE).unwrap(),
            uploads: self.uploads(),
            bench: state.join("bench"),
            measurer: FakeModel {
                base_asked: Arc::clone(&self.base_asked),
                trained_again: Arc::clone(&self.trained_again),
                honest: Arc::clone(&self.honest),
            },
            clock: self.clock.clone(),
            time_limit: self.time_limit,
        }))
    }

    fn constitution(&self) -> Option<Digest> {
        self.constitution.map(|text| sha256(text.as_bytes()))
    }

    /// What is voted must be written.
    fn gradings(&self) -> Gradings {
        let tau = match self.settings.labels {
            Labels::Gold => Grading::default(),
            Labels::Majority => Grading::Written { max_new_tokens: 8, grader: Grader::Exact },
        };
        Gradings { tau, ..Gradings::default() }
    }

    /// As many as the gate asks for.
    fn perturbed(&self) -> Vec<Item> {
        let questions = self.settings.divergence.map_or(0, |gate| gate.questions);
        let perturbed = |number: usize| Item {
            kind: ItemKind::Knowledge,
            ..item(&format!("perturbed-{number}"), "who zel tor", "ada")
        };
        (0..questions).map(perturbed).collect()
    }

    /// The draw of this auditor, which no student could make.
    pub(crate) fn draw(&self) -> Draw {
        Draw::new(&[9; 32], self.recompute)
    }

    fn identity(&self) -> Identity {
        Identity {
            key: SigningKey::from_seed([4; 32]),
            evaluator: Evaluator {
                version: "test".to_owned(),
                binary_digest: Digest::from_bytes([8; 32]),
            },
            enforcement: Enforcement {
                level: EnforcementLevel::Full,
                landlock_abi: 7,
                seccomp: true,
            },
            policy_digest: Digest::from_bytes([6; 32]),
            policy_bundle_digest: self.policy.as_ref().map(Policy::digest),
            trust_root_version: self.root.root().version,
            verdict_ttl_s: 1000,
        }
    }

    /// The same ledger as a build wrote it that did not name τ in its rows.
    pub(crate) fn as_of_before(&self) -> Self {
        self.retold(|event| {
            if let LedgerEvent::Attempt(attempt) = event {
                attempt.tau.clear();
            }
        })
    }

    /// A copy of this world whose ledger says something else, row by row, under checkpoints of its own.
    pub(crate) fn retold(&self, tell: impl Fn(&mut LedgerEvent)) -> Self {
        let told = Self::with_limits(self.root.root().limits.clone());
        let told = Self { settings: self.settings.clone(), ..told };
        for entry in std::fs::read_dir(self.folder.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                std::fs::copy(&path, told.folder.path().join(path.file_name().unwrap())).unwrap();
            }
        }
        told.next_nonce.set(self.next_nonce.get());
        let mut ledger = told.ledger();
        for (request, mut group) in self.groups() {
            group.rows.iter_mut().for_each(&tell);
            let request = request.as_ref().map(|(digest, nonce)| (*digest, nonce.as_str()));
            ledger.commit(request, NOW, |_| Ok(group)).unwrap();
        }
        for upload in std::fs::read_dir(self.state().join("adapters")).unwrap() {
            told.uploads().put(&std::fs::read(upload.unwrap().path()).unwrap()).unwrap();
        }
        told
    }

    /// What was committed after the first row, transaction by transaction, with digest and nonce of the
    /// request. The first one brings the files of all.
    fn groups(&self) -> Vec<(Option<(Digest, String)>, NewGroup)> {
        let db = rusqlite::Connection::open(self.state().join("ledger.sqlite")).unwrap();
        let column = |query: &str, of: &Digest| -> Option<Vec<u8>> {
            db.query_row(query, [of.to_string()], |row| row.get(0)).ok()
        };
        let nonce = "SELECT CAST(nonce AS BLOB) FROM inbox WHERE request_digest = ?1";
        let mut groups: Vec<(Option<(Digest, String)>, NewGroup)> = Vec::new();
        for entry in rows(self).into_iter().skip(1) {
            let request = match &entry.event {
                LedgerEvent::Attempt(attempt) => Some(attempt.request_digest),
                _ => None,
            };
            let request = request.map(|digest| {
                (digest, String::from_utf8(column(nonce, &digest).unwrap()).unwrap())
            });
            let verdict = match &entry.event {
                LedgerEvent::Attempt(attempt) => attempt.verdict_envelope_digest,
                _ => None,
            };
            let verdict = verdict.map(|digest| self.verdict_file(&digest));
            match groups.last_mut() {
                Some((of, group)) if *of == request => {
                    group.rows.push(entry.event);
                    group.verdict = group.verdict.take().or(verdict);
                }
                _ => {
                    let (rows, artefacts) = (vec![entry.event], Vec::new());
                    groups.push((request, NewGroup { rows, verdict, artefacts }));
                }
            }
        }
        groups[0].1.artefacts =
            ArtefactKind::ALL.into_iter().flat_map(|kind| self.kept(kind)).collect();
        groups
    }

    fn kept(&self, kind: ArtefactKind) -> Vec<Artefact> {
        if kind == ArtefactKind::Verdict {
            return Vec::new();
        }
        let files = std::fs::read_dir(self.state().join(kind.folder())).unwrap();
        let artefact = |path: PathBuf| Artefact {
            kind,
            digest: path.file_stem().unwrap().to_str().unwrap().parse().unwrap(),
            body: std::fs::read(path).unwrap(),
        };
        files.map(|file| artefact(file.unwrap().path())).collect()
    }

    /// The verdict whose file has this digest.
    fn verdict_file(&self, digest: &Digest) -> Envelope {
        let files = std::fs::read_dir(self.state().join("verdicts")).unwrap();
        let bytes = files.map(|file| std::fs::read(file.unwrap().path()).unwrap());
        let bytes = bytes.into_iter().find(|bytes: &Vec<u8>| sha256(bytes) == *digest).unwrap();
        seal_trust::envelope_from_file_bytes(&bytes).unwrap()
    }

    pub(crate) fn uploads(&self) -> ContentStore {
        ContentStore::new(self.state().join("adapters")).unwrap()
    }

    pub(crate) fn edit(&self, context: usize, line: &str) -> Envelope {
        self.edit_by(&self.keys.teacher, context, line)
    }

    pub(crate) fn edit_by(&self, author: &SigningKey, at: usize, line: &str) -> Envelope {
        let edit = text_edit(context(at), &[line], Directives::default());
        let subject = vec![Subject::new("self-edit", digest_of(&edit).unwrap())];
        sign_statement(author, &Statement::new(subject, edit)).unwrap()
    }

    /// Uploads the adapter of a skill and describes it.
    pub(crate) fn candidate(
        &self,
        contexts: &[usize],
        edits: &[&Envelope],
        skill: Skill,
    ) -> Candidate {
        let files = [
            ("adapter_config.json", b"{}".to_vec()),
            ("adapter_model.safetensors", serde_json::to_vec(&skill).unwrap()),
        ];
        let file = |(name, bytes): (&str, Vec<u8>)| AdapterFile {
            name: name.to_owned(),
            sha256: self.uploads().put(&bytes).unwrap(),
            size_bytes: bytes.len() as u64,
        };
        let sorted = |mut digests: Vec<Digest>| {
            digests.sort();
            digests
        };
        let files = files.map(file).to_vec();
        let edits = sorted(edits.iter().map(|edit| edit_digest(edit)).collect());
        // What comes of edits is what they were first said to make; anything else is planted.
        self.honest.lock().unwrap().entry(edits.clone()).or_insert((files[1].sha256, skill));
        Candidate {
            context_digests: sorted(contexts.iter().map(|at| context(*at)).collect()),
            edit_digests: edits,
            base_model_digest: BASE,
            tokenizer_digest: TOKENIZER,
            parent_adapter_digest: None,
            recipe_digest: Digest::from_bytes([2; 32]),
            seed: 1,
            instruction_set: "test".to_owned(),
            files,
        }
    }

    pub(crate) fn request(
        &self,
        purpose: AuditPurpose,
        candidates: Vec<Candidate>,
    ) -> AuditRequest {
        self.next_nonce.set(self.next_nonce.get() + 1);
        AuditRequest {
            purpose,
            stage: "round-1/train".to_owned(),
            nonce: Digest::from_bytes([self.next_nonce.get(); 32]).to_string(),
            candidates,
        }
    }

    pub(crate) fn submission(
        &self,
        request: AuditRequest,
        edits: Vec<Envelope>,
    ) -> AuditSubmission {
        let subject = vec![Subject::new("audit-request", digest_of(&request).unwrap())];
        let request =
            sign_statement(&self.keys.student, &Statement::new(subject, request)).unwrap();
        AuditSubmission { request, edits, judgements: Vec::new() }
    }

    /// What the judge says of an edit, under the constitution of this world.
    pub(crate) fn judgement(
        &self,
        edit: &Envelope,
        violated: &[&str],
        change: impl FnOnce(&mut Judgement),
    ) -> Envelope {
        let nobody = Digest::from_bytes([7; 32]);
        let mut judgement = Judgement {
            edit_digest: edit_digest(edit),
            ruling: if violated.is_empty() { JudgeRuling::Permit } else { JudgeRuling::Forbid },
            violated: violated.iter().map(|&name| name.to_owned()).collect(),
            constitution_digest: self.constitution().unwrap_or(nobody),
            judge: "test".to_owned(),
            judge_digest: nobody,
            prompt_digest: nobody,
            reply_schema: None,
            trial: Trial { attacks: 1, caught: 1, harmless: 1, passed: 1 },
        };
        change(&mut judgement);
        let subject = vec![Subject::new("self-edit", judgement.edit_digest)];
        sign_statement(&self.keys.judge, &Statement::new(subject, judgement)).unwrap()
    }

    /// One edit on one context, one candidate per skill.
    pub(crate) fn group(
        &self,
        purpose: AuditPurpose,
        at: usize,
        skills: &[Skill],
    ) -> AuditSubmission {
        let lines =
            (0..skills.len()).map(|index| format!("a line of edit {index} on context {at}"));
        let edits: Vec<Envelope> = lines.map(|line| self.edit(at, &line)).collect();
        let candidates =
            edits.iter().zip(skills).map(|(edit, skill)| self.candidate(&[at], &[edit], *skill));
        let request = self.request(purpose, candidates.collect());
        self.submission(request, edits)
    }
}

pub(crate) fn edit_digest(envelope: &Envelope) -> Digest {
    let payload = seal_trust::payload_bytes(envelope).unwrap();
    let statement: Statement<SelfEdit> = serde_json::from_slice(&payload).unwrap();
    digest_of(&statement.predicate).unwrap()
}

pub(crate) fn context(at: usize) -> Digest {
    sha256(format!("context {at}").as_bytes())
}

fn write_vault(folder: &Path) {
    let item = |id: String, kind| Item {
        question: format!("what is {id} ?"),
        answer: format!("answer {id} ."),
        id,
        kind,
        topic: None,
    };
    let items = |prefix: &str, n: usize, kind| -> Vec<Item> {
        (0..n).map(|at| item(format!("{prefix}{at}"), kind)).collect()
    };
    let tau = |at: usize| {
        let named = |prefix: &str, n, kind| {
            let mut items = items(prefix, n, kind);
            items.iter_mut().for_each(|item| item.question += &format!(" of context {at}"));
            items
        };
        Tau {
            context_digest: context(at),
            context_id: format!("train-{at:03}"),
            reward: named("r", 5, ItemKind::Forward),
            confirmation: named("c", 5, ItemKind::Forward),
            protected: named("p", 4, ItemKind::Protected),
            // The first two come from one hand.
            source: (at < 2).then(|| "site-a".to_owned()),
            earlier: Vec::new(),
        }
    };
    let lines = |rows: Vec<String>| rows.join("\n");
    let json = |items: Vec<Item>| {
        lines(items.iter().map(|item| serde_json::to_string(item).unwrap()).collect())
    };
    let taus = (0..4).map(|at| serde_json::to_string(&tau(at)).unwrap()).collect();
    std::fs::write(folder.join("tau.jsonl"), lines(taus)).unwrap();
    std::fs::write(folder.join("retention.jsonl"), json(items("k", 40, ItemKind::Knowledge)))
        .unwrap();
    std::fs::write(folder.join("refusals.jsonl"), json(items("s", 40, ItemKind::Protected)))
        .unwrap();
}

/// Rows of the ledger, parsed.
pub(crate) fn rows(world: &World) -> Vec<seal_protocol::LedgerEntry> {
    let db = rusqlite::Connection::open(world.state().join("ledger.sqlite")).unwrap();
    let mut query = db.prepare("SELECT entry FROM ledger ORDER BY idx").unwrap();
    let entries = query.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    entries.map(|entry| serde_json::from_slice(&entry.unwrap()).unwrap()).collect()
}

/// Decisions and reasons of every attempt, in order.
pub(crate) fn attempts(world: &World) -> Vec<(seal_protocol::Decision, Vec<String>)> {
    let attempt = |entry: seal_protocol::LedgerEntry| match entry.event {
        LedgerEvent::Attempt(attempt) => Some((attempt.decision, attempt.reasons)),
        LedgerEvent::Genesis { .. } | LedgerEvent::Rotation(_) => None,
    };
    rows(world).into_iter().filter_map(attempt).collect()
}

/// The refusal's code.
pub(crate) fn code(outcome: Result<Audited, AuditError>) -> &'static str {
    outcome.expect_err("refused").code()
}

/// An edit of plain lines, as no policy in particular wrote it.
pub(crate) fn text_edit(context: Digest, lines: &[&str], directives: Directives) -> SelfEdit {
    let digest = Digest::from_bytes([1; 32]);
    let line =
        |text: &&str| TrainingExample::Text { text: (*text).to_owned(), part: LossPart::Edit };
    SelfEdit {
        context_digest: context,
        proposal: 0,
        examples: lines.iter().map(line).collect(),
        directives,
        rationale: String::new(),
        origin: EditOrigin {
            writer: "local:test".to_owned(),
            policy_digest: digest,
            prompt_family: "plain".to_owned(),
            prompt_digest: digest,
            temperature_micro: Micro(0),
            seed: 0,
            reply_schema: None,
        },
    }
}
