//! `seal tls`, and what a daemon says of certificates that it cannot use.

use std::os::unix::fs::PermissionsExt;

use seal_protocol::Role;
use serde_json::Value;

use crate::common::{seal, stderr, stdout};
use crate::hosts::{Hosts, Wanted};

#[test]
fn a_ca_and_everyones_certificates_come_from_one_command_and_nothing_is_overwritten() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("tls");
    let path = folder.to_str().unwrap();
    let named = [
        "--host",
        "student=10.0.0.2",
        "--host",
        "student=student.internal",
        "--host",
        "auditor=::1",
    ];
    let made = seal(&[&["--json", "tls", "init", path][..], &named].concat());
    assert!(made.status.success(), "{}", stderr(&made));
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    let names: Vec<&str> = made["certificates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "spiffe://seal.internal/conductor/conductor",
            "spiffe://seal.internal/operator/operator",
            "spiffe://seal.internal/student/10.0.0.2",
            "spiffe://seal.internal/auditor/--1",
        ]
    );
    let keys = ["ca", "conductor", "operator", "student", "auditor"];
    for key in keys.map(|name| folder.join(format!("{name}.key.pem"))) {
        let mode = std::fs::metadata(&key).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", key.display());
    }

    let student = folder.join("student.pem");
    let shown = seal(&["--json", "tls", "show", student.to_str().unwrap()]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown[0]["names"][0], "spiffe://seal.internal/student/10.0.0.2");
    assert_eq!(shown[0]["hosts"].to_string(), r#"["10.0.0.2","student.internal"]"#);
    assert_eq!((&shown[0]["days_left"], &shown[0]["ca"]), (&90.into(), &false.into()));
    assert!(!stdout(&seal(&["tls", "show", student.to_str().unwrap()])).contains("EXPIRED"));

    let again = seal(&["tls", "init", path]);
    assert!(!again.status.success() && stderr(&again).contains("exists already"));
    let renewed = ["tls", "issue", "student", "--ca", path, "--host", "10.0.0.2"];
    let refused = seal(&renewed);
    assert!(
        stderr(&refused).contains("is not overwritten; move it and its key away"),
        "{}",
        stderr(&refused)
    );
    let out = temporary.path().join("new");
    let issued = seal(&[&renewed[..], &["--out", out.to_str().unwrap(), "--days", "7"]].concat());
    assert!(issued.status.success(), "{}", stderr(&issued));
    assert!(out.join("student.pem").is_file() && out.join("student.key.pem").is_file());
}

#[test]
fn what_cannot_be_issued_is_told_with_the_mend() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("tls");
    let path = folder.to_str().unwrap();
    let told = |arguments: &[&str]| {
        let output = seal(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        stderr(&output)
    };
    let error = told(&["tls", "init", path, "--trust-domain", "Seal Internal"]);
    assert!(error.contains("a trust domain has lower-case letters"), "{error}");
    assert!(!folder.exists(), "half a CA was left");
    let error = told(&["tls", "issue", "student", "--ca", path, "--host", "10.0.0.2"]);
    assert!(error.contains("make a CA with `seal tls init`"), "{error}");
    assert!(seal(&["tls", "init", path]).status.success());
    let error = told(&["tls", "issue", "student", "--ca", path]);
    assert!(error.contains("say with --host where the student is called"), "{error}");
    let error = told(&["tls", "issue", "operator", "--ca", path, "--host", "10.0.0.2"]);
    assert!(error.contains("nobody calls the operator"), "{error}");
    let error = told(&["tls", "issue", "student", "--ca", path, "--host", "not a host"]);
    assert!(error.contains("neither a host's name nor an address"), "{error}");
    let key = folder.join("ca.key.pem");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    let out = temporary.path().join("new");
    let error = told(&[
        "tls",
        "issue",
        "student",
        "--ca",
        path,
        "--host",
        "a",
        "--out",
        out.to_str().unwrap(),
    ]);
    assert!(error.contains("run `chmod 600"), "{error}");
    let error = told(&["tls", "show", key.to_str().unwrap()]);
    assert!(error.contains("holds no certificate in PEM form"), "{error}");
}

#[test]
fn a_daemon_with_certificates_that_nobody_would_take_does_not_start_and_says_why() {
    let hosts = Hosts::new();
    let student = hosts.host(Role::Student);
    let config = student.join("student.toml");
    let refusal = || {
        let output = seal(&["student", "--config", config.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
        stderr(&output)
    };
    let (certificate, key) = (student.join("tls/student.pem"), student.join("tls/student.key.pem"));
    let put = |wanted: &Wanted| {
        let pair = hosts.forge(wanted);
        std::fs::copy(pair.certificate, &certificate).unwrap();
        std::fs::copy(pair.key, &key).unwrap();
    };
    put(&Wanted { valid: (-3, -2), ..Wanted::both_ends("student") });
    assert!(refusal().contains("it has expired; issue a new one and start again"));
    put(&Wanted { valid: (2, 3), ..Wanted::both_ends("student") });
    assert!(refusal().contains("it is not valid yet; look at this machine's clock"));
    put(&Wanted::both_ends("auditor"));
    assert!(refusal().contains("this one must be of the role student"));
    put(&Wanted::both_ends("student"));
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o604)).unwrap();
    assert!(refusal().contains("has mode 604"));
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    hosts.reconfigure(Role::Student, "endpoint = \"tls:", "endpoint = \"unix:sockets/a.sock\" # ");
    assert!(refusal().contains("is on this machine alone; write it as `tls:host:port`"));
}
