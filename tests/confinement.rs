//! What the running, confined daemons cannot do, tried from inside them.

#![allow(clippy::unwrap_used)]

mod common;

use common::Run;
use seal_protocol::{ConfinementReport, EnforcementLevel, Role, path};

#[tokio::test]
async fn no_daemon_reads_or_reaches_what_is_not_its_own() {
    let run = Run::small(&[]);
    for role in [Role::Auditor, Role::Student, Role::Teacher] {
        let daemon = run.daemon(role).await;
        let report: ConfinementReport = daemon.client.get(path::CONFINEMENT).await.unwrap();
        for probe in &report.probes {
            println!("{role}: {} -> {}", probe.attempt, probe.outcome);
            assert!(probe.refused, "{role}: {} was not refused: {}", probe.attempt, probe.outcome);
        }
        assert_eq!(report.enforcement.level, EnforcementLevel::Full, "{role}");
        let tried = |what: &str| report.probes.iter().any(|probe| probe.attempt.contains(what));
        assert!(
            tried("decoy") && tried("TCP socket") && tried("UDP socket"),
            "{role}: {:?}",
            report.probes
        );
        if role != Role::Auditor {
            assert!(
                tried("auditor"),
                "{role} did not try the auditor's files: {:?}",
                report.probes
            );
        }
    }
}
