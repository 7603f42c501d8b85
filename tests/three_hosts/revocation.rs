//! Stolen certificates, and lists that are old, of another CA, or no lists.

use std::path::PathBuf;

use seal_protocol::{Health, Role, path};
use seal_service::tls::{Party, TlsClient, TlsConfig};
use serde_json::Value;

use crate::common::{seal, stderr, stdout};
use crate::hosts::{Hosts, Pair, Wanted};

const LIST: &str = "tls/ca.crl.pem";

/// `seal tls revoke` on the CA of these hosts.
fn revoke(hosts: &Hosts, arguments: &[&str]) -> Value {
    let ca = hosts.path("tls");
    let fixed = ["--json", "tls", "revoke", "--ca", ca.to_str().unwrap()];
    let output = seal(&[&fixed[..], arguments].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Brings the CA's list to a role's host, whose config names it.
fn bring(hosts: &Hosts, role: Role) -> PathBuf {
    let there = hosts.host(role).join(LIST);
    std::fs::copy(hosts.path(LIST), &there).unwrap();
    there
}

fn demand(hosts: &Hosts, role: Role) {
    hosts.reconfigure(
        role,
        "ca = \"tls/ca.pem\"",
        "ca = \"tls/ca.pem\"\nrevoked = \"tls/ca.crl.pem\"",
    );
}

/// What a caller with this pair gets to hear.
fn answer(hosts: &Hosts, pair: &Pair) -> String {
    let answer = crate::rude::get(hosts, Role::Student, Some(pair), path::HEALTH);
    answer.unwrap_or_else(|error| error)
}

fn text(path: &std::path::Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn a_stolen_certificate_opens_nothing_once_the_list_is_there() {
    let mut hosts = Hosts::new();
    let (stolen, renewed) = (hosts.pair("operator"), hosts.forge(&Wanted::both_ends("operator")));
    hosts.start(Role::Student).await;
    assert!(answer(&hosts, &stolen).starts_with("HTTP/1.1 200"));
    hosts.stop(Role::Student);

    let list = revoke(&hosts, &[text(&stolen.certificate)]);
    assert_eq!((&list["number"], list["revoked"].as_array().unwrap().len()), (&"1".into(), 1));
    bring(&hosts, Role::Student);
    demand(&hosts, Role::Student);
    hosts.start(Role::Student).await;
    let refused = answer(&hosts, &stolen);
    assert!(refused.contains("CertificateRevoked"), "{refused}");
    assert!(answer(&hosts, &renewed).starts_with("HTTP/1.1 200"));
    let log = std::fs::read_to_string(hosts.log(Role::Student)).unwrap();
    assert!(log.contains("its certificate is on a list of `revoked`"), "{log}");

    // A further one joins the first, and the list goes on counting.
    let list = revoke(&hosts, &[text(&renewed.certificate)]);
    assert_eq!((&list["number"], list["revoked"].as_array().unwrap().len()), (&"2".into(), 2));
    hosts.stop(Role::Student);
    bring(&hosts, Role::Student);
    hosts.start(Role::Student).await;
    assert!(answer(&hosts, &renewed).contains("CertificateRevoked"));
    hosts.health(Role::Student).await.unwrap();
}

#[tokio::test]
async fn a_daemon_whose_certificate_was_stolen_is_not_called_and_does_not_start() {
    let mut hosts = Hosts::new();
    hosts.start(Role::Student).await;
    revoke(&hosts, &[text(&hosts.pair("student").certificate)]);
    let caller = hosts.pair("conductor");
    let config =
        TlsConfig { revoked: Some(hosts.path(LIST)), ..caller.config(&hosts.path("tls/ca.pem")) };
    let client = TlsClient::read(&config, &Party::ALL).unwrap();
    let client = seal_conductor::client::Client::new(&hosts.endpoint(Role::Student))
        .over_tls(&client, Party::Student);
    let refused = client.get::<Health>(path::HEALTH).await.unwrap_err();
    let said = format!("{refused:#} {:?}", std::error::Error::source(&refused));
    assert!(said.contains("its certificate is on a list of `revoked`"), "{said}");

    hosts.stop(Role::Student);
    bring(&hosts, Role::Student);
    demand(&hosts, Role::Student);
    let said = refusal(&hosts);
    assert!(said.contains("it is on a list of `revoked`; issue another"), "{said}");
}

/// Why the student does not start.
fn refusal(hosts: &Hosts) -> String {
    let config = hosts.host(Role::Student).join("student.toml");
    let output = seal(&["student", "--config", text(&config)]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    stderr(&output)
}

#[tokio::test]
async fn no_list_an_old_one_and_one_of_another_ca_let_nobody_in() {
    let mut hosts = Hosts::new();
    demand(&hosts, Role::Student);
    let said = refusal(&hosts);
    assert!(said.contains("ca.crl.pem") && said.contains("put the file there"), "{said}");

    let there = hosts.host(Role::Student).join(LIST);
    std::fs::copy(hosts.path("tls/ca.pem"), &there).unwrap();
    let said = refusal(&hosts);
    assert!(said.contains("holds no revocation list in PEM form"), "{said}");

    // The same words and another key.
    let foreign = hosts.path("foreign");
    assert!(seal(&["tls", "init", text(&foreign)]).status.success());
    assert!(seal(&["tls", "revoke", "--ca", text(&foreign)]).status.success());
    std::fs::copy(foreign.join("ca.crl.pem"), &there).unwrap();
    let said = refusal(&hosts);
    assert!(said.contains("every CA of a chain needs one"), "{said}");

    std::fs::write(&there, hosts.list_that_ended_yesterday()).unwrap();
    let said = refusal(&hosts);
    assert!(said.contains("has expired; write it anew with `seal tls revoke`"), "{said}");
    let shown = stdout(&seal(&["tls", "show", text(&there)]));
    assert!(shown.contains("EXPIRED"), "{shown}");

    // Written anew, empty: everybody is let in again.
    let list = revoke(&hosts, &["--days", "7"]);
    assert_eq!((&list["revoked"], &list["days_left"]), (&Value::Array(vec![]), &7.into()));
    bring(&hosts, Role::Student);
    hosts.start(Role::Student).await;
}

#[test]
fn what_cannot_be_revoked_is_told_and_the_list_stays_as_it_was() {
    let hosts = Hosts::new();
    let ca = hosts.path("tls");
    let told = |certificate: &str| {
        let output = seal(&["tls", "revoke", "--ca", text(&ca), certificate]);
        assert!(!output.status.success(), "{certificate}");
        stderr(&output)
    };
    let foreign = hosts.foreign(&Wanted::both_ends("operator"));
    assert!(told(text(&foreign.certificate)).contains("was not issued by this CA"));
    assert!(told(text(&hosts.path("tls/ca.pem"))).contains("was not issued by this CA"));
    assert!(told(text(&foreign.key)).contains("holds no certificate in PEM form"));
    assert!(!hosts.path(LIST).exists());

    let operator = hosts.pair("operator").certificate;
    // A CA of the same name wrote a list, and it lies here.
    let other = hosts.path("other");
    assert!(seal(&["tls", "init", text(&other)]).status.success());
    assert!(seal(&["tls", "revoke", "--ca", text(&other)]).status.success());
    std::fs::copy(other.join("ca.crl.pem"), hosts.path(LIST)).unwrap();
    assert!(told(text(&operator)).contains("is the list of another CA; move it away"));
    std::fs::remove_file(hosts.path(LIST)).unwrap();
    revoke(&hosts, &[text(&operator)]);
    let before = std::fs::read(hosts.path(LIST)).unwrap();
    assert!(told(text(&operator)).contains("is on the list already"));
    assert_eq!(std::fs::read(hosts.path(LIST)).unwrap(), before);
    // OpenSSL reads the list, if there is one here, and finds the CA's signature on it.
    let (list, ca) = (hosts.path(LIST), hosts.path("tls/ca.pem"));
    let openssl = std::process::Command::new("openssl")
        .args(["crl", "-noout", "-text", "-in", text(&list), "-CAfile", text(&ca)])
        .output();
    let Ok(openssl) = openssl else {
        println!("skipped: no openssl here");
        return;
    };
    let said = format!("{}{}", stdout(&openssl), stderr(&openssl));
    assert!(openssl.status.success() && said.contains("verify OK"), "{said}");
    assert!(said.contains("Serial Number") && said.contains("X509v3 CRL Number"), "{said}");
}
