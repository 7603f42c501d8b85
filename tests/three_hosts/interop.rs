//! Beside stock tools: what OpenSSL and curl see of a daemon, and certificates that OpenSSL made.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use seal_protocol::{Health, Role, path};

use crate::common::{stderr, stdout};
use crate::hosts::{Hosts, Pair};

/// Whether a program is there; says so where it is not, since nothing is compared then.
fn there(program: &str) -> bool {
    let mut asked = Command::new(program);
    asked.arg(if program == "curl" { "--version" } else { "version" });
    let there = asked.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !there {
        eprintln!("skipped: no `{program}` on this machine");
    }
    there
}

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap()
}

#[tokio::test]
async fn curl_with_the_right_certificate_is_served_and_without_one_it_is_not() {
    if !there("curl") {
        return;
    }
    let mut hosts = Hosts::new();
    hosts.start(Role::Student).await;
    let (host, port) = hosts.at(Role::Student);
    let ca = hosts.path("tls/ca.pem");
    let curl = |pair: Option<Pair>, more: &[&str], at: &str| {
        let url = format!("https://{host}:{port}{at}");
        let mut all = vec!["--silent", "--show-error", "--max-time", "20", "--noproxy", "*"];
        all.extend(["--cacert", ca.to_str().unwrap()]);
        let files = pair.map(|pair| (pair.certificate, pair.key));
        if let Some((certificate, key)) = &files {
            all.extend(["--cert", certificate.to_str().unwrap(), "--key", key.to_str().unwrap()]);
        }
        all.extend(more);
        all.push(&url);
        run("curl", &all)
    };
    let health = curl(Some(hosts.pair("operator")), &[], path::HEALTH);
    assert!(health.status.success(), "{}", stderr(&health));
    let health: Health = serde_json::from_slice(&health.stdout).unwrap();
    assert_eq!(health.role, Role::Student);

    let body = ["--data", "{}", "--write-out", "%{http_code}"];
    let other = curl(Some(hosts.pair("operator")), &body, path::INNER_UPDATES);
    assert!(stdout(&other).contains("not_your_route") && stdout(&other).ends_with("403"));
    assert!(!curl(None, &[], path::HEALTH).status.success());
    assert!(
        !curl(Some(hosts.pair("operator")), &["--tls-max", "1.2"], path::HEALTH).status.success()
    );
}

#[tokio::test]
async fn openssl_sees_tls_1_3_alone_and_takes_our_certificates() {
    if !there("openssl") {
        return;
    }
    let mut hosts = Hosts::new();
    hosts.start(Role::Student).await;
    let (host, port) = hosts.at(Role::Student);
    let (ca, pair, at) =
        (hosts.path("tls/ca.pem"), hosts.pair("conductor"), format!("{host}:{port}"));
    let file = |path: &Path| path.to_str().unwrap().to_owned();
    let connect = |version: &str| {
        let (ca, certificate, key) = (file(&ca), file(&pair.certificate), file(&pair.key));
        run(
            "openssl",
            &[
                "s_client",
                "-connect",
                &at,
                version,
                "-CAfile",
                &ca,
                "-cert",
                &certificate,
                "-key",
                &key,
                "-verify_return_error",
                "-verify_ip",
                &host,
            ],
        )
    };
    let modern = connect("-tls1_3");
    let told = stdout(&modern);
    assert!(modern.status.success(), "{told}{}", stderr(&modern));
    assert!(told.contains("TLSv1.3") && told.contains("Verify return code: 0 (ok)"), "{told}");
    assert!(!told.contains("Session-ID: 0"), "no session is kept: {told}");
    for old in ["-tls1_2", "-tls1_1"] {
        let refused = connect(old);
        assert!(!refused.status.success(), "{old}: {}", stdout(&refused));
    }
    for (purpose, name) in [("sslserver", "student"), ("sslclient", "conductor")] {
        let certificate = file(&hosts.pair(name).certificate);
        let verified = run(
            "openssl",
            &["verify", "-x509_strict", "-CAfile", &file(&ca), "-purpose", purpose, &certificate],
        );
        assert!(verified.status.success(), "{name}: {}{}", stdout(&verified), stderr(&verified));
    }
    let crossed = file(&hosts.pair("student").certificate);
    let crossed =
        run("openssl", &["verify", "-CAfile", &file(&ca), "-purpose", "sslclient", &crossed]);
    assert!(!crossed.status.success(), "a daemon's certificate is for answering alone");
}

/// The commands of docs/THREE-HOSTS.md, with P-256 keys and an intermediate CA.
#[tokio::test]
async fn certificates_of_an_organisations_own_ca_do_as_well() {
    if !there("openssl") {
        return;
    }
    let mut hosts = Hosts::new();
    let folder = hosts.path("organisation");
    std::fs::create_dir(&folder).unwrap();
    let script = r#"
        set -eu; umask 077
        new() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key.pem" -out "$1.csr" -subj "/CN=$1" 2>/dev/null; }
        sign() { printf '%s\n' "$3" > "$1.ext"; openssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key.pem" -CAcreateserial -days 2 -extfile "$1.ext" -out "$1.pem" 2>/dev/null; }
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key.pem -out ca.pem -days 2 -subj "/CN=Organisation" -addext "keyUsage=critical,keyCertSign" 2>/dev/null
        new unit; sign unit ca "basicConstraints=critical,CA:TRUE,pathlen:0
keyUsage=critical,keyCertSign"
        new student; sign student unit "subjectAltName=URI:spiffe://seal.internal/student/s1,IP:127.0.0.2
extendedKeyUsage=serverAuth,clientAuth"
        new conductor; sign conductor unit "subjectAltName=URI:spiffe://seal.internal/conductor/c1
extendedKeyUsage=serverAuth,clientAuth"
        cat student.pem unit.pem > chain && mv chain student.pem
        cat conductor.pem unit.pem > chain && mv chain conductor.pem
    "#;
    let made = Command::new("sh").args(["-c", script]).current_dir(&folder).output().unwrap();
    assert!(made.status.success(), "{}", stderr(&made));
    for (from, to) in [
        ("ca.pem", "ca.pem"),
        ("student.pem", "student.pem"),
        ("student.key.pem", "student.key.pem"),
    ] {
        std::fs::copy(folder.join(from), hosts.host(Role::Student).join("tls").join(to)).unwrap();
    }
    for file in ["ca.pem", "conductor.pem", "conductor.key.pem"] {
        std::fs::copy(folder.join(file), hosts.path("tls").join(file)).unwrap();
    }
    hosts.start(Role::Student).await;
    assert_eq!(hosts.health(Role::Student).await.unwrap().role, Role::Student);
}
