//! The few system calls that have no safe wrapper in the standard library.
//!
//! **Invariant:** no pointer that is passed here outlives its call, and each call's effect is on
//! this process alone.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use libc::{c_int, c_long, c_ulong};

/// `LANDLOCK_CREATE_RULESET_VERSION`.
const ASK_VERSION: c_ulong = 1;

/// A step that every supported kernel takes was refused.
#[derive(Debug, thiserror::Error)]
#[error("the system refused `{step}`; start the daemon outside of sandboxes that forbid it")]
pub struct ProcessError {
    /// The call.
    pub step: &'static str,
    source: io::Error,
}

/// No new privileges by exec, no reading by other processes of this user, no core file, no file
/// that others can read.
pub(super) fn harden() -> Result<(), ProcessError> {
    set_option("PR_SET_NO_NEW_PRIVS", libc::PR_SET_NO_NEW_PRIVS, 1)?;
    set_option("PR_SET_DUMPABLE", libc::PR_SET_DUMPABLE, 0)?;
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `none` is a whole rlimit that lives across the call.
    let limited = unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) };
    // SAFETY: takes a number, cannot fail.
    unsafe { libc::umask(0o077) };
    checked("RLIMIT_CORE", limited)
}

/// Sends this process SIGTERM when the thread that started it ends.
pub(crate) fn exit_with_parent() -> Result<(), ProcessError> {
    let signal = libc::SIGTERM as c_ulong;
    set_option("PR_SET_PDEATHSIG", libc::PR_SET_PDEATHSIG, signal)
}

fn set_option(step: &'static str, option: c_int, value: c_ulong) -> Result<(), ProcessError> {
    let zero: c_ulong = 0;
    // SAFETY: these options take numbers only.
    checked(step, unsafe { libc::prctl(option, value, zero, zero, zero) })
}

fn checked(step: &'static str, returned: c_int) -> Result<(), ProcessError> {
    match returned {
        0 => Ok(()),
        _ => Err(ProcessError { step, source: io::Error::last_os_error() }),
    }
}

/// The user this process acts as.
pub(crate) fn effective_uid() -> u32 {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::geteuid() }
}

/// Landlock's version in this kernel; 0 where it is absent or switched off.
pub fn landlock_abi() -> u32 {
    let nothing = std::ptr::null::<u8>();
    // SAFETY: with this flag the kernel reads no attribute; pointer and length must be zero.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0_usize, ASK_VERSION) };
    u32::try_from(version).unwrap_or(0)
}

/// Whether a system call filter is in force.
pub(super) fn filter_in_force() -> bool {
    // SAFETY: takes numbers only. 2 is `SECCOMP_MODE_FILTER`.
    unsafe { libc::prctl(libc::PR_GET_SECCOMP) == 2 }
}

/// Whether the kernel answers x32 numbers, which a filter over x86-64 numbers would let pass.
pub(super) fn x32_answers() -> bool {
    const X32: c_long = 0x4000_0000;
    // SAFETY: `getpid` under its x32 number; takes nothing.
    cfg!(target_arch = "x86_64") && unsafe { libc::syscall(X32 + libc::SYS_getpid) } >= 0
}

/// Threads of this process; 0 if the system does not tell, which no caller takes for one.
pub(super) fn thread_count() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, |tasks| tasks.count())
}

/// Makes a socket.
pub(super) fn socket(family: c_int, kind: c_int, protocol: c_int) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    let descriptor = unsafe { libc::socket(family, kind, protocol) };
    match descriptor {
        ..0 => Err(io::Error::last_os_error()),
        // SAFETY: the kernel just gave us this descriptor and nobody else knows it.
        _ => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
    }
}

/// Asks whether `pid` could be signalled; sends nothing.
pub(super) fn could_signal(pid: u32) -> io::Result<()> {
    let pid = c_int::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: takes numbers only; signal 0 is a question.
    match unsafe { libc::kill(pid, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Tries to become the program with the empty name: the kernel says "no such file" where exec is
/// allowed, so a missing filter shows and nothing is replaced.
pub(super) fn exec_nothing() -> io::Result<()> {
    let list = [std::ptr::null::<libc::c_char>()];
    // SAFETY: an empty C string and a list that ends at once, both alive across the call.
    unsafe { libc::execve(c"".as_ptr(), list.as_ptr(), list.as_ptr()) };
    Err(io::Error::last_os_error())
}
