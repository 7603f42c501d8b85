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
//!
//! **Invariant:** a fault that fired is in the trace before it takes effect (`fired …`).
//! **Absent:** calls that go round the C library, and power loss: what the kernel took before a kill
//! stays.

use std::ffi::{CStr, c_char, c_int, c_long, c_uint, c_void};
use std::os::fd::IntoRawFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const EIO: c_int = 5;
const ENOSPC: c_int = 28;
const SIGKILL: c_int = 9;
const O_CREAT: c_int = 0o100;
const AT_FDCWD: c_int = -100;
/// `((void *) -1l)`: the next library in the order of loading.
const RTLD_NEXT: *mut c_void = -1_isize as *mut c_void;

unsafe extern "C" {
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
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

/// Nothing, in a process that is not meant.
fn plan() -> Option<Plan> {
    let variable = |name: &str| std::env::var(name).ok();
    let role = variable("SEAL_FAULT_ROLE")?;
    let command_line = std::fs::read("/proc/self/cmdline").ok()?;
    command_line.split(|byte| *byte == 0).find(|word| *word == role.as_bytes())?;
    let trace = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(variable("SEAL_FAULT_TRACE")?)
        .ok()?;
    Some(Plan {
        root: variable("SEAL_FAULT_ROOT")?.into_bytes(),
        trace: trace.into_raw_fd(),
        fault: variable("SEAL_FAULT").and_then(|text| fault(&text)),
        steps: AtomicU64::new(0),
        fired: AtomicBool::new(false),
        full: AtomicBool::new(false),
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

fn step(kind: Kind, call: &str, path: Option<&[u8]>) -> Fate {
    let Some(plan) = PLAN.get() else { return Fate::Passes };
    let Some(relative) = path.and_then(|path| path.strip_prefix(plan.root.as_slice())) else {
        return Fate::Passes;
    };
    let number = plan.steps.fetch_add(1, Ordering::SeqCst) + 1;
    let place =
        String::from_utf8_lossy(relative.strip_prefix(b"/").unwrap_or(relative)).into_owned();
    let place = if place.is_empty() { ".".to_owned() } else { place };
    note(plan, &format!("step {number} {call} {place}\n"));
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

// ---- the C library's functions, as they are ----

mod real {
    use super::*;

    macro_rules! real {
        ($($name:ident($($argument:ident: $kind:ty),*) -> $returns:ty;)*) => {$(
            pub(super) unsafe fn $name($($argument: $kind),*) -> $returns {
                static FOUND: OnceLock<usize> = OnceLock::new();
                let name = concat!(stringify!($name), "\0");
                // SAFETY: a C string; the address is that of the function whose type follows.
                let found = FOUND.get_or_init(|| unsafe {
                    dlsym(RTLD_NEXT, name.as_ptr().cast()) as usize
                });
                let function: unsafe extern "C" fn($($kind),*) -> $returns =
                    unsafe { std::mem::transmute(*found) };
                unsafe { function($($argument),*) }
            }
        )*};
    }

    real! {
        write(to: c_int, bytes: *const c_void, count: usize) -> isize;
        writev(to: c_int, parts: *const Part, count: c_int) -> isize;
        pwrite(to: c_int, bytes: *const c_void, count: usize, at: c_long) -> isize;
        pwrite64(to: c_int, bytes: *const c_void, count: usize, at: c_long) -> isize;
        open(path: *const c_char, flags: c_int, mode: c_uint) -> c_int;
        open64(path: *const c_char, flags: c_int, mode: c_uint) -> c_int;
        openat(folder: c_int, path: *const c_char, flags: c_int, mode: c_uint) -> c_int;
        openat64(folder: c_int, path: *const c_char, flags: c_int, mode: c_uint) -> c_int;
        mkdir(path: *const c_char, mode: c_uint) -> c_int;
        ftruncate(file: c_int, length: c_long) -> c_int;
        ftruncate64(file: c_int, length: c_long) -> c_int;
        rename(from: *const c_char, to: *const c_char) -> c_int;
        renameat(a: c_int, from: *const c_char, b: c_int, to: *const c_char) -> c_int;
        unlink(path: *const c_char) -> c_int;
        unlinkat(folder: c_int, path: *const c_char, flags: c_int) -> c_int;
        rmdir(path: *const c_char) -> c_int;
        fsync(file: c_int) -> c_int;
        fdatasync(file: c_int) -> c_int;
    }
}

/// `struct iovec`.
#[repr(C)]
pub struct Part {
    bytes: *const c_void,
    count: usize,
}

// ---- and as the daemon finds them ----

/// A write that may be cut short; `whole` and `half` do it.
fn written(call: &str, to: c_int, half: impl Fn() -> isize, whole: impl Fn() -> isize) -> isize {
    match step(Kind::Write, call, path_of(to).as_deref()) {
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
    }
}

fn done(kind: Kind, call: &str, path: Option<Vec<u8>>, whole: impl Fn() -> c_int) -> c_int {
    match step(kind, call, path.as_deref()) {
        Fate::Fails(errno) => failed(errno),
        _ => whole(),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn write(to: c_int, bytes: *const c_void, count: usize) -> isize {
    let part = |count| unsafe { real::write(to, bytes, count) };
    written("write", to, || part(count / 2), || part(count))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn writev(to: c_int, parts: *const Part, count: c_int) -> isize {
    let first = || unsafe { real::write(to, (*parts).bytes, (*parts).count / 2) };
    written("writev", to, first, || unsafe { real::writev(to, parts, count) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite(to: c_int, bytes: *const c_void, count: usize, at: c_long) -> isize {
    let part = |count| unsafe { real::pwrite(to, bytes, count, at) };
    written("pwrite", to, || part(count / 2), || part(count))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(to: c_int, bytes: *const c_void, count: usize, at: c_long) -> isize {
    let part = |count| unsafe { real::pwrite64(to, bytes, count, at) };
    written("pwrite", to, || part(count / 2), || part(count))
}

/// Only the opening that may create is a step.
fn opened(flags: c_int, path: Option<Vec<u8>>, whole: impl Fn() -> c_int) -> c_int {
    match flags & O_CREAT {
        0 => whole(),
        _ => done(Kind::Takes, "create", path, whole),
    }
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
    done(Kind::Takes, "mkdir", path_at(AT_FDCWD, path), || unsafe { real::mkdir(path, mode) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ftruncate(file: c_int, length: c_long) -> c_int {
    done(Kind::Changes, "truncate", path_of(file), || unsafe { real::ftruncate(file, length) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ftruncate64(file: c_int, length: c_long) -> c_int {
    done(Kind::Changes, "truncate", path_of(file), || unsafe { real::ftruncate64(file, length) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    done(Kind::Changes, "rename", path_at(AT_FDCWD, to), || unsafe { real::rename(from, to) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn renameat(a: c_int, from: *const c_char, b: c_int, to: *const c_char) -> c_int {
    done(Kind::Changes, "rename", path_at(b, to), || unsafe { real::renameat(a, from, b, to) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    done(Kind::Changes, "unlink", path_at(AT_FDCWD, path), || unsafe { real::unlink(path) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn unlinkat(folder: c_int, path: *const c_char, flags: c_int) -> c_int {
    let unlink = || unsafe { real::unlinkat(folder, path, flags) };
    done(Kind::Changes, "unlink", path_at(folder, path), unlink)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rmdir(path: *const c_char) -> c_int {
    done(Kind::Changes, "rmdir", path_at(AT_FDCWD, path), || unsafe { real::rmdir(path) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fsync(file: c_int) -> c_int {
    done(Kind::Syncs, "sync", path_of(file), || unsafe { real::fsync(file) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdatasync(file: c_int) -> c_int {
    done(Kind::Syncs, "sync", path_of(file), || unsafe { real::fdatasync(file) })
}
