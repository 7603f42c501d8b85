//! The auditor trains adapters again, over the real socket: what a student hands in that its edit did
//! not make is refused.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Daemon, Run, seal, stderr};
use seal_conductor::client::ClientError;
use seal_protocol::{
    Attempt, AuditPurpose, AuditRequest, AuditSubmission, Audited, Candidate, Decision, Envelope,
    Recomputation, Role, SelfEdit, Statement, Subject, Verdict, path,
};
use seal_trust::{SigningKey, digest_of, payload_bytes, sha256, sign_statement};

const BAD_INPUT: i32 = 3;
const DIFFERS: &str = "recomputation.differs";

/// A run that is done, with the student's key in an attacker's hand.
struct Stolen {
    run: Run,
    student: SigningKey,
}

fn content<P: serde::de::DeserializeOwned>(envelope: &Envelope) -> P {
    let statement: Statement<P> =
        serde_json::from_slice(&payload_bytes(envelope).unwrap()).unwrap();
    statement.predicate
}

impl Stolen {
    /// Envelopes of one kind that the auditor kept.
    fn kept<P: serde::de::DeserializeOwned>(&self, kind: &str) -> Vec<(Envelope, P)> {
        common::files_below(&self.run.path(&format!("auditor/state/{kind}")))
            .iter()
            .filter(|file| file.extension().is_some_and(|extension| extension == "json"))
            .map(|file| serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap())
            .map(|envelope: Envelope| (envelope.clone(), content(&envelope)))
            .collect()
    }

    /// A request of the round with at least two candidates.
    fn group(&self) -> AuditRequest {
        let requests = self.kept::<AuditRequest>("requests").into_iter().map(|(_, one)| one);
        let is_group = |one: &AuditRequest| {
            one.purpose == AuditPurpose::Edit && one.candidates.len() > 1 && one.stage != "intake"
        };
        requests.into_iter().find(is_group).expect("the round has a group")
    }

    fn edits(&self, of: &AuditRequest) -> Vec<Envelope> {
        let named = |edit: &SelfEdit| {
            let digest = digest_of(edit).unwrap();
            of.candidates.iter().any(|candidate| candidate.edit_digests.contains(&digest))
        };
        let edits = self.kept::<SelfEdit>("edits").into_iter();
        edits.filter(|(_, edit)| named(edit)).map(|(envelope, _)| envelope).collect()
    }

    fn tensors(&self, candidate: &Candidate) -> Vec<u8> {
        let digest = candidate.adapter_digest().unwrap();
        std::fs::read(self.run.path(&format!("student/state/adapter-files/{digest}"))).unwrap()
    }

    /// Uploads what the candidates name and has them judged; the last rows of the ledger.
    async fn judged(
        &self,
        auditor: &Daemon,
        request: AuditRequest,
        tensors: Vec<Vec<u8>>,
    ) -> (Audited, Vec<Attempt>) {
        let mut request = request;
        for (candidate, bytes) in request.candidates.iter_mut().zip(&tensors) {
            candidate.files[1].sha256 = sha256(bytes);
            candidate.files[1].size_bytes = bytes.len() as u64;
            for file in &candidate.files {
                let config = format!("student/state/adapter-files/{}", file.sha256);
                let bytes = match file.name.as_str() {
                    "adapter_model.safetensors" => bytes.clone(),
                    _ => std::fs::read(self.run.path(&config)).unwrap(),
                };
                let at = path::ADAPTER_FILE.replace("{sha256}", &file.sha256.to_string());
                auditor.client.put_bytes(&at, bytes).await.unwrap();
            }
        }
        request.nonce = digest_of(&request).unwrap().to_string();
        let (edits, count) = (self.edits(&request), request.candidates.len());
        let subject = vec![Subject::new("audit-request", digest_of(&request).unwrap())];
        let request = sign_statement(&self.student, &Statement::new(subject, request)).unwrap();
        let job = auditor
            .client
            .submit(path::AUDITS, &AuditSubmission { request, edits, judgements: vec![] })
            .await;
        let done: Result<Audited, ClientError> =
            auditor.client.wait_job(&job.unwrap(), Duration::from_secs(120), |_, _| {}).await;
        let mut rows = self.run.ledger();
        (done.unwrap(), rows.split_off(rows.len() - count))
    }
}

#[tokio::test]
async fn every_adapter_of_an_honest_run_comes_out_equal_and_a_forged_one_is_refused() {
    let run = Run::small(&[]);
    run.complete();
    let ledger = run.ledger();
    assert!(ledger.len() > 8);
    for attempt in &ledger {
        assert_eq!(attempt.recomputation, Some(Recomputation::Equal), "{attempt:?}");
    }
    let student = SigningKey::read(&run.path("keys/student.pem")).unwrap();
    let stolen = Stolen { run, student };
    for (_, verdict) in stolen.kept::<Verdict>("verdicts") {
        assert_eq!(verdict.recomputation, Some(Recomputation::Equal));
    }

    let auditor = stolen.run.daemon(Role::Auditor).await;
    let group = stolen.group();
    let honest: Vec<Vec<u8>> = group.candidates.iter().map(|one| stolen.tensors(one)).collect();

    // The adapters of two edits of one context, each handed in for the other.
    let mut swapped = honest.clone();
    swapped.swap(0, 1);
    let (audited, rows) = stolen.judged(&auditor, group.clone(), swapped).await;
    assert!(audited.verdict.is_none());
    for row in &rows[..2] {
        assert_eq!((row.decision, &row.reasons[..]), (Decision::Reject, &[DIFFERS.to_owned()][..]));
        assert_eq!(row.recomputation, Some(Recomputation::Refused));
    }

    // One bit of the last factor, which no measurement would ever show.
    let mut changed = honest.clone();
    let last = changed[0].len() - 4;
    changed[0][last] ^= 1;
    let (_, rows) = stolen.judged(&auditor, group.clone(), changed).await;
    assert_eq!(rows[0].reasons, [DIFFERS]);
    assert_eq!(rows[1].recomputation, Some(Recomputation::Equal));

    // A seed under which they were not trained.
    let mut reseeded = group.clone();
    reseeded.candidates.iter_mut().for_each(|candidate| candidate.seed += 1);
    let (_, rows) = stolen.judged(&auditor, reseeded, honest.clone()).await;
    assert!(rows.iter().all(|row| row.reasons == [DIFFERS]), "{rows:?}");

    // A recipe that the auditor's tables do not make of the edit.
    let mut other = group;
    other.candidates.iter_mut().for_each(|one| one.recipe_digest = sha256(b"another recipe"));
    let (_, rows) = stolen.judged(&auditor, other, honest).await;
    assert!(rows.iter().all(|row| row.reasons == ["recomputation.recipe"]), "{rows:?}");

    // All of it stands in a ledger that verifies.
    drop(auditor);
    let verified = stolen.run.seal(&["verify", "--all"]);
    assert!(verified.status.success(), "{}", stderr(&verified));
}

#[test]
fn adapters_of_bf16_parts_come_out_equal_where_both_compute_so_and_in_no_other_way() {
    let run = Run::small(&[]);
    let computes_so = |role: &str| {
        let config = run.path(&format!("{role}.toml"));
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, format!("device = \"cpu-bf16x3\"\n{text}")).unwrap();
    };
    let of_ledger = || {
        let ledger = run.ledger();
        assert!(!ledger.is_empty());
        ledger.into_iter().map(|attempt| attempt.recomputation).collect::<Vec<_>>()
    };
    let other = run.copy();
    ["student", "auditor"].iter().for_each(|role| computes_so(role));
    run.complete();
    let alike = of_ledger();
    assert!(alike.iter().all(|one| *one == Some(Recomputation::Equal)), "{alike:?}");

    // The auditor alone computes otherwise: nothing is equal, and nothing is accepted.
    let student = other.path("student.toml");
    let text = std::fs::read_to_string(&student).unwrap();
    std::fs::write(&student, format!("device = \"cpu-bf16x3\"\n{text}")).unwrap();
    other.seal(&["--quiet", "run"]);
    let ledger = other.ledger();
    assert!(!ledger.is_empty());
    for attempt in ledger {
        assert_eq!(attempt.decision, Decision::Reject, "{attempt:?}");
        assert_eq!(attempt.reasons, ["recomputation.other-arithmetic"], "{attempt:?}");
    }
}

#[test]
fn a_config_that_asks_for_more_than_it_says_is_refused_with_the_mend() {
    let run = Run::small(&[]);
    let config = run.path("auditor.toml");
    let shipped = std::fs::read_to_string(&config).unwrap();
    let refused = |change: &dyn Fn(&str) -> String| {
        std::fs::write(&config, change(&shipped)).unwrap();
        let output = seal(&["auditor", "--config", config.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(BAD_INPUT), "{}", stderr(&output));
        stderr(&output)
    };
    let said = refused(&|text| {
        text.replacen("[recomputation]\n", "", 1).replacen(
            "update_tables = \"student.toml\"\n",
            "",
            1,
        )
    });
    assert!(said.contains("[recomputation]") && said.contains("update_tables"), "{said}");
    let said = refused(&|text| text.replacen("recompute = \"always\"", "recompute = 1.5", 1));
    assert!(said.contains("auditor.toml") && said.contains("a share above 0"), "{said}");
    let said = refused(&|text| text.replacen("\"student.toml\"", "\"nothing.toml\"", 1));
    assert!(said.contains("nothing.toml"), "{said}");
}
