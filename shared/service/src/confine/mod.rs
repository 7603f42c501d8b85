//! Confinement: what a daemon may not do, enforced by the kernel and shown on itself.
//!
//! [`enforce`] runs in `main` before any thread exists. Landlock limits files, TCP, abstract
//! sockets and signals; a system call filter takes away what Landlock does not cover: every way to
//! make a socket, to run a program, to reach into another process. Daemons here accept on a socket
//! that was bound before and connect to nothing. One whose plan names ports, a teacher with an API or a judge,
//! can make TCP sockets for these ports and no others; Landlock knows ports and no addresses, so which
//! host is reached there is left to the program, which resolved and pinned it before.
//!
//! **Invariant:** level `Full` is claimed only after a thread of this process tried each forbidden
//! thing and was refused.
//! **Absent:** limits on memory and CPU time; protection from a hostile kernel or root outside.
//!
//! Source: `landlock(7)`, `seccomp(2)`. Landlock alone lets MPTCP and TCP Fast Open pass; the filter
//! closes both.

mod config;
mod files;
mod gpu;
mod plan;
mod probe;
mod process;
mod syscalls;

pub use config::ConfinementConfig;
pub use plan::{ConfinementPlan, PlanError, Profile};
pub use probe::probe;
pub use process::{ProcessError, landlock_abi};
pub(crate) use process::{effective_uid, exit_with_parent};

use seal_protocol::{ConfinementReport, Enforcement, EnforcementLevel};

/// Files, TCP ports, abstract sockets and signals: Linux 6.12.
const LEAST_ABI: u32 = 6;

/// Why a daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The plan contradicts itself or names what is not there.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A step that every supported kernel takes was refused.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Landlock refused the rules.
    #[error("Landlock refused the rules; report this with the kernel's version")]
    Landlock(#[from] landlock::RulesetError),
    /// The profile is strict and something is missing.
    #[error(
        "profile `strict` needs full confinement and this system gives less: {missing}; use Linux 6.12 or later with Landlock and seccomp, or set `profile = \"standard\"` and accept what is recorded"
    )]
    TooWeak {
        /// What is missing, in words.
        missing: String,
    },
}

/// Confines this process for good and shows that it holds.
///
/// Creates the plan's write folders and its decoy first; nothing outside the plan can be created
/// afterwards.
///
/// # Errors
/// A plan that is wrong; a system that gives less than profile [`Profile::Strict`] demands.
pub fn enforce(plan: &ConfinementPlan) -> Result<Enforcement, ConfineError> {
    if plan.profile == Profile::Off {
        return Ok(unconfined());
    }
    let gpu = plan.gpu_paths();
    plan.prepare(&gpu)?;
    let alone = process::thread_count() == 1;
    let x32 = process::x32_answers();
    process::harden()?;
    let landlock = files::restrict(plan, &gpu)?;
    let seccomp = syscalls::forbid(!plan.connect_ports.is_empty());
    let enforcement = Enforcement {
        level: EnforcementLevel::Partial,
        landlock_abi: process::landlock_abi(),
        seccomp: seccomp.is_ok() && process::filter_in_force(),
    };
    let report = probe(plan, &enforcement);
    let missing = missing(&report, landlock, alone, x32);
    decide(plan.profile, enforcement, &missing)
}

fn unconfined() -> Enforcement {
    Enforcement {
        level: EnforcementLevel::Off,
        landlock_abi: process::landlock_abi(),
        seccomp: false,
    }
}

/// Everything that stands between this process and level `Full`.
fn missing(report: &ConfinementReport, landlock: bool, alone: bool, x32: bool) -> Vec<String> {
    let abi = report.enforcement.landlock_abi;
    let mut missing = Vec::new();
    let mut demand = |holds: bool, otherwise: String| {
        if !holds {
            missing.push(otherwise);
        }
    };
    demand(abi >= LEAST_ABI, format!("Landlock ABI {abi} instead of {LEAST_ABI} or later"));
    demand(landlock, "not every Landlock rule is in force".to_owned());
    demand(report.enforcement.seccomp, "no system call filter".to_owned());
    demand(alone, "a thread was started before confinement".to_owned());
    demand(!x32, "the kernel answers x32 system calls, which pass the filter".to_owned());
    for probe in report.probes.iter().filter(|probe| !probe::excused(probe)) {
        demand(false, format!("{} was not refused ({})", probe.attempt, probe.outcome));
    }
    missing
}

fn decide(
    profile: Profile,
    enforcement: Enforcement,
    missing: &[String],
) -> Result<Enforcement, ConfineError> {
    if missing.is_empty() {
        return Ok(Enforcement { level: EnforcementLevel::Full, ..enforcement });
    }
    let missing = missing.join("; ");
    if profile == Profile::Strict {
        return Err(ConfineError::TooWeak { missing });
    }
    tracing::warn!("confinement is not full: {missing}");
    Ok(enforcement)
}

#[cfg(test)]
mod tests {
    use super::*;
    use seal_protocol::Probe;

    fn report(landlock_abi: u32, seccomp: bool, probes: Vec<Probe>) -> ConfinementReport {
        let level = EnforcementLevel::Partial;
        ConfinementReport { enforcement: Enforcement { level, landlock_abi, seccomp }, probes }
    }

    fn probe_ended(refused: bool, outcome: &str) -> Probe {
        Probe { attempt: "read x".to_owned(), refused, outcome: outcome.to_owned() }
    }

    #[test]
    fn a_single_forbidden_act_that_succeeds_takes_full_away() {
        let held = report(7, true, vec![probe_ended(true, "EACCES")]);
        assert_eq!(missing(&held, true, true, false), Vec::<String>::new());
        let broken = report(7, true, vec![probe_ended(false, "succeeded")]);
        assert_eq!(missing(&broken, true, true, false), ["read x was not refused (succeeded)"]);
    }

    #[test]
    fn an_old_kernel_a_missing_filter_a_thread_and_x32_each_take_full_away() {
        for (report, landlock, alone, x32) in [
            (report(5, true, vec![]), true, true, false),
            (report(7, false, vec![]), true, true, false),
            (report(7, true, vec![]), false, true, false),
            (report(7, true, vec![]), true, false, false),
            (report(7, true, vec![]), true, true, true),
        ] {
            assert_eq!(missing(&report, landlock, alone, x32).len(), 1);
        }
    }

    #[test]
    fn strict_refuses_and_standard_records_what_is_missing() {
        let weak = report(5, true, vec![]).enforcement;
        let reasons = ["Landlock ABI 5".to_owned()];
        let refused = decide(Profile::Strict, weak.clone(), &reasons).unwrap_err();
        assert!(refused.to_string().contains("Landlock ABI 5"), "{refused}");
        let recorded = decide(Profile::Standard, weak, &reasons).unwrap();
        assert_eq!(recorded.level, EnforcementLevel::Partial);
    }
}
