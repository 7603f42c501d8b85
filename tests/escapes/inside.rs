//! A library that is loaded into a real daemon (`LD_PRELOAD`) and, when that daemon has confined itself,
//! tries from inside it what it must not be able to do. So the plan, the order of the start and the
//! process are the daemon's own, and no daemon has a door for tests.
//!
//! Built by `rustc` when a test starts; linked into no program. Its stage, from the environment:
//!
//! | variable | meaning |
//! |---|---|
//! | `SEAL_ESCAPE_ROLE` | act only in a process with this word on its command line |
//! | `SEAL_ESCAPE_REPORT` | file for the answers: `row<TAB>answer`, then `done` |
//! | `SEAL_ESCAPE_STAGE` | folder with what is aimed at, see `main.rs` |
//! | `SEAL_ESCAPE_OWN` | a folder that the role may write |
//! | `SEAL_ESCAPE_READ` | a folder that the role may read |
//! | `SEAL_ESCAPE_PORT` | a TCP port of this machine with somebody behind it who should hear nothing |
//! | `SEAL_ESCAPE_API` | the one port that a role with an endpoint may reach |
//! | `SEAL_ESCAPE_UNCONFINED` | try at once: the same in a process that is not confined |
//! | `SEAL_ESCAPE_THREAD` | try nothing; start a thread before the daemon does anything |

use std::ffi::{CStr, c_char, c_int, c_long, c_uint, c_ulong, c_void};
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const RTLD_NEXT: *mut c_void = -1_isize as *mut c_void;
const PR_GET_SECCOMP: c_int = 21;
const SECCOMP_MODE_FILTER: c_int = 2;
const AF_INET: c_int = 2;
const SOCK_STREAM: c_int = 1;
const IPPROTO_MPTCP: c_int = 262;
const MSG_FASTOPEN: c_int = 0x2000_0000;
const RLIMIT_FSIZE: c_int = 1;
const RLIMIT_CORE: c_int = 4;
const RLIMIT_NOFILE: c_int = 7;
const RLIMIT_AS: c_int = 9;

unsafe extern "C" {
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn prctl(option: c_int, ...) -> c_int;
    fn socket(family: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn connect(socket: c_int, address: *const Address, length: c_uint) -> c_int;
    fn sendto(
        socket: c_int,
        bytes: *const c_void,
        count: usize,
        flags: c_int,
        to: *const Address,
        length: c_uint,
    ) -> isize;
    fn sendmsg(socket: c_int, message: *const Message, flags: c_int) -> isize;
    fn sendmmsg(socket: c_int, messages: *mut Messages, count: c_uint, flags: c_int) -> c_int;
    fn kill(pid: c_int, signal: c_int) -> c_int;
    fn getrlimit(which: c_int, limit: *mut Limit) -> c_int;
    fn setrlimit(which: c_int, limit: *const Limit) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
}

/// `struct sockaddr_in`.
#[repr(C)]
struct Address {
    family: u16,
    port: [u8; 2],
    host: [u8; 4],
    zero: [u8; 8],
}

/// `struct msghdr`.
#[repr(C)]
struct Message {
    to: *const Address,
    length: c_uint,
    parts: *const Part,
    count: usize,
    control: *const c_void,
    control_length: usize,
    flags: c_int,
}

/// `struct mmsghdr`.
#[repr(C)]
struct Messages {
    message: Message,
    sent: c_uint,
}

/// `struct iovec`.
#[repr(C)]
struct Part {
    bytes: *const c_void,
    count: usize,
}

/// `struct rlimit`.
#[repr(C)]
struct Limit {
    soft: c_ulong,
    hard: c_ulong,
}

// ---- the stage, set before the daemon does anything ----

struct Stage {
    report: File,
    folder: PathBuf,
    own: PathBuf,
    read: PathBuf,
    port: u16,
    api: Option<u16>,
    /// Opened before confinement, as a careless daemon might.
    earlier: File,
    unconfined: bool,
}

static STAGE: OnceLock<Stage> = OnceLock::new();

#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = at_load;

extern "C" fn at_load() {
    let variable = |name: &str| std::env::var(name).ok();
    let Some(role) = variable("SEAL_ESCAPE_ROLE") else { return };
    let command_line = fs::read("/proc/self/cmdline").unwrap_or_default();
    if !command_line.split(|byte| *byte == 0).any(|word| word == role.as_bytes()) {
        return;
    }
    if variable("SEAL_ESCAPE_THREAD").is_some() {
        std::thread::spawn(|| std::thread::sleep(Duration::from_secs(600)));
        return;
    }
    let stage = || -> Option<Stage> {
        let folder = PathBuf::from(variable("SEAL_ESCAPE_STAGE")?);
        Some(Stage {
            report: File::create(variable("SEAL_ESCAPE_REPORT")?).ok()?,
            earlier: File::open(folder.join("secret")).ok()?,
            folder,
            own: variable("SEAL_ESCAPE_OWN")?.into(),
            read: variable("SEAL_ESCAPE_READ")?.into(),
            port: variable("SEAL_ESCAPE_PORT")?.parse().ok()?,
            api: variable("SEAL_ESCAPE_API").and_then(|port| port.parse().ok()),
            unconfined: variable("SEAL_ESCAPE_UNCONFINED").is_some(),
        })
    };
    if let Some(stage) = stage() {
        let _ = STAGE.set(stage);
    }
}

// ---- the moment: the first sync of a daemon that is confined ----

#[unsafe(no_mangle)]
unsafe extern "C" fn fsync(file: c_int) -> c_int {
    perhaps_act();
    unsafe { real(c"fsync")(file) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdatasync(file: c_int) -> c_int {
    perhaps_act();
    unsafe { real(c"fdatasync")(file) }
}

fn real(name: &CStr) -> unsafe extern "C" fn(c_int) -> c_int {
    // SAFETY: both functions have this type, and the C library has both.
    unsafe { std::mem::transmute(dlsym(RTLD_NEXT, name.as_ptr())) }
}

fn perhaps_act() {
    static ACTED: AtomicBool = AtomicBool::new(false);
    let Some(stage) = STAGE.get() else { return };
    // SAFETY: takes numbers only.
    let confined = unsafe { prctl(PR_GET_SECCOMP, 0, 0, 0, 0) } == SECCOMP_MODE_FILTER;
    if (confined || stage.unconfined) && !ACTED.swap(true, Ordering::SeqCst) {
        act(stage);
    }
}

fn act(stage: &Stage) {
    let mut report = &stage.report;
    let mut tell = |row: &str, answer: String| {
        let _ = writeln!(report, "{row}\t{answer}");
    };
    for (row, attempt) in ATTEMPTS {
        // Only a teacher with an API has an open port; and nothing is sent out by who could.
        let no_port = row.contains("API's port") && stage.api.is_none();
        if no_port || (row.contains("public host") && stage.unconfined) {
            continue;
        }
        tell(row, attempt(stage).map_or_else(|error| name_of(&error), |()| "works".to_owned()));
    }
    for (row, number) in CALLS {
        // A daemon that is not confined would be there twice.
        if stage.unconfined && *row == "`fork`" {
            continue;
        }
        let none = 0_usize;
        // SAFETY: no first argument like this exists, so that no call does anything.
        let code = unsafe { syscall(*number, usize::MAX, none, none, none, none, none) };
        tell(row, returned(code).map_or_else(|error| name_of(&error), |()| "works".to_owned()));
    }
    for (row, which) in LIMITS {
        tell(row, limit(*which));
    }
    tell("a file of others that the daemon itself has open", open_elsewhere(stage));
    tell("done", String::new());
}

// ---- what is tried ----

type Attempt = (&'static str, fn(&Stage) -> io::Result<()>);

const ATTEMPTS: &[Attempt] = &[
    ("read outside", |s| File::open(s.folder.join("secret")).map(drop)),
    ("read outside, by `..`", |s| {
        let up: PathBuf = s.own.components().skip(1).map(|_| "..").collect();
        let rest = s.folder.strip_prefix("/").unwrap_or(&s.folder);
        File::open(s.own.join(up).join(rest).join("secret")).map(drop)
    }),
    ("read outside, by a symbolic link", |s| File::open(s.own.join("link")).map(drop)),
    ("read outside, by `/proc/self/root`", |s| {
        let rest = s.folder.strip_prefix("/").unwrap_or(&s.folder);
        File::open(PathBuf::from("/proc/self/root").join(rest).join("secret")).map(drop)
    }),
    ("list outside", |s| fs::read_dir(&s.folder).map(drop)),
    ("write into a folder that may be read", |s| fs::write(s.read.join("planted"), "")),
    ("write outside", |s| fs::write(s.folder.join("planted"), "")),
    ("rename out", |s| {
        fs::write(s.own.join("mine"), "")?;
        let renamed = fs::rename(s.own.join("mine"), s.folder.join("mine"));
        let _ = fs::remove_file(s.own.join("mine"));
        renamed
    }),
    ("hard link of a secret into the own folder", |s| {
        fs::hard_link(s.folder.join("secret"), s.own.join("stolen"))
    }),
    ("`stat` outside", |s| fs::metadata(s.folder.join("secret")).map(drop)),
    ("`chmod` outside", |s| {
        fs::set_permissions(s.folder.join("mode"), fs::Permissions::from_mode(0o666))
    }),
    ("read through a descriptor opened before", |s| s.earlier.read_exact_at(&mut [0], 0)),
    ("TCP: connect to another port", |s| tcp([127, 0, 0, 1], s.port)),
    ("TCP: connect to another port of a public host", |s| tcp([203, 0, 113, 1], s.port)),
    ("TCP: connect to the API's port of this host", |s| {
        tcp([127, 0, 0, 1], s.api.unwrap_or_default())
    }),
    ("TCP: connect to the API's port of another host", |s| {
        tcp([127, 0, 0, 2], s.api.unwrap_or_default())
    }),
    ("TCP: bind and listen", |_| TcpListener::bind("127.0.0.1:0").map(drop)),
    ("MPTCP: connect to another port", |s| {
        let made = made(AF_INET, SOCK_STREAM, IPPROTO_MPTCP)?;
        let (to, length) = address(s.port);
        // SAFETY: a whole address that lives across the call.
        returned(unsafe { connect(made.as_raw_fd(), &to, length) }.into())
    }),
    ("TCP Fast Open by `sendto`", |s| {
        let (made, (to, length)) = (made(AF_INET, SOCK_STREAM, 0)?, address(s.port));
        let byte = b"x".as_ptr().cast();
        // SAFETY: a byte and a whole address that live across the call.
        let sent = unsafe { sendto(made.as_raw_fd(), byte, 1, MSG_FASTOPEN, &to, length) };
        returned(sent as c_long)
    }),
    ("TCP Fast Open by `sendmsg`", |s| {
        let made = made(AF_INET, SOCK_STREAM, 0)?;
        fast(s.port, |message| {
            // SAFETY: a whole message that lives across the call.
            unsafe { sendmsg(made.as_raw_fd(), &message, MSG_FASTOPEN) as c_long }
        })
    }),
    ("TCP Fast Open by `sendmmsg`", |s| {
        let made = made(AF_INET, SOCK_STREAM, 0)?;
        fast(s.port, |message| {
            let mut messages = Messages { message, sent: 0 };
            // SAFETY: one whole message that lives across the call.
            unsafe { sendmmsg(made.as_raw_fd(), &mut messages, 1, MSG_FASTOPEN) }.into()
        })
    }),
    ("UDP: send", |s| {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.send_to(b"x", ("127.0.0.1", s.port)).map(drop)
    }),
    ("unix socket outside, by its path", |s| {
        UnixStream::connect(s.folder.join("socket")).map(drop)
    }),
    ("unix socket outside, by an abstract name", |s| {
        let name = s.folder.as_os_str().as_encoded_bytes();
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
        UnixStream::connect_addr(&address).map(drop)
    }),
    ("signal to the parent", |_| {
        let parent = std::os::unix::process::parent_id();
        // SAFETY: takes numbers; signal 0 asks and sends nothing.
        returned(unsafe { kill(parent as c_int, 0) }.into())
    }),
    ("run a program", |_| std::process::Command::new("/bin/true").status().map(drop)),
    ("raise a resource limit", |_| {
        let more = Limit { soft: 0, hard: 0 };
        // SAFETY: a whole limit that lives across the call.
        returned(unsafe { setrlimit(RLIMIT_CORE, &more) }.into())
    }),
];

/// By number, with arguments that make no sense: the filter answers before the kernel looks at one.
#[cfg(target_arch = "x86_64")]
const CALLS: &[(&str, c_long)] = &[
    ("`execve`", 59),
    ("`execveat`", 322),
    ("`fork`", 57),
    ("`ptrace`", 101),
    ("`process_vm_readv`", 310),
    ("`process_vm_writev`", 311),
    ("`pidfd_open`", 434),
    ("`pidfd_getfd`", 438),
    ("`io_uring_setup`", 425),
    ("`bpf`", 321),
    ("`perf_event_open`", 298),
    ("`userfaultfd`", 323),
    ("`keyctl`", 250),
    ("`mount`", 165),
    ("`unshare`", 272),
    ("`setns`", 308),
    ("`fchmodat`", 268),
    ("`fchownat`", 260),
    ("`getpid` by its x32 number", 0x4000_0000 + 39),
];
#[cfg(target_arch = "aarch64")]
const CALLS: &[(&str, c_long)] = &[
    ("`execve`", 221),
    ("`execveat`", 281),
    ("`ptrace`", 117),
    ("`process_vm_readv`", 270),
    ("`process_vm_writev`", 271),
    ("`pidfd_open`", 434),
    ("`pidfd_getfd`", 438),
    ("`io_uring_setup`", 425),
    ("`bpf`", 280),
    ("`perf_event_open`", 241),
    ("`userfaultfd`", 282),
    ("`keyctl`", 219),
    ("`mount`", 40),
    ("`unshare`", 97),
    ("`setns`", 268),
    ("`fchmodat`", 53),
    ("`fchownat`", 54),
];

const LIMITS: &[(&str, c_int)] = &[
    ("limit on core files", RLIMIT_CORE),
    ("limit on the size of files", RLIMIT_FSIZE),
    ("limit on memory", RLIMIT_AS),
    ("limit on open files", RLIMIT_NOFILE),
];

fn tcp(host: [u8; 4], port: u16) -> io::Result<()> {
    let address = SocketAddr::from((host, port));
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).map(drop)
}

fn made(family: c_int, kind: c_int, protocol: c_int) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    let made = unsafe { socket(family, kind, protocol) };
    returned(made.into())?;
    // SAFETY: the kernel just gave us this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}

fn address(port: u16) -> (Address, c_uint) {
    let host = [127, 0, 0, 1];
    let address = Address { family: AF_INET as u16, port: port.to_be_bytes(), host, zero: [0; 8] };
    (address, size_of::<Address>() as c_uint)
}

/// One byte for a port, with the first packet.
fn fast(port: u16, send: impl FnOnce(Message) -> c_long) -> io::Result<()> {
    let (to, length) = address(port);
    let part = Part { bytes: b"x".as_ptr().cast(), count: 1 };
    let control = std::ptr::null();
    let message =
        Message { to: &to, length, parts: &part, count: 1, control, control_length: 0, flags: 0 };
    returned(send(message))
}

fn returned(code: c_long) -> io::Result<()> {
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn limit(which: c_int) -> String {
    let mut limit = Limit { soft: 0, hard: 0 };
    // SAFETY: a whole limit that lives across the call.
    match returned(unsafe { getrlimit(which, &mut limit) }.into()) {
        Ok(()) if limit.hard == 0 => "0".to_owned(),
        Ok(()) => "none of the daemon's own".to_owned(),
        Err(error) => name_of(&error),
    }
}

/// Descriptors that lead to files of the run folder outside the own state, but for those of this
/// library, the log and the lock of the own socket.
fn open_elsewhere(stage: &Stage) -> String {
    let run = stage.folder.parent().unwrap_or(&stage.folder);
    let ours = [stage.report.as_raw_fd(), stage.earlier.as_raw_fd(), 0, 1, 2];
    let entries = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let found = entries.filter_map(|entry| {
        let number: c_int = entry.file_name().to_str()?.parse().ok()?;
        let path = fs::read_link(entry.path()).ok()?;
        let place = path.strip_prefix(run).ok()?;
        let expected =
            ours.contains(&number) || path.starts_with(&stage.own) || place.starts_with("sockets");
        (!expected).then(|| place.display().to_string())
    });
    let found: Vec<String> = found.collect();
    if found.is_empty() { "none".to_owned() } else { found.join(", ") }
}

fn name_of(error: &io::Error) -> String {
    let named = match error.raw_os_error() {
        Some(1) => "EPERM",
        Some(2) => "ENOENT",
        Some(9) => "EBADF",
        Some(13) => "EACCES",
        Some(14) => "EFAULT",
        Some(18) => "EXDEV",
        Some(22) => "EINVAL",
        Some(38) => "ENOSYS",
        Some(93) => "EPROTONOSUPPORT",
        Some(97) => "EAFNOSUPPORT",
        Some(101) => "ENETUNREACH",
        Some(111) => "ECONNREFUSED",
        Some(other) => return format!("errno {other}"),
        None if error.kind() == io::ErrorKind::TimedOut => "no answer",
        None => return error.to_string(),
    };
    named.to_owned()
}
