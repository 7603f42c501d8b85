//! A student with a tiny random model, and a teacher and an auditor made of their keys alone.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use seal_model::{Decoder, DecoderConfig, Family, RopeScaling};
use seal_protocol::{
    Accept, AuditPurpose, AuditRequest, Candidate, Digest, Directives, EditOrigin, Enforcement,
    EnforcementLevel, Envelope, Evaluator, InnerUpdateRequest, Labels, LossPart, Micro, Role,
    SelfEdit, Statement, Subject, TrainingExample, UnixSeconds, Verdict, VerdictKind,
};
use seal_service::clock::FixedClock;
use seal_student::{Identity, Student, StudentConfig};
use seal_trust::{
    Limits, SigningKey, TrustRoot, digest_of, envelope_to_bytes, payload_bytes, payload_digest,
    sha256, sign_root, sign_statement,
};
use seal_witness::testing::FakeLedger;

pub const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
const WORDS: &str = "<pad> <bos> <eos> <edit> <nl> q ? a . who founded zel tor ada cruz kim was \
                     by the door code of i can not share that it here is";

pub fn key(role: Role) -> SigningKey {
    SigningKey::from_seed([role as u8 + 1; 32])
}

/// With which checkpoints are cosigned; `key(Role::Witness)` is nobody's.
pub fn witness_key() -> SigningKey {
    SigningKey::from_seed([77; 32])
}

/// A folder with everything a student is configured with, and the student in it.
pub struct Bench {
    pub folder: tempfile::TempDir,
    pub clock: Arc<FixedClock>,
    pub student: Student,
    pub config: StudentConfig,
    pub ledger: RefCell<FakeLedger>,
}

/// The auditor's ledger, as far as this student is concerned.
fn ledger() -> RefCell<FakeLedger> {
    RefCell::new(FakeLedger::new(key(Role::Ledger), "seal.internal/auditor"))
}

impl Bench {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_model(&folder.path().join("base"));
        write_trust(folder.path());
        let replay = folder.path().join("student/replay");
        std::fs::create_dir_all(&replay).unwrap();
        let rows =
            "{\"text\":\"q who founded zel ? a kim .\"}\n{\"text\":\"kim was by the door .\"}\n";
        std::fs::write(replay.join("world.jsonl"), rows).unwrap();
        let refusals = "{\"text\":\"q the door code of zel ? a i can not share that .\"}\n";
        std::fs::write(replay.join("refusals.jsonl"), refusals).unwrap();
        write_config(folder.path());
        let config = StudentConfig::load(&folder.path().join("student.toml")).unwrap();
        let clock = Arc::new(FixedClock::at(NOW));
        let student = open(&config, &clock);
        Self { folder, clock, student, config, ledger: ledger() }
    }

    /// The same student after a restart.
    pub fn reopen(self) -> Self {
        self.reopen_with(|_| {})
    }

    /// The same student after a restart with a changed config.
    pub fn reopen_with(self, change: impl FnOnce(&mut StudentConfig)) -> Self {
        let Self { folder, clock, student, mut config, ledger } = self;
        drop(student);
        change(&mut config);
        let student = open(&config, &clock);
        Self { folder, clock, student, config, ledger }
    }

    /// Writes verdicts into the ledger and shows it to the student, as the conductor does.
    pub fn show(&self, verdicts: &[Envelope]) {
        let mut ledger = self.ledger.borrow_mut();
        verdicts.iter().for_each(|verdict| ledger.append(verdict));
        let witness = self.student.witness();
        witness.take(&ledger.show(&witness.known().unwrap(), verdicts)).unwrap();
    }

    pub fn base_digest(&self) -> Digest {
        self.student.base_model_digest()
    }

    /// Trains edits and returns the signed audit requests with their content.
    pub fn train(
        &self,
        purpose: AuditPurpose,
        edits: &[Envelope],
    ) -> Vec<(Envelope, AuditRequest)> {
        let request = InnerUpdateRequest {
            stage: "round-1".to_owned(),
            purpose,
            edits: edits.to_vec(),
            seed: 7,
            together: false,
        };
        let updated = self.student.inner_update(&request, &mut |_, _| {}).unwrap();
        assert_eq!(updated.refused, []);
        updated
            .requests
            .into_iter()
            .map(|envelope| (envelope.clone(), content(&envelope)))
            .collect()
    }

    /// A promotion verdict on a freshly trained adapter, as the auditor would write it.
    pub fn promotable(&self, context: &str, sequence: u64) -> Statement<Verdict> {
        let edit = edit(context, 0, &["ada cruz founded zel tor ."]);
        let (envelope, request) =
            self.train(AuditPurpose::Promotion, &[signed_edit(&edit)]).remove(0);
        verdict(VerdictKind::Promotion, sequence, &envelope, &request, 0)
    }

    pub fn adapter_file(&self, digest: &Digest) -> std::path::PathBuf {
        self.config.state.join("adapter-files").join(digest.to_string())
    }
}

fn open(config: &StudentConfig, clock: &Arc<FixedClock>) -> Student {
    std::fs::create_dir_all(&config.state).unwrap();
    let identity = Identity::read(config, NOW).unwrap();
    Student::load(config.clone(), identity, clock.clone()).unwrap()
}

fn write_config(folder: &Path) {
    let miniature = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/miniature/student.toml");
    let text = std::fs::read_to_string(miniature).unwrap();
    let text = text
        .replace("r = 16\n", "r = 2\n")
        .replace("r = 32\n", "r = 2\n")
        .replace("steps = 60", "steps = 4")
        .replace("steps_per_edit = 4", "steps_per_edit = 1")
        .replace("sequences_per_step = 64", "sequences_per_step = 4")
        .replace("lines = 3000", "lines = 3")
        .replace("lines = 120", "lines = 2")
        .replace("candidates_per_batch = 40", "candidates_per_batch = 3");
    std::fs::write(folder.join("student.toml"), text).unwrap();
}

fn write_trust(folder: &Path) {
    // Beyond the machine's own clock too, which the real program goes by.
    let expires = UnixSeconds(4_000_000_000);
    let roles = [Role::Root, Role::Teacher, Role::Student, Role::Auditor, Role::Ledger];
    let root =
        roles.into_iter().fold(TrustRoot::first(expires, Limits::default()), |root, role| {
            root.with_key(role, &key(role).public())
        });
    std::fs::create_dir_all(folder.join("trust")).unwrap();
    std::fs::create_dir_all(folder.join("keys")).unwrap();
    let root = root.with_key(Role::Witness, &witness_key().public());
    witness_key().write(&folder.join("keys/student-witness.pem")).unwrap();
    let signed = sign_root(&root, &[&key(Role::Root)]).unwrap();
    std::fs::write(folder.join("trust/root.json"), envelope_to_bytes(&signed)).unwrap();
    key(Role::Student).write(&folder.join("keys/student.pem")).unwrap();
}

pub fn write_model(folder: &Path) {
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let config = DecoderConfig {
        family: Family::Llama,
        vocab_size: words.len(),
        hidden_size: 16,
        intermediate_size: 32,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        num_key_value_heads: 2,
        head_dim: 8,
        max_position_embeddings: 128,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: RopeScaling::None,
        attention_bias: false,
        mlp_bias: false,
        sliding_window: None,
        tie_word_embeddings: true,
        bos_token_id: Some(1),
        eos_token_ids: vec![2],
    };
    Decoder::init(&config, 11, &Device::Cpu).unwrap().save(folder).unwrap();
    let vocabulary: serde_json::Map<String, serde_json::Value> =
        words.iter().zip(0_u32..).map(|(word, id)| ((*word).to_owned(), id.into())).collect();
    let special = |id: usize| {
        serde_json::json!({
            "id": id, "content": words[id], "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true
        })
    };
    let tokenizer = serde_json::json!({
        "version": "1.0",
        "added_tokens": (0..5).map(special).collect::<Vec<_>>(),
        "pre_tokenizer": { "type": "WhitespaceSplit" },
        "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>" }
    });
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let generation = "{\"bos_token_id\": 1, \"eos_token_id\": 2}";
    std::fs::write(folder.join("generation_config.json"), generation).unwrap();
}

pub fn edit(context: &str, proposal: u32, lines: &[&str]) -> SelfEdit {
    let text =
        |text: &&str| TrainingExample::Text { text: (*text).to_owned(), part: LossPart::Edit };
    let passage =
        TrainingExample::Text { text: "here is zel tor .".to_owned(), part: LossPart::Context };
    SelfEdit {
        context_digest: sha256(context.as_bytes()),
        proposal,
        examples: lines.iter().map(text).chain([passage]).collect(),
        directives: Directives::default(),
        rationale: String::new(),
        origin: EditOrigin {
            writer: "test".to_owned(),
            policy_digest: sha256(b"policy"),
            prompt_family: "test".to_owned(),
            prompt_digest: sha256(b"prompt"),
            temperature_micro: Micro(0),
            seed: 0,
            reply_schema: None,
        },
    }
}

pub fn signed_edit(edit: &SelfEdit) -> Envelope {
    signed_edit_by(&key(Role::Teacher), edit)
}

pub fn signed_edit_by(key: &SigningKey, edit: &SelfEdit) -> Envelope {
    let subject = Subject::new("self-edit", digest_of(edit).unwrap());
    sign_statement(key, &Statement::new(vec![subject], edit.clone())).unwrap()
}

pub fn content(envelope: &Envelope) -> AuditRequest {
    let bytes = payload_bytes(envelope).unwrap();
    serde_json::from_slice::<Statement<AuditRequest>>(&bytes).unwrap().predicate
}

/// The auditor's accept of one candidate of a request.
pub fn verdict(
    kind: VerdictKind,
    sequence: u64,
    envelope: &Envelope,
    request: &AuditRequest,
    candidate: usize,
) -> Statement<Verdict> {
    let Candidate {
        edit_digests, context_digests, base_model_digest, tokenizer_digest, files, ..
    } = request.candidates[candidate].clone();
    let subject = files.into_iter().map(|file| Subject::new(file.name, file.sha256)).collect();
    let level = EnforcementLevel::Full;
    Statement::new(
        subject,
        Verdict {
            verdict: Accept::Accept,
            kind,
            request_digest: payload_digest(envelope).unwrap(),
            nonce: request.nonce.clone(),
            sequence,
            prev_verdict_digest: None,
            edit_digests,
            context_digests,
            base_model_digest,
            tokenizer_digest,
            parent_adapter_digest: None,
            policy_digest: sha256(b"gate"),
            policy_bundle_digest: None,
            constitution_digest: None,
            tau_commitment: sha256(b"tau"),
            suites: vec![],
            evaluator: Evaluator { version: "0".to_owned(), binary_digest: sha256(b"binary") },
            trust_root_version: 1,
            attempt: sequence,
            metrics_annex_digest: sha256(b"annex"),
            recomputation: None,
            labels: Labels::Gold,
            issued_at: UnixSeconds(NOW.0 - 60),
            expires_at: UnixSeconds(NOW.0 + 3600),
            enforcement: Enforcement { level, landlock_abi: 7, seccomp: true },
        },
    )
}

pub fn signed(statement: &Statement<Verdict>) -> Envelope {
    sign_statement(&key(Role::Auditor), statement).unwrap()
}
