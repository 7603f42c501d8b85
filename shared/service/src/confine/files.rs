//! Landlock: which files, which TCP ports, and no abstract sockets, no signals.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::gpu::GpuPaths;
use super::plan::ConfinementPlan;

/// The newest ABI this rule set was tried on. Later ABIs add rights that are not asked for here.
const TRIED: ABI = ABI::V7;

/// What the runtime reads on its own account: processor count, its own limits, randomness. None of
/// it is secret; what is absent on a system is left out.
const SYSTEM: [&str; 9] = [
    "/dev/null",
    "/dev/urandom",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/self",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
    "/sys/kernel/mm/transparent_hugepage",
];

/// Restricts this thread and all that it starts. Returns whether every rule is in force.
pub(super) fn restrict(plan: &ConfinementPlan, gpu: &GpuPaths) -> Result<bool, RulesetError> {
    let ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(TRIED))?
        .handle_access(AccessNet::from_all(TRIED))?
        .scope(Scope::from_all(TRIED))?
        .create()?;
    let ruleset =
        system_paths().iter().try_fold(ruleset, |rules, path| allow(rules, path, reading()))?;
    let ruleset =
        gpu.devices.iter().try_fold(ruleset, |rules, path| allow(rules, path, using()))?;
    let ruleset = gpu.read.iter().try_fold(ruleset, |rules, path| allow(rules, path, reading()))?;
    let ruleset =
        gpu.cache.iter().try_fold(ruleset, |rules, path| allow(rules, path, writing()))?;
    let ruleset =
        plan.read.iter().try_fold(ruleset, |rules, path| allow(rules, path, reading()))?;
    let ruleset =
        plan.write.iter().try_fold(ruleset, |rules, path| allow(rules, path, writing()))?;
    let ports = plan.connect_ports.iter();
    let ruleset = ports.copied().try_fold(ruleset, |rules, port| {
        rules.add_rule(NetPort::new(port, AccessNet::ConnectTcp))
    })?;
    let status = ruleset.restrict_self()?;
    Ok(status.ruleset == RulesetStatus::FullyEnforced)
}

fn system_paths() -> Vec<PathBuf> {
    // The daemon's own program: symbols for the place of a panic, and its digest.
    let program = std::env::current_exe().ok();
    SYSTEM.iter().map(PathBuf::from).chain(program).collect()
}

/// Adds a rule for `path`. The plan has checked its own paths; a system path that is absent here
/// needs no rule.
fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let Ok(opened) = PathFd::new(path) else {
        return Ok(rules);
    };
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(TRIED) };
    rules.add_rule(PathBeneath::new(opened, access))
}

fn reading() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::ReadDir
}

/// A device file that is there: its driver, and no new one.
fn using() -> BitFlags<AccessFs> {
    reading() | AccessFs::WriteFile | AccessFs::IoctlDev
}

/// Plain files and folders: no devices, pipes, sockets, links, nothing to execute.
fn writing() -> BitFlags<AccessFs> {
    reading()
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer
}
