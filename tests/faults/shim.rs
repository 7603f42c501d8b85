//! A library that is loaded before a daemon's own (`LD_PRELOAD`) and stands between the daemon and
//! its disk: it counts every call that changes something below the daemon's state folder, writes each
//! down, and lets one of them fail or be the last thing that the process does.
//!
//! Built by `rustc` when a test starts; linked into no program. It learns what to do from the
//! environment, before the daemon confines itself:
//!
//! | variable | meaning |
//! |---|---|
//! | `SEAL_FAULT_ROLE` | act only in a process with this word on its command line |
//! | `SEAL_FAULT_ROOT` | the folder whose changes are steps |
//! | `SEAL_FAULT_TRACE` | file to which steps are appended: `step 17 write jobs.sqlite-wal` |
//! | `SEAL_FAULT` | `kind@step`: that step, or the next that such a fault can befall; left out: only count |
//! | `SEAL_FAULT_RECORD` | file to which every change and sync is appended (`record.rs`); left out: none is |
//! | `SEAL_FAULT_DISK` | the folder, round that of the steps or the same, whose changes are recorded |
//!
//! **Invariant:** a fault that fired is in the trace before it takes effect (`fired …`).
//! **Absent:** calls that go round the C library.

mod real;
mod record;

use std::ffi::{CStr, c_char, c_int, c_long, c_uint, c_void};
use std::os::fd::IntoRawFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use real::Part;
use record::{Recorder, Turn};

const EIO: c_int = 5;
const ENOSPC: c_int = 28;
const SIGKILL: c_int = 9;
const O_CREAT: c_int = 0o100;
const AT_FDCWD: c_int = -100;

unsafe extern "C" {
    fn readlink(path: *const c_char, to: *mut c_char, size: usize) -> isize;
    fn kill(pid: c_int, signal: c_int) -> c_int;
    fn getpid() -> c_int;
    fn __errno_location() -> *mut c_int;
}

// ---- what to do, read once ----

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    /// The process ends before the call.
    Kill,
    /// The process ends in the middle of a write.
    Torn,
    /// The disk is full from this write on: half of it fits.
    Full,
    /// The call fails; the next one works.
    Broken,
    /// The disk did not take what was written before; the next sync works.
    Unsynced,
}

struct Plan {
    root: Vec<u8>,
    trace: c_int,
    fault: Option<(Fault, u64)>,
    steps: AtomicU64,
    fired: AtomicBool,
    full: AtomicBool,
    recorder: Option<Recorder>,
}

static PLAN: OnceLock<Plan> = OnceLock::new();

#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = at_load;

extern "C" fn at_load() {
    if let Some(plan) = plan() {
        let _ = PLAN.set(plan);
    }
}

#[used]
#[unsafe(link_section = ".fini_array")]
static AT_END: extern "C" fn() = at_end;

/// Where a process ends by itself, its other threads change nothing that is not recorded.
extern "C" fn at_end() {
    if let Some(recorder) = PLAN.get().and_then(|plan| plan.recorder.as_ref()) {
        recorder.close();
    }
}

/// Nothing, in a process that is not meant.
fn plan() -> Option<Plan> {
    let variable = |name: &str| std::env::var(name).ok();
    let role = variable("SEAL_FAULT_ROLE")?;
    let command_line = std::fs::read("/proc/self/cmdline").ok()?;
    command_line.split(|byte| *byte == 0).find(|word| *word == role.as_bytes())?;
    let appending =
        |file: String| std::fs::OpenOptions::new().create(true).append(true).open(file).ok();
    let trace = appending(variable("SEAL_FAULT_TRACE")?)?;
    let recorder = match variable("SEAL_FAULT_RECORD") {
        Some(file) => {
            Some(Recorder::new(appending(file)?, variable("SEAL_FAULT_DISK")?.into_bytes()))
        }
        None => None,
    };
    Some(Plan {
        root: variable("SEAL_FAULT_ROOT")?.into_bytes(),
        trace: trace.into_raw_fd(),
        fault: variable("SEAL_FAULT").and_then(|text| fault(&text)),
        steps: AtomicU64::new(0),
        fired: AtomicBool::new(false),
        full: AtomicBool::new(false),
        recorder,
    })
}

fn fault(text: &str) -> Option<(Fault, u64)> {
    let (kind, step) = text.split_once('@')?;
    let kind = match kind {
        "kill" => Fault::Kill,
        "torn" => Fault::Torn,
        "full" => Fault::Full,
        "broken" => Fault::Broken,
        "unsynced" => Fault::Unsynced,
        _ => return None,
    };
    Some((kind, step.parse().ok()?))
}

// ---- one step ----

/// What becomes of a call.
enum Fate {
    Passes,
    /// Fails with this error.
    Fails(c_int),
    /// Half of the bytes are written; then the process ends, or the call says how many there were.
    Half {
        and_ends: bool,
    },
}

/// What a call does to the disk.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Takes space, in bytes that can be divided.
    Write,
    /// Takes space in one piece.
    Takes,
    /// Takes none.
    Changes,
    /// Makes durable.
    Syncs,
}

/// Where changes are recorded, one call at a time goes on from here.
fn turn(path: Option<&[u8]>) -> Option<Turn<'static>> {
    PLAN.get()?.recorder.as_ref()?.turn(path)
}

fn step(kind: Kind, call: &str, path: Option<&[u8]>, turn: Option<&Turn<'_>>) -> Fate {
    let Some(plan) = PLAN.get() else { return Fate::Passes };
    let Some(relative) = path.and_then(|path| path.strip_prefix(plan.root.as_slice())) else {
        return Fate::Passes;
    };
    let number = plan.steps.fetch_add(1, Ordering::SeqCst) + 1;
    let place =
        String::from_utf8_lossy(relative.strip_prefix(b"/").unwrap_or(relative)).into_owned();
    let place = if place.is_empty() { ".".to_owned() } else { place };
    note(plan, &format!("step {number} {call} {place}\n"));
    if let Some(turn) = turn {
        turn.step(number);
    }
    if plan.full.load(Ordering::SeqCst) && matches!(kind, Kind::Write | Kind::Takes) {
        return Fate::Fails(ENOSPC);
    }
    match plan.fault {
        Some((fault, at)) if number >= at && suits(fault, kind) => {
            if plan.fired.swap(true, Ordering::SeqCst) {
                return Fate::Passes;
            }
            note(plan, &format!("fired {number} {call} {place}\n"));
            befall(plan, fault, kind)
        }
        _ => Fate::Passes,
    }
}

/// A full disk refuses no sync, and a write is no sync. The first step from the named one on that the
/// fault suits is the one that it befalls.
fn suits(fault: Fault, kind: Kind) -> bool {
    match fault {
        Fault::Kill => true,
        Fault::Torn => kind == Kind::Write,
        Fault::Full => matches!(kind, Kind::Write | Kind::Takes),
        Fault::Broken => kind != Kind::Syncs,
        Fault::Unsynced => kind == Kind::Syncs,
    }
}

fn befall(plan: &Plan, fault: Fault, kind: Kind) -> Fate {
    match fault {
        Fault::Kill => end(),
        Fault::Torn => Fate::Half { and_ends: true },
        Fault::Full => {
            plan.full.store(true, Ordering::SeqCst);
            match kind {
                Kind::Write => Fate::Half { and_ends: false },
                _ => Fate::Fails(ENOSPC),
            }
        }
        Fault::Broken | Fault::Unsynced => Fate::Fails(EIO),
    }
}

fn note(plan: &Plan, line: &str) {
    // SAFETY: the bytes live across the call.
    unsafe { real::write(plan.trace, line.as_ptr().cast(), line.len()) };
}

fn end() -> ! {
    // SAFETY: takes numbers.
    unsafe { kill(getpid(), SIGKILL) };
    // A signal to the own process is delivered before the call returns.
    std::process::abort()
}

fn failed(errno: c_int) -> c_int {
    // SAFETY: glibc's address of this thread's `errno`.
    unsafe { *__errno_location() = errno };
    -1
}

/// Where a descriptor leads, as the kernel says; what is no file does not begin with a folder.
fn path_of(descriptor: c_int) -> Option<Vec<u8>> {
    PLAN.get()?;
    let link = format!("/proc/self/fd/{descriptor}\0");
    let mut path = vec![0_u8; 4096];
    // SAFETY: a C string, and a buffer of the length that is passed.
    let length = unsafe { readlink(link.as_ptr().cast(), path.as_mut_ptr().cast(), path.len()) };
    path.truncate(usize::try_from(length).ok()?);
    Some(path)
}

/// Daemons name files by whole paths; what is relative to another descriptor is joined.
fn path_at(folder: c_int, path: *const c_char) -> Option<Vec<u8>> {
    PLAN.get()?;
    // SAFETY: the caller of the C library's function passes a C string.
    let path = unsafe { CStr::from_ptr(path) }.to_bytes();
    if path.starts_with(b"/") || folder == AT_FDCWD {
        return Some(path.to_vec());
    }
    let mut whole = path_of(folder)?;
    whole.push(b'/');
    whole.extend(path);
    Some(whole)
}

// ---- the C library's functions, as the daemon finds them ----

/// A write that may be cut short; `whole` and `half` do it.
fn written(
    call: &str,
    to: c_int,
    (parts, at): (&[Part], Option<c_long>),
    half: impl Fn() -> isize,
    whole: impl Fn() -> isize,
) -> isize {
    let path = path_of(to);
    let turn = turn(path.as_deref());
    let written = match step(Kind::Write, call, path.as_deref(), turn.as_ref()) {
        Fate::Passes => whole(),
        Fate::Fails(errno) => failed(errno) as isize,
        Fate::Half { and_ends: true } => {
            half();
            end()
        }
        // A disk that takes no byte at all says so.
        Fate::Half { and_ends: false } => match half() {
            0 => failed(ENOSPC) as isize,
            some => some,
        },
    };
    if let Some(turn) = turn {
        turn.wrote(to, parts, at, written);
    }
    written
}

/// A call that is done or not; `record` writes it down where it was.
fn done(
    kind: Kind,
    call: &str,
    path: Option<&[u8]>,
    whole: impl Fn() -> c_int,
    record: impl Fn(&Turn<'_>),
) -> c_int {
    let turn = turn(path);
    let done = match step(kind, call, path, turn.as_ref()) {
        Fate::Fails(errno) => failed(errno),
        _ => whole(),
    };
    if let Some(turn) = turn.filter(|_| done >= 0) {
        record(&turn);
    }
    done
}

#[unsafe(no_mangle)]
unsafe extern "C" fn write(to: c_int, bytes: *const c_void, count: usize) -> isize {
    let part = |count| unsafe { real::write(to, bytes, count) };
    written("write", to, (&[Part { bytes, count }], None), || part(count / 2), || part(count))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn writev(to: c_int, parts: *const Part, count: c_int) -> isize {
    let first = || unsafe { real::write(to, (*parts).bytes, (*parts).count / 2) };
    // SAFETY: the caller passes so many.
    let all = unsafe { std::slice::from_raw_parts(parts, count as usize) };
    written("writev", to, (all, None), first, || unsafe { real::writev(to, parts, count) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite(to: c_int, bytes: *const c_void, count: usize, at: c_long) -> isize {
    let part = |count| unsafe { real::pwrite(to, bytes, count, at) };
    written("pwrite", to, (&[Part { bytes, count }], Some(at)), || part(count / 2), || part(count))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(to: c_int, bytes: *const c_void, count: usize, at: c_long) -> isize {
    let part = |count| unsafe { real::pwrite64(to, bytes, count, at) };
    written("pwrite", to, (&[Part { bytes, count }], Some(at)), || part(count / 2), || part(count))
}

/// Only the opening that may create is a step.
fn opened(flags: c_int, path: Option<Vec<u8>>, whole: impl Fn() -> c_int) -> c_int {
    let path = path.as_deref();
    let turn = turn(path);
    let was_there = turn.as_ref().is_some_and(|turn| turn.is_there(path));
    let fate = match flags & O_CREAT {
        0 => Fate::Passes,
        _ => step(Kind::Takes, "create", path, turn.as_ref()),
    };
    let opened = match fate {
        Fate::Fails(errno) => failed(errno),
        _ => whole(),
    };
    if let Some(turn) = turn {
        turn.opened(opened, flags, path, was_there);
    }
    opened
}

#[unsafe(no_mangle)]
unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    opened(flags, path_at(AT_FDCWD, path), || unsafe { real::open(path, flags, mode) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    opened(flags, path_at(AT_FDCWD, path), || unsafe { real::open64(path, flags, mode) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn openat(
    folder: c_int,
    path: *const c_char,
    flags: c_int,
    mode: c_uint,
) -> c_int {
    opened(flags, path_at(folder, path), || unsafe { real::openat(folder, path, flags, mode) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn openat64(
    folder: c_int,
    path: *const c_char,
    flags: c_int,
    mode: c_uint,
) -> c_int {
    opened(flags, path_at(folder, path), || unsafe { real::openat64(folder, path, flags, mode) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mkdir(path: *const c_char, mode: c_uint) -> c_int {
    let place = path_at(AT_FDCWD, path);
    let make = || unsafe { real::mkdir(path, mode) };
    done(Kind::Takes, "mkdir", place.as_deref(), make, |turn| turn.made(place.as_deref()))
}

fn truncated(file: c_int, length: c_long, whole: impl Fn() -> c_int) -> c_int {
    let record = |turn: &Turn<'_>| turn.truncated(file, length);
    done(Kind::Changes, "truncate", path_of(file).as_deref(), whole, record)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ftruncate(file: c_int, length: c_long) -> c_int {
    truncated(file, length, || unsafe { real::ftruncate(file, length) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ftruncate64(file: c_int, length: c_long) -> c_int {
    truncated(file, length, || unsafe { real::ftruncate64(file, length) })
}

fn renamed(from: Option<Vec<u8>>, to: Option<Vec<u8>>, whole: impl Fn() -> c_int) -> c_int {
    let record = |turn: &Turn<'_>| turn.renamed(from.as_deref(), to.as_deref());
    done(Kind::Changes, "rename", to.as_deref(), whole, record)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    let place = |path| path_at(AT_FDCWD, path);
    renamed(place(from), place(to), || unsafe { real::rename(from, to) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn renameat(a: c_int, from: *const c_char, b: c_int, to: *const c_char) -> c_int {
    renamed(path_at(a, from), path_at(b, to), || unsafe { real::renameat(a, from, b, to) })
}

fn removed(call: &str, path: Option<Vec<u8>>, whole: impl Fn() -> c_int) -> c_int {
    let record = |turn: &Turn<'_>| turn.removed(path.as_deref());
    done(Kind::Changes, call, path.as_deref(), whole, record)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    removed("unlink", path_at(AT_FDCWD, path), || unsafe { real::unlink(path) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn unlinkat(folder: c_int, path: *const c_char, flags: c_int) -> c_int {
    let unlink = || unsafe { real::unlinkat(folder, path, flags) };
    removed("unlink", path_at(folder, path), unlink)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rmdir(path: *const c_char) -> c_int {
    removed("rmdir", path_at(AT_FDCWD, path), || unsafe { real::rmdir(path) })
}

fn synced(file: c_int, whole: impl Fn() -> c_int) -> c_int {
    done(Kind::Syncs, "sync", path_of(file).as_deref(), whole, |turn| turn.synced(file))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fsync(file: c_int) -> c_int {
    synced(file, || unsafe { real::fsync(file) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdatasync(file: c_int) -> c_int {
    synced(file, || unsafe { real::fdatasync(file) })
}
