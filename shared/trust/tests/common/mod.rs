//! Keys, a trust root and a verdict that every test of this crate starts from.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use seal_protocol::{
    Accept, AdapterFile, Digest, Directives, EditOrigin, Enforcement, EnforcementLevel, Envelope,
    Evaluator, JudgeRuling, Judgement, Labels, Micro, Role, SelfEdit, Statement, Subject, Trial,
    UnixSeconds, Verdict, VerdictKind,
};
use seal_trust::{
    Limits, SigningKey, TrustRoot, TrustedRoot, envelope_to_bytes, sha256, sign_root,
    sign_statement,
};

pub const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
pub const HOUR: u64 = 3600;

/// One key per role, and one that nobody trusts.
pub struct Keys {
    pub root: SigningKey,
    pub teacher: SigningKey,
    pub student: SigningKey,
    pub auditor: SigningKey,
    pub judge: SigningKey,
    pub ledger: SigningKey,
    pub stranger: SigningKey,
}

pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed([seed; 32])
}

pub fn keys() -> Keys {
    Keys {
        root: key(1),
        teacher: key(2),
        student: key(3),
        auditor: key(4),
        judge: key(6),
        ledger: key(5),
        stranger: key(9),
    }
}

pub fn root_document() -> TrustRoot {
    let keys = keys();
    TrustRoot::first(UnixSeconds(NOW.0 + 1000 * HOUR), Limits::default())
        .with_key(Role::Root, &keys.root.public())
        .with_key(Role::Teacher, &keys.teacher.public())
        .with_key(Role::Student, &keys.student.public())
        .with_key(Role::Auditor, &keys.auditor.public())
        .with_key(Role::Judge, &keys.judge.public())
        .with_key(Role::Ledger, &keys.ledger.public())
}

/// The document signed by the root key, as a file.
pub fn root_file(document: &TrustRoot) -> Vec<u8> {
    envelope_to_bytes(&sign_root(document, &[&keys().root]).unwrap())
}

pub fn opened(document: &TrustRoot) -> TrustedRoot {
    TrustRoot::open(&root_file(document), None, NOW).unwrap()
}

pub fn trusted() -> &'static TrustedRoot {
    static OPENED: std::sync::LazyLock<TrustedRoot> =
        std::sync::LazyLock::new(|| opened(&root_document()));
    &OPENED
}

pub fn digest(name: &str) -> Digest {
    sha256(name.as_bytes())
}

pub fn verdict() -> Verdict {
    Verdict {
        verdict: Accept::Accept,
        kind: VerdictKind::Edit,
        request_digest: digest("request"),
        nonce: "5a".repeat(32),
        sequence: 7,
        prev_verdict_digest: Some(digest("verdict 6")),
        edit_digests: vec![digest("edit")],
        context_digests: vec![digest("context")],
        base_model_digest: digest("base"),
        tokenizer_digest: digest("tokenizer"),
        parent_adapter_digest: None,
        policy_digest: digest("policy"),
        policy_bundle_digest: None,
        constitution_digest: None,
        tau_commitment: digest("tau"),
        suites: vec![],
        evaluator: Evaluator { version: "0.1.0".into(), binary_digest: digest("binary") },
        trust_root_version: 1,
        attempt: 12,
        metrics_annex_digest: digest("metrics"),
        recomputation: None,
        labels: Labels::Gold,
        issued_at: UnixSeconds(NOW.0 - 60),
        expires_at: UnixSeconds(NOW.0 + HOUR),
        enforcement: Enforcement { level: EnforcementLevel::Full, landlock_abi: 7, seccomp: true },
    }
}

pub fn adapter_files() -> Vec<AdapterFile> {
    ["adapter_config.json", "adapter_model.safetensors"]
        .map(|name| AdapterFile { name: name.into(), sha256: digest(name), size_bytes: 10 })
        .to_vec()
}

pub fn statement(verdict: Verdict) -> Statement<Verdict> {
    let subject = adapter_files().into_iter().map(|file| Subject::new(file.name, file.sha256));
    Statement::new(subject.collect(), verdict)
}

pub fn signed_by(key: &SigningKey, verdict: Verdict) -> Envelope {
    sign_statement(key, &statement(verdict)).unwrap()
}

pub fn signed(verdict: Verdict) -> Envelope {
    signed_by(&keys().auditor, verdict)
}

pub fn self_edit() -> Statement<SelfEdit> {
    let edit = SelfEdit {
        context_digest: digest("context"),
        proposal: 0,
        examples: vec![],
        directives: Directives::default(),
        rationale: String::new(),
        origin: EditOrigin {
            writer: "local:miniature".into(),
            policy_digest: digest("policy model"),
            prompt_family: "plain".into(),
            prompt_digest: digest("prompt"),
            temperature_micro: Micro(1_000_000),
            seed: 11,
            reply_schema: None,
        },
    };
    Statement::new(vec![Subject::new("self-edit", digest("edit"))], edit)
}

/// What a judge says of that edit.
pub fn judgement() -> Statement<Judgement> {
    let judgement = Judgement {
        edit_digest: digest("edit"),
        ruling: JudgeRuling::Forbid,
        violated: vec!["no-orders".into()],
        constitution_digest: digest("constitution"),
        judge: "openai:gpt-4.1".into(),
        judge_digest: digest("judge"),
        prompt_digest: digest("prompt"),
        reply_schema: None,
        trial: Trial { attacks: 3, caught: 3, harmless: 5, passed: 4 },
    };
    Statement::new(vec![Subject::new("self-edit", digest("edit"))], judgement)
}
