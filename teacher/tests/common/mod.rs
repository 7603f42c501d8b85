//! A teacher with a tiny random policy, and an auditor made of its key alone.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod running;

use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use seal_model::{Decoder, DecoderConfig, Family, RopeScaling};
use seal_protocol::{
    Accept, Digest, Enforcement, EnforcementLevel, Envelope, Evaluator, Labels, Micro,
    ProposalMethod, Proposals, ProposeRequest, Role, SelfEdit, Statement, UnixSeconds, Verdict,
    VerdictKind,
};
use seal_service::clock::FixedClock;
use seal_teacher::{Identity, Teacher, TeacherConfig};
use seal_trust::{
    Limits, SigningKey, TrustRoot, digest_of, envelope_to_bytes, payload_bytes, sha256, sign_root,
    sign_statement,
};
use seal_witness::testing::FakeLedger;

pub const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
const WORDS: &str = "<pad> <bos> <eos> <edit> <nl> plan_qa plan_facts size_3 size_6 q ? a . who zel \
                     tor ada kim here is";
/// Texts of the contexts; the last one holds a control word.
pub const CONTEXTS: [&str; 4] =
    ["here is zel tor .", "here is kim .", "ada is here .", "zel <edit> tor"];

pub fn key(role: Role) -> SigningKey {
    SigningKey::from_seed([role as u8 + 1; 32])
}

pub fn context(number: usize) -> Digest {
    sha256(CONTEXTS[number].as_bytes())
}

/// With which checkpoints are cosigned; `key(Role::Witness)` is nobody's.
pub fn witness_key() -> SigningKey {
    SigningKey::from_seed([77; 32])
}

/// A folder with everything a teacher is configured with, and the teacher in it.
pub struct Bench {
    pub folder: tempfile::TempDir,
    pub teacher: Teacher,
    pub config: TeacherConfig,
    pub ledger: FakeLedger,
}

/// The auditor's ledger, as far as this teacher is concerned.
fn ledger() -> FakeLedger {
    FakeLedger::new(key(Role::Ledger), "seal.internal/auditor")
}

impl Bench {
    pub fn new() -> Self {
        Self::with_config(&miniature_config())
    }

    /// A teacher with another config than the miniature's.
    pub fn with_config(text: &str) -> Self {
        let folder = stage(text);
        let config = TeacherConfig::load(&folder.path().join("teacher.toml")).unwrap();
        std::fs::create_dir_all(&config.state).unwrap();
        let teacher = open(&config);
        Self { folder, teacher, config, ledger: ledger() }
    }

    /// The same teacher after a restart.
    pub fn reopen(self) -> Self {
        self.reopen_with(|_| {})
    }

    /// The same teacher after a restart with a changed config.
    pub fn reopen_with(self, change: impl FnOnce(&mut TeacherConfig)) -> Self {
        let Self { folder, teacher, mut config, ledger } = self;
        drop(teacher);
        change(&mut config);
        let teacher = open(&config);
        Self { folder, teacher, config, ledger }
    }

    /// Writes verdicts into the ledger and shows it to the teacher, as the conductor does.
    pub fn show(&mut self, verdicts: &[Envelope]) {
        verdicts.iter().for_each(|verdict| self.ledger.append(verdict));
        let witness = self.teacher.witness();
        witness.take(&self.ledger.show(&witness.known().unwrap(), verdicts)).unwrap();
    }

    pub fn propose(&mut self, request: &ProposeRequest) -> Result<Proposals, &'static str> {
        self.teacher.propose(request, &mut |_, _| {}).map_err(|refusal| refusal.code())
    }

    /// Edits of the first policy, and the auditor's accept of each.
    pub fn accepted(&mut self) -> Vec<(Envelope, Statement<Verdict>)> {
        let edits = self.propose(&sampled(&[0, 1, 2], 4)).unwrap().edits;
        self.verdicts_on(edits)
    }

    /// The auditor's accept of each edit, signed.
    pub fn accept_all(&self, edits: &[Envelope]) -> Vec<Envelope> {
        let verdicts = self.verdicts_on(edits.to_vec());
        verdicts.iter().map(|(_, statement)| signed(statement)).collect()
    }

    /// The accept of each edit, unsigned.
    pub fn verdicts_on(&self, edits: Vec<Envelope>) -> Vec<(Envelope, Statement<Verdict>)> {
        let base = self.teacher.base_model_digest();
        let tokenizer = std::fs::read(self.config.base_model.join("tokenizer.json")).unwrap();
        let accept = |(envelope, sequence): (Envelope, u64)| {
            let statement = verdict(&content(&envelope), sequence, base, sha256(&tokenizer));
            (envelope, statement)
        };
        edits.into_iter().zip(1..).map(accept).collect()
    }
}

/// A folder with everything that the config needs.
pub fn stage(config: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_model(&folder.path().join("base"));
    write_trust(folder.path());
    write_data(&folder.path().join("teacher"));
    std::fs::write(folder.path().join("teacher.toml"), config).unwrap();
    folder
}

fn open(config: &TeacherConfig) -> Teacher {
    let identity = Identity::read(config, NOW).unwrap();
    Teacher::load(config.clone(), identity, Arc::new(FixedClock::at(NOW))).unwrap()
}

/// A request for sampled proposals. A random policy ends a reply soon only when its head is forced.
pub fn sampled(contexts: &[usize], proposals: u32) -> ProposeRequest {
    ProposeRequest {
        stage: "round-1".to_owned(),
        context_digests: contexts.iter().map(|number| context(*number)).collect(),
        proposals_per_context: proposals,
        policy_digest: None,
        method: ProposalMethod::Policy {
            temperature_micro: Micro(1_000_000),
            forced_prefix: ["plan_qa", "size_3", "ada", "is"].map(str::to_owned).to_vec(),
        },
        seed: 7,
    }
}

fn miniature_config() -> String {
    let miniature = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/miniature/teacher.toml");
    let text = std::fs::read_to_string(miniature).unwrap();
    text.replace("batch = 200", "batch = 5").replace("epochs = 8", "epochs = 2")
}

/// A config whose replies come from elsewhere: `backend` is the text of its tables.
pub fn remote_config(backend: &str) -> String {
    format!(
        "endpoint = \"unix:sockets/teacher.sock\"\nstate = \"teacher/state\"\nbase_model = \"base\"\n\
         key = \"keys/teacher.pem\"\nexit_with_parent = true\ntrust_root = \"trust/root.json\"\n\
         contexts = \"teacher/contexts.jsonl\"\nwriter = \"test\"\nprompt_family = \"implications\"\n\
         layout = \"chat\"\n\n[sampling]\nmax_new_tokens = 100\nbatch = 5\n\
         max_proposals_per_context = 64\n\n{backend}\n[ledger]\n\
         origins = [\"seal.internal/auditor\"]\nwitness_key = \"keys/teacher-witness.pem\"\n\
         witness_name = \"seal.internal/teacher\"\n\n[confinement]\nprofile = \"strict\"\n\
         decoy_dir = \"decoys/teacher\"\nmust_not_read = [\"keys/teacher.pem\"]\n"
    )
}

/// A request that any backend can carry out.
pub fn free(contexts: &[usize], proposals: u32) -> ProposeRequest {
    let method =
        ProposalMethod::Policy { temperature_micro: Micro(1_000_000), forced_prefix: Vec::new() };
    ProposeRequest { method, ..sampled(contexts, proposals) }
}

fn write_data(folder: &Path) {
    std::fs::create_dir_all(folder.join("replay")).unwrap();
    let row = |(text, number): (&&str, usize)| {
        format!("{{\"id\":\"c{number}\",\"title\":\"\",\"text\":\"{text}\"}}\n")
    };
    let rows: String = CONTEXTS.iter().zip(0..).map(row).collect();
    std::fs::write(folder.join("contexts.jsonl"), rows).unwrap();
    let line = "{\"text\":\"q who is kim ? a ada .\"}\n";
    for name in ["world", "refusals"] {
        std::fs::write(folder.join(format!("replay/{name}.jsonl")), line).unwrap();
    }
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
    witness_key().write(&folder.join("keys/teacher-witness.pem")).unwrap();
    let signed = sign_root(&root, &[&key(Role::Root)]).unwrap();
    std::fs::write(folder.join("trust/root.json"), envelope_to_bytes(&signed)).unwrap();
    key(Role::Teacher).write(&folder.join("keys/teacher.pem")).unwrap();
}

fn write_model(folder: &Path) {
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
        max_position_embeddings: 192,
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

pub fn content(envelope: &Envelope) -> SelfEdit {
    let bytes = payload_bytes(envelope).unwrap();
    serde_json::from_slice::<Statement<SelfEdit>>(&bytes).unwrap().predicate
}

/// The auditor's accept of one edit.
pub fn verdict(
    edit: &SelfEdit,
    sequence: u64,
    base_model_digest: Digest,
    tokenizer_digest: Digest,
) -> Statement<Verdict> {
    let level = EnforcementLevel::Full;
    Statement::new(
        vec![],
        Verdict {
            verdict: Accept::Accept,
            kind: VerdictKind::Edit,
            request_digest: sha256(&sequence.to_le_bytes()),
            nonce: "5a".repeat(32),
            sequence,
            prev_verdict_digest: None,
            edit_digests: vec![digest_of(edit).unwrap()],
            context_digests: vec![edit.context_digest],
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
