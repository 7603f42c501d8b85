//! The whole run.

use hosts::{Hosts, ROLES, in_folder};
use seal_protocol::{ConfinementReport, EnforcementLevel, Role, path};
use serde_json::Value;

use crate::common::{stderr, stdout};
use crate::hosts;

#[tokio::test]
async fn a_run_ends_over_tls_with_a_folder_for_each_host() {
    tell(Hosts::new()).await;
}

/// The whole story on hosts of any kind.
pub async fn tell(mut hosts: Hosts) {
    for role in ROLES {
        hosts.start(role).await;
    }
    let run = hosts.conduct(&["--json", "run"]);
    assert!(run.status.success(), "{}", stderr(&run));
    let told: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(told["serving"], "v1", "{told}");
    // 6 contexts of the round, 2 held out three times, 1 poisoned, 1 consolidation.
    let (judged, accepted) = (told["judged"].as_u64().unwrap(), told["accepted"].as_u64().unwrap());
    assert!(judged > 8 && (2..judged).contains(&accepted), "{told}");

    // Nobody's files came to where they do not belong.
    for (folder, foreign) in [
        (hosts.conductor(), &["teacher", "student", "auditor", "keys", "base"][..]),
        (hosts.host(Role::Teacher), &["student", "auditor", "conductor"][..]),
        (hosts.host(Role::Student), &["teacher", "auditor", "conductor"][..]),
        (hosts.host(Role::Auditor), &["teacher", "student/state", "conductor"][..]),
    ] {
        for part in foreign {
            assert!(!folder.join(part).exists(), "{part} in {}", folder.display());
        }
    }

    what_an_operator_does_from_afar(&hosts);
    each_daemon_is_confined(&hosts).await;
    the_auditors_host_has_the_evidence(&hosts);
    what_is_missing_here_is_named_with_its_host(&hosts);
}

fn what_an_operator_does_from_afar(hosts: &Hosts) {
    let status = hosts.conduct(&["status"]);
    let told = stdout(&status);
    assert!(told.contains("state     complete") && told.contains("serving   v1"), "{told}");
    let asked = hosts.conduct(&["--json", "ask", "--compare", "who founded zel tor ?"]);
    assert!(asked.status.success(), "{}", stderr(&asked));
    let answers: Value = serde_json::from_slice(&asked.stdout).unwrap();
    assert_eq!(answers["answers"].as_array().unwrap().len(), 2, "{answers}");
    for (command, serving) in [(["rollback", "base"], "base"), (["promote", "v1"], "v1")] {
        let changed = hosts.conduct(&[&["--yes"][..], &command].concat());
        assert!(
            stdout(&changed).starts_with(&format!("serving {serving}\n")),
            "{}",
            stderr(&changed)
        );
    }
    // The same run again has nothing to do.
    let again = hosts.conduct(&["--quiet", "run"]);
    assert!(again.status.success(), "{}", stderr(&again));
}

/// The certificate's key is one of the things that a daemon shows it cannot read.
async fn each_daemon_is_confined(hosts: &Hosts) {
    for role in ROLES {
        let report: ConfinementReport =
            hosts.client(role, "operator").get(path::CONFINEMENT).await.unwrap();
        assert_eq!(report.enforcement.level, EnforcementLevel::Full, "{role}");
        for probe in &report.probes {
            assert!(probe.refused, "{role}: {} -> {}", probe.attempt, probe.outcome);
        }
        let tried = |what: &str| report.probes.iter().any(|probe| probe.attempt.contains(what));
        assert!(tried(&format!("tls/{role}.key.pem")) && tried("connect `tls:"), "{role}");
    }
}

/// With `run.toml` and the list of contexts beside it.
fn the_auditors_host_has_the_evidence(hosts: &Hosts) {
    let auditor = hosts.host(Role::Auditor);
    std::fs::copy(hosts.conductor().join("run.toml"), auditor.join("run.toml")).unwrap();
    std::fs::create_dir(auditor.join("conductor")).unwrap();
    let contexts = "conductor/contexts.json";
    std::fs::copy(hosts.conductor().join(contexts), auditor.join(contexts)).unwrap();
    let verified = in_folder(&auditor, &["verify", "--all"]);
    let lines = stdout(&verified);
    assert!(verified.status.success(), "{}", stderr(&verified));
    assert!(lines.contains("checkpoint signed, "), "{lines}");
    assert!(lines.contains("student      not checked: its files are on its host (tls:"), "{lines}");
    for command in [&["status"][..], &["report"], &["why", "poisoned-000"], &["ledger", "heads"]] {
        let output = in_folder(&auditor, command);
        assert!(
            matches!(output.status.code(), Some(0 | 10 | 11)),
            "{command:?} {}",
            stderr(&output)
        );
    }
    assert!(auditor.join("report.html").is_file());
}

fn what_is_missing_here_is_named_with_its_host(hosts: &Hosts) {
    let endpoint = hosts.endpoint(Role::Auditor).to_string();
    for command in [&["report"][..], &["verify", "--all"], &["why", "v1"], &["ledger", "heads"]] {
        let refused = hosts.conduct(command);
        let error = stderr(&refused);
        assert!(!refused.status.success(), "{command:?}");
        let named = error.contains(&endpoint) && error.contains("run this command there");
        assert!(named, "{command:?}: {error}");
    }
}
