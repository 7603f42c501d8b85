//! A run that is killed anywhere ends with the ledger and the accepted set of an undisturbed one.

#![allow(clippy::unwrap_used)]

mod common;

use std::process::Child;
use std::time::{Duration, Instant};

use common::{PATIENCE, Run};
use rustix::process::{Pid, Signal, kill_process};

/// Who is killed, and after how many recorded tasks. Every daemon and the launcher itself, early,
/// in the middle and late.
const KILLS: [(&str, usize); 12] = [
    ("teacher", 0),
    ("student", 1),
    ("auditor", 1),
    ("launcher", 2),
    ("student", 2),
    ("auditor", 3),
    ("teacher", 4),
    ("auditor", 5),
    ("launcher", 7),
    ("student", 8),
    ("auditor", 9),
    ("student", 11),
];

/// The same over a sequence, whose steps stand on each other.
const KILLS_OF_A_SEQUENCE: [(&str, usize); 7] = [
    ("teacher", 0),
    ("student", 3),
    ("auditor", 4),
    ("launcher", 5),
    ("student", 6),
    ("auditor", 7),
    ("student", 8),
];

#[test]
fn a_killed_run_resumes_to_the_same_ledger_and_the_same_accepted_set() {
    check(&[], &KILLS);
}

#[test]
fn a_killed_sequence_resumes_to_the_same_steps_and_the_same_matrix() {
    let sequence = [
        "--mode",
        "continual",
        "--contexts",
        "3",
        "--proposals",
        "1",
        "--held-out",
        "0",
        "--selection",
        "paper",
    ];
    let [undisturbed, disturbed] = check(&sequence, &KILLS_OF_A_SEQUENCE);
    let matrix = |run: &Run| common::stdout(&run.seal(&["--json", "report"]));
    assert!(matrix(&undisturbed).contains("\"forgetting\""));
    assert_eq!(matrix(&disturbed), matrix(&undisturbed));
}

fn check(settings: &[&str], kills: &[(&str, usize)]) -> [Run; 2] {
    let undisturbed = Run::small(settings);
    let disturbed = undisturbed.copy();
    undisturbed.complete();

    let mut fired = 0;
    for (victim, after) in kills {
        let mut run = disturbed.start();
        if kill_when(&disturbed, &mut run, victim, *after) {
            fired += 1;
        }
        let _ = run.wait();
    }
    disturbed.complete();

    assert!(fired >= kills.len() - 2, "only {fired} of {} kills hit a live run", kills.len());
    assert_eq!(disturbed.ledger(), undisturbed.ledger());
    let verified = disturbed.seal(&["verify", "--all"]);
    assert!(verified.status.success(), "{}", common::stderr(&verified));
    [undisturbed, disturbed]
}

/// Waits until enough tasks are recorded, then kills. False if the run was over before.
fn kill_when(run: &Run, launcher: &mut Child, victim: &str, after: usize) -> bool {
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE, "{victim} was never there to be killed");
        if launcher.try_wait().unwrap().is_some() {
            return false;
        }
        if run.tasks_done() >= after
            && let Some(pid) = pid_of(run, launcher, victim)
        {
            return kill_process(pid, Signal::KILL).is_ok();
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}

fn pid_of(run: &Run, launcher: &Child, victim: &str) -> Option<Pid> {
    let pids = run.pids()?;
    let pid = match victim {
        "launcher" => i64::from(launcher.id()),
        role => pids[role].as_i64()?,
    };
    Pid::from_raw(i32::try_from(pid).unwrap())
}
