//! Who is not let in, and who is let in and not through.

use rcgen::ExtendedKeyUsagePurpose;
use seal_conductor::client::{Client, ClientError};
use seal_protocol::{
    AuditSubmission, Envelope, Health, JobAccepted, Role, RollBackRequest, Served, path,
};
use seal_service::tls::Party;

use crate::hosts::{Hosts, Pair, TRUST_DOMAIN, Wanted};

/// Why a call of `/v1/health` with this pair fails.
async fn refusal(hosts: &Hosts, pair: &Pair) -> String {
    // Our own side would not even read such a certificate, so its checks are left out here.
    let answer = crate::rude::get(hosts, Role::Student, Some(pair), path::HEALTH);
    answer.unwrap_or_else(|error| error)
}

#[tokio::test]
async fn who_has_no_valid_certificate_of_the_named_ca_gets_no_word() {
    let mut hosts = Hosts::new();
    hosts.start(Role::Student).await;
    let good = Wanted::both_ends("conductor");
    assert!(refusal(&hosts, &hosts.forge(&good)).await.starts_with("HTTP/1.1 200"));

    let without = crate::rude::get(&hosts, Role::Student, None, path::HEALTH).unwrap_err();
    assert!(without.contains("CertificateRequired"), "{without}");
    let foreign = refusal(&hosts, &hosts.foreign(&good)).await;
    assert!(foreign.contains("UnknownCA") || foreign.contains("DecryptError"), "{foreign}");
    let expired = Wanted { valid: (-3, -2), ..Wanted::both_ends("conductor") };
    let expired = refusal(&hosts, &hosts.forge(&expired)).await;
    assert!(expired.contains("CertificateExpired"), "{expired}");
    let early = Wanted { valid: (2, 3), ..Wanted::both_ends("conductor") };
    let early = refusal(&hosts, &hosts.forge(&early)).await;
    assert!(early.contains("CertificateExpired"), "{early}");
    // The student's own, which is for answering.
    let server = refusal(&hosts, &hosts.pair("student")).await;
    assert!(server.contains("received fatal alert"), "{server}");

    hosts.health(Role::Student).await.unwrap();
    let log = std::fs::read_to_string(hosts.log(Role::Student)).unwrap();
    assert!(log.contains("refused a connection from 127.0.0.1"), "{log}");
}

#[tokio::test]
async fn a_certificate_opens_the_routes_of_its_role_and_no_others() {
    let mut hosts = Hosts::new();
    hosts.start(Role::Student).await;
    hosts.start(Role::Auditor).await;

    // A stolen certificate of a daemon, valid for both ends, opens nothing at all.
    for party in ["student", "teacher", "auditor"] {
        let stolen = hosts.forge(&Wanted::both_ends(party));
        let client = hosts.client_with(Role::Auditor, &stolen, Party::Auditor);
        let refused = client.get::<Health>(path::HEALTH).await;
        let words =
            format!("is for the conductor and the operator, and this certificate is the {party}'s");
        assert_refused(refused, "not_your_route", &words);
        let refused = client
            .put_bytes(&path::ADAPTER_FILE.replace("{sha256}", &"0".repeat(64)), vec![1])
            .await;
        assert_refused(refused, "not_your_route", "is for the conductor,");
        let audit = client.post::<_, JobAccepted>(path::AUDITS, &submission()).await;
        assert_refused(audit, "not_your_route", "is for the conductor,");
    }

    let operator = hosts.client(Role::Auditor, "operator");
    operator.get::<Health>(path::HEALTH).await.unwrap();
    let audit = operator.post::<_, JobAccepted>(path::AUDITS, &submission()).await;
    assert_refused(audit, "not_your_route", "this certificate is the operator's");
    let back = RollBackRequest { version: "base".into(), reason: "a stolen conductor".into() };
    let conductor = hosts.client(Role::Student, "conductor");
    let refused = conductor.post::<_, Served>(path::ROLLBACKS, &back).await;
    assert_refused(
        refused,
        "not_your_route",
        "is for the operator, and this certificate is the conductor's",
    );
    // The operator gets as far as the student's own answer: the base serves already.
    let operator = hosts.client(Role::Student, "operator");
    let judged = operator.post::<_, Served>(path::ROLLBACKS, &back).await;
    let reached = matches!(
        &judged,
        Err(ClientError::Refused { status: 409, body }) if body.code == "already_active"
    );
    assert!(reached, "{judged:?}");

    // The right CA, and no name, two names, or one of another deployment.
    for uri in [
        None,
        Some("spiffe://other.internal/conductor/c"),
        Some("https://seal.internal/conductor/c"),
    ] {
        let wanted = Wanted { uri: uri.map(str::to_owned), ..Wanted::both_ends("conductor") };
        let answer = refusal(&hosts, &hosts.forge(&wanted)).await;
        assert!(
            answer.starts_with("HTTP/1.1 403") && answer.contains("no_role"),
            "{uri:?}: {answer}"
        );
    }
}

#[tokio::test]
async fn a_daemon_that_is_not_the_one_called_gets_no_message() {
    let mut hosts = Hosts::new();
    // A stolen host: the teacher's certificate answers at the student's address.
    let wanted = Wanted { host: "127.0.0.2".into(), ..Wanted::both_ends("teacher") };
    let impostor = crate::rude::impostor(&hosts, &hosts.forge(&wanted));
    let own = hosts.pair("conductor");
    let refused = call(&hosts, &own, &impostor.endpoint, Party::Student).await;
    assert!(refused.contains("the teacher answers there and not the student"), "{refused}");
    assert!(!impostor.heard(), "a request was sent to it");

    // The right role by a CA of somebody else, at another host, or with a caller's certificate.
    let good = || Wanted { host: "127.0.0.2".into(), ..Wanted::both_ends("student") };
    let callers = Wanted { usages: vec![ExtendedKeyUsagePurpose::ClientAuth], ..good() };
    for (pair, reason) in [
        (hosts.foreign(&good()), "was issued by a CA that `ca` does not name"),
        (
            hosts.forge(&Wanted { host: "127.0.0.9".into(), ..good() }),
            "does not name the host of the endpoint",
        ),
        (hosts.forge(&Wanted { valid: (-3, -2), ..good() }), "has expired"),
        (hosts.forge(&Wanted { valid: (2, 3), ..good() }), "is not valid yet"),
        (hosts.forge(&callers), "is for the other end of a connection"),
        (hosts.forge(&Wanted { uri: None, ..good() }), "has 0 URI names"),
    ] {
        let impostor = crate::rude::impostor(&hosts, &pair);
        let refused = call(&hosts, &own, &impostor.endpoint, Party::Student).await;
        assert!(refused.contains(reason), "{reason}: {refused}");
        assert!(!impostor.heard(), "{reason}: a request was sent to it");
    }
    let taken = crate::rude::impostor(&hosts, &hosts.forge(&good()));
    let answered = call(&hosts, &own, &taken.endpoint, Party::Student).await;
    assert!(taken.heard(), "the check of this test: {answered}");

    // And a real one at the wrong endpoint.
    hosts.start(Role::Auditor).await;
    let wrong = hosts.client_with(Role::Auditor, &own, Party::Student);
    let refused = wrong.get::<Health>(path::HEALTH).await.unwrap_err().to_string();
    assert!(refused.contains("the auditor answers there and not the student"), "{refused}");
}

async fn call(hosts: &Hosts, own: &Pair, endpoint: &str, expected: Party) -> String {
    let own = own.config(&hosts.path("tls/ca.pem"));
    let own = seal_service::tls::TlsClient::read(&own, &Party::ALL).unwrap();
    let client = Client::new(&endpoint.parse().unwrap()).over_tls(&own, expected);
    client.get::<Health>(path::HEALTH).await.unwrap_err().to_string()
}

fn submission() -> AuditSubmission {
    let nothing =
        Envelope { payload: String::new(), payload_type: TRUST_DOMAIN.into(), signatures: vec![] };
    AuditSubmission { request: nothing, edits: vec![], judgements: vec![] }
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(answer: Result<T, ClientError>, code: &str, words: &str) {
    match answer {
        Err(ClientError::Refused { status: 403, body }) if body.code == code => {
            assert!(body.message.contains(words), "{}", body.message);
        }
        other => panic!("not refused as {code}: {other:?}"),
    }
}
