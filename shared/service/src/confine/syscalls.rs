//! The system call filter: EPERM for what no daemon needs after start-up.
//!
//! A list of what is forbidden, not of what is allowed: the runtime's own calls change with every
//! version, and Landlock stands beside. The self-test shows the entries that matter most.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, apply_filter_all_threads,
};

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

/// Refused whatever the arguments.
const FORBIDDEN: &[c_long] = &[
    // New servers, and descriptors sent over old sockets.
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    // New programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_tkill,
    libc::SYS_kcmp,
    // Kernel interfaces with a history.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_personality,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    // The file tree and ways around its paths.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_unshare,
    libc::SYS_setns,
    // Owners, modes and attributes, which Landlock does not govern.
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchmodat2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_mknodat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    // Identity, limits and time.
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    libc::SYS_setrlimit,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_settimeofday,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
];

/// Older spellings that only this architecture has.
#[cfg(target_arch = "x86_64")]
const FORBIDDEN_HERE: &[c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_mknod,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
];
#[cfg(not(target_arch = "x86_64"))]
const FORBIDDEN_HERE: &[c_long] = &[];

/// Puts the filter in force for this thread, all others there are, and all that follow. With
/// `connects`, plain TCP sockets can be made and connected, and Landlock says to which ports.
pub(super) fn forbid(connects: bool) -> Result<(), Error> {
    apply(refusing(libc::EPERM, everything_forbidden(connects)?)?)?;
    // Its flags lie in memory, out of a filter's sight. "No such call" makes the C library start
    // its threads by `clone`, whose flags can be judged.
    let clone3 = Rules::from([(libc::SYS_clone3, vec![])]);
    apply(refusing(libc::ENOSYS, clone3)?)
}

fn everything_forbidden(connects: bool) -> Result<Rules, Error> {
    let always = FORBIDDEN.iter().chain(FORBIDDEN_HERE);
    let mut rules: Rules = always.map(|&number| (number, vec![])).collect();
    rules.extend(by_argument()?);
    rules.extend(match connects {
        true => all_but_plain_tcp()?,
        false => Rules::from([(libc::SYS_socket, vec![]), (libc::SYS_connect, vec![])]),
    });
    Ok(rules)
}

/// Every socket that is not plain TCP, which Landlock does not govern or not wholly, and the options
/// that make something else of a TCP socket.
fn all_but_plain_tcp() -> Result<Rules, Error> {
    let other_family = none_of(0, &[libc::AF_INET, libc::AF_INET6])?;
    let other_protocol = none_of(2, &[0, libc::IPPROTO_TCP])?;
    let socket = [other_family, other_protocol].into_iter().map(Ok).chain(kinds_but_stream(1));
    let change = |option: i32| {
        let conditions = [(1, libc::IPPROTO_TCP), (2, option)];
        let conditions = conditions.map(|(at, value)| is(at, SeccompCmpOp::Eq, value as u64));
        Ok(SeccompRule::new(conditions.into_iter().collect::<Result<_, _>>()?)?)
    };
    let options = [libc::TCP_ULP, libc::TCP_REPAIR, libc::TCP_FASTOPEN, libc::TCP_FASTOPEN_CONNECT];
    Ok(Rules::from([
        (libc::SYS_socket, socket.collect::<Result<_, Error>>()?),
        (libc::SYS_setsockopt, options.map(change).into_iter().collect::<Result<_, Error>>()?),
    ]))
}

/// Refused for some arguments only. Several rules on one call: any of them refuses.
fn by_argument() -> Result<Rules, Error> {
    let own = u64::from(std::process::id());
    let fast_open = libc::MSG_FASTOPEN as u64;
    let thread = libc::CLONE_THREAD as u64;
    let dumpable = libc::PR_SET_DUMPABLE as u64;
    Ok(Rules::from([
        // Threads, but no processes.
        (libc::SYS_clone, vec![when(0, masked(thread), 0)?]),
        (libc::SYS_kill, vec![when(0, SeccompCmpOp::Ne, own)?]),
        (libc::SYS_tgkill, vec![when(0, SeccompCmpOp::Ne, own)?]),
        (libc::SYS_sendto, vec![when(3, masked(fast_open), fast_open)?]),
        (libc::SYS_prctl, vec![when(0, SeccompCmpOp::Eq, dumpable)?]),
        // Reading limits is fine: the new value is then a null pointer.
        (libc::SYS_prlimit64, vec![when_pointer(2)?]),
        // Typing into the terminal that started us.
        (libc::SYS_ioctl, vec![when(1, SeccompCmpOp::Eq, libc::TIOCSTI)?]),
        (libc::SYS_socketpair, no_socketpair_but_unix_streams()?),
    ]))
}

/// The runtime's signal pipe is such a pair; it leads nowhere but to itself.
fn no_socketpair_but_unix_streams() -> Result<Vec<SeccompRule>, Error> {
    let other_family = when(0, SeccompCmpOp::Ne, libc::AF_UNIX as u64);
    std::iter::once(other_family).chain(kinds_but_stream(1)).collect()
}

/// The kind of a socket without its flags, for every kind but `SOCK_STREAM`.
fn kinds_but_stream(argument: u8) -> impl Iterator<Item = Result<SeccompRule, Error>> {
    const KIND: u64 = 0xf;
    let stream = libc::SOCK_STREAM as u64;
    let others = (0..=KIND).filter(move |kind| *kind != stream);
    others.map(move |kind| when(argument, masked(KIND), kind))
}

/// A rule on an argument that has none of these values.
fn none_of(argument: u8, values: &[i32]) -> Result<SeccompRule, Error> {
    let conditions = values.iter().map(|&value| is(argument, SeccompCmpOp::Ne, value as u64));
    Ok(SeccompRule::new(conditions.collect::<Result<_, _>>()?)?)
}

fn masked(mask: u64) -> SeccompCmpOp {
    SeccompCmpOp::MaskedEq(mask)
}

/// A rule on the low 32 bits of an argument, which is all the kernel reads of a C `int`.
fn when(argument: u8, how: SeccompCmpOp, value: u64) -> Result<SeccompRule, Error> {
    Ok(SeccompRule::new(vec![is(argument, how, value)?])?)
}

fn is(argument: u8, how: SeccompCmpOp, value: u64) -> Result<SeccompCondition, Error> {
    Ok(SeccompCondition::new(argument, SeccompCmpArgLen::Dword, how, value)?)
}

fn when_pointer(argument: u8) -> Result<SeccompRule, Error> {
    let given = SeccompCmpOp::Ne;
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Qword, given, 0)?;
    Ok(SeccompRule::new(vec![condition])?)
}

fn refusing(errno: i32, rules: Rules) -> Result<BpfProgram, Error> {
    let refuse = SeccompAction::Errno(errno.unsigned_abs());
    let architecture = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture)?;
    Ok(filter.try_into()?)
}

fn apply(program: BpfProgram) -> Result<(), Error> {
    apply_filter_all_threads(&program)
}
