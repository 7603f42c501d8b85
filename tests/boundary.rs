//! The M-step and the promotion refuse every verdict that does not hold, over the real socket.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Daemon, Run};
use seal_conductor::client::ClientError;
use seal_protocol::{
    Digest, Envelope, PolicyUpdateRequest, PolicyUpdated, PromoteRequest, Role, Served, Statement,
    UnixSeconds, Verdict, VerdictKind, path,
};
use seal_trust::{SigningKey, payload_bytes, sign_statement};

/// A completed run; its verdicts are the material of the attacks.
struct Stage {
    run: Run,
    auditor: SigningKey,
}

impl Stage {
    fn set() -> Self {
        let run = Run::small(&[]);
        run.complete();
        let auditor = SigningKey::read(&run.path("keys/auditor.pem")).unwrap();
        Self { run, auditor }
    }

    /// The first genuine verdict of a kind: of the round, so the policy has learned from it. The
    /// verdict on a later document would be fresh.
    fn verdict(&self, kind: VerdictKind) -> Envelope {
        common::files_below(&self.run.path("auditor/state/verdicts"))
            .iter()
            .filter(|file| file.extension().is_some_and(|extension| extension == "json"))
            .map(|file| serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap())
            .filter(|envelope| statement(envelope).predicate.kind == kind)
            .min_by_key(|envelope| statement(envelope).predicate.sequence)
            .expect("the run accepted something of this kind")
    }

    /// The same verdict with one change, signed by the auditor's own key.
    fn changed(&self, kind: VerdictKind, change: impl FnOnce(&mut Verdict)) -> Envelope {
        let mut statement = statement(&self.verdict(kind));
        change(&mut statement.predicate);
        sign_statement(&self.auditor, &statement).unwrap()
    }

    /// The same verdict, signed by somebody else.
    fn by(&self, kind: VerdictKind, key: &SigningKey) -> Envelope {
        sign_statement(key, &statement(&self.verdict(kind))).unwrap()
    }

    /// What an attacker may try: name, verdict, codes that count as the right refusal.
    fn forgeries(
        &self,
        kind: VerdictKind,
    ) -> Vec<(&'static str, Envelope, &'static [&'static str])> {
        let student = SigningKey::read(&self.run.path("keys/student.pem")).unwrap();
        let other = Digest::from_bytes([7; 32]);
        let past = |verdict: &mut Verdict| {
            verdict.issued_at = UnixSeconds(1_000);
            verdict.expires_at = UnixSeconds(2_000);
        };
        vec![
            ("unknown key", self.by(kind, &SigningKey::generate()), &["signature_invalid"]),
            (
                "another role's key",
                self.by(kind, &student),
                &["signature_invalid", "signer_wrong_role"],
            ),
            ("expired", self.changed(kind, past), &["verdict_expired"]),
            (
                "another edit",
                self.changed(kind, |verdict| verdict.edit_digests = vec![other]),
                &["verdict_wrong_edit", "edit_unknown"],
            ),
            (
                "another base",
                self.changed(kind, |verdict| verdict.base_model_digest = other),
                &["verdict_wrong_base"],
            ),
        ]
    }
}

fn statement(envelope: &Envelope) -> Statement<Verdict> {
    serde_json::from_slice(&payload_bytes(envelope).unwrap()).unwrap()
}

/// The refusal's code, however it comes.
fn refusal<T: std::fmt::Debug>(outcome: Result<T, ClientError>) -> String {
    match outcome {
        Err(ClientError::Refused { body, .. } | ClientError::JobFailed { body, .. }) => body.code,
        other => panic!("not a refusal: {other:?}"),
    }
}

async fn policy_update(
    teacher: &Daemon,
    stage: &str,
    verdicts: Vec<Envelope>,
) -> Result<PolicyUpdated, ClientError> {
    let request = PolicyUpdateRequest {
        stage: stage.to_owned(),
        parent_policy_digest: None,
        verdicts,
        seed: 0,
    };
    let job = teacher.client.submit(path::POLICY_UPDATES, &request).await?;
    teacher.client.wait_job(&job, Duration::from_secs(120), |_, _| {}).await
}

async fn promote(student: &Daemon, verdict: Envelope) -> Result<Served, ClientError> {
    student.client.post(path::PROMOTIONS, &PromoteRequest { verdicts: vec![verdict] }).await
}

#[tokio::test]
async fn the_policy_learns_from_no_verdict_that_does_not_hold() {
    let stage = Stage::set();
    let teacher = stage.run.daemon(Role::Teacher).await;

    let none = refusal(policy_update(&teacher, "attack-none", vec![]).await);
    assert_eq!(none, "no_verdict");
    let replayed = vec![stage.verdict(VerdictKind::Edit)];
    assert_eq!(refusal(policy_update(&teacher, "attack", replayed).await), "verdict_replayed");
    for (name, verdict, codes) in stage.forgeries(VerdictKind::Edit) {
        let code = refusal(policy_update(&teacher, name, vec![verdict]).await);
        assert!(codes.contains(&code.as_str()), "{name}: {code}");
    }
    let promotion = vec![stage.changed(VerdictKind::Edit, |v| v.kind = VerdictKind::Promotion)];
    let code = refusal(policy_update(&teacher, "attack-kind", promotion).await);
    assert_eq!(code, "verdict_wrong_kind");
}

#[tokio::test]
async fn nothing_serves_on_a_verdict_that_does_not_hold() {
    let stage = Stage::set();
    let student = stage.run.daemon(Role::Student).await;
    let before: Served = student.client.get(path::VERSIONS).await.unwrap();

    let none = student.client.post::<_, Served>(path::PROMOTIONS, &serde_json::json!({})).await;
    assert!(matches!(&none, Err(ClientError::Refused { status: 400, .. })), "{none:?}");
    let edit = stage.verdict(VerdictKind::Edit);
    assert_eq!(refusal(promote(&student, edit).await), "verdict_wrong_kind");
    for (name, verdict, codes) in stage.forgeries(VerdictKind::Edit) {
        let kind = |verdict: &mut Verdict| verdict.kind = VerdictKind::Promotion;
        let mut forged = statement(&verdict);
        kind(&mut forged.predicate);
        let forged = match name {
            "unknown key" => sign_statement(&SigningKey::generate(), &forged).unwrap(),
            "another role's key" => verdict,
            _ => sign_statement(&stage.auditor, &forged).unwrap(),
        };
        let code = refusal(promote(&student, forged).await);
        assert!(codes.contains(&code.as_str()), "{name}: {code}");
    }
    let after: Served = student.client.get(path::VERSIONS).await.unwrap();
    assert_eq!(before, after);
}
