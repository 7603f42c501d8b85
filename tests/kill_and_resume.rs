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

#[test]
fn a_killed_run_resumes_to_the_same_ledger_and_the_same_accepted_set() {
    let undisturbed = Run::small(&[]);
    let disturbed = undisturbed.copy();
    undisturbed.complete();

    let mut fired = 0;
    for (victim, after) in KILLS {
        let mut run = disturbed.start();
        if kill_when(&disturbed, &mut run, victim, after) {
            fired += 1;
        }
        let _ = run.wait();
    }
    disturbed.complete();

    assert!(fired >= KILLS.len() - 2, "only {fired} of {} kills hit a live run", KILLS.len());
    assert_eq!(disturbed.ledger(), undisturbed.ledger());
    let verified = disturbed.seal(&["verify", "--all"]);
    assert!(verified.status.success(), "{}", common::stderr(&verified));
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
