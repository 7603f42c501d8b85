//! Each forbidden act, tried inside a confined process, is refused; each needed act still works.
//!
//! The raw system calls below have no safe wrapper; each passes zeros or values that live across it.
#![allow(unsafe_code, clippy::unwrap_used)]

mod common;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output};

use seal_protocol::{ConfinementReport, Enforcement, EnforcementLevel};
use seal_service::confine::{ConfineError, ConfinementPlan, PlanError, Profile, enforce, probe};
use seal_service::endpoint::Endpoint;
use seal_service::store::{open_sqlite, write_atomic};

fn main() {
    common::main(
        tests![
            a_confined_process_reaches_full_and_every_probe_is_refused,
            the_probes_succeed_in_a_process_that_is_not_confined,
            every_forbidden_act_is_refused,
            the_forbidden_acts_work_in_a_process_that_is_not_confined,
            every_forbidden_system_call_is_refused,
            what_a_daemon_needs_still_works,
            a_thread_before_confinement_keeps_strict_from_starting,
            a_thread_before_confinement_is_recorded_by_standard,
            a_secret_that_is_not_there_is_reported_as_no_proof,
            without_a_gpu_in_the_plan_its_libraries_and_cache_stay_closed,
            with_a_gpu_in_the_plan_its_libraries_open_and_nothing_else_does,
            a_secret_among_the_libraries_of_a_gpu_is_refused,
            an_open_port_is_reached_and_nothing_else_is,
            what_an_open_port_must_not_open_works_in_a_process_that_is_not_confined,
        ],
        play,
    );
}

// ---- the stage: `allowed/base` to read, `state/` to write, `secret/` closed ----

fn plan(folder: &Path, profile: Profile) -> ConfinementPlan {
    ConfinementPlan {
        read: vec![folder.join("allowed")],
        write: vec![folder.join("state")],
        gpu: false,
        connect_ports: vec![],
        profile,
        decoy_dir: folder.join("secret"),
        must_not_read: vec![folder.join("secret/tau.jsonl"), folder.join("secret/suites")],
        must_not_connect: vec![Endpoint::Unix(folder.join("secret/peer.sock"))],
    }
}

/// Sets the stage, starts the act and hands back how it ended.
fn act(name: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    for made in ["allowed", "state", "secret/suites"] {
        fs::create_dir_all(at(made)).unwrap();
    }
    fs::write(at("allowed/base"), b"weights").unwrap();
    fs::write(at("secret/tau.jsonl"), b"questions").unwrap();
    fs::write(at("secret/open-mode"), b"").unwrap();
    std::os::unix::fs::symlink("../secret/tau.jsonl", at("state/link")).unwrap();
    let _peer = UnixListener::bind(at("secret/peer.sock")).unwrap();
    // Where a GPU's libraries and kernels would be.
    fs::create_dir_all(at("libraries")).unwrap();
    fs::write(at("libraries/libcuda.so.1"), b"code").unwrap();
    let mut child = common::child(name, folder.path());
    child.env("LD_LIBRARY_PATH", at("libraries")).env("CUDA_CACHE_PATH", at("kernels"));
    child.output().unwrap()
}

#[track_caller]
fn assert_played(name: &str) {
    let output = act(name);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "act {name}: {}\n{told}", output.status);
}

fn play(act: &str, folder: &Path) {
    match act {
        "full" => full(folder),
        "unconfined" => unconfined(folder),
        "forbidden" => forbidden(folder),
        "permitted" => permitted(folder),
        "system-calls" => system_calls(folder),
        "needed" => needed(folder),
        "strict-with-thread" => strict_with_thread(folder),
        "standard-with-thread" => standard_with_thread(folder),
        "absent-secret" => absent_secret(folder),
        "without-gpu" => without_gpu(folder),
        "with-gpu" => with_gpu(folder),
        "gpu-overlap" => gpu_overlap(folder),
        "open-port" => open_port(folder),
        "unconfined-ports" => unconfined_ports(folder),
        other => panic!("no act `{other}`"),
    }
}

fn confined(folder: &Path) -> Enforcement {
    enforce(&plan(folder, Profile::Strict)).unwrap()
}

// ---- the tests and their acts ----

fn a_confined_process_reaches_full_and_every_probe_is_refused() {
    assert_played("full");
}

fn full(folder: &Path) {
    let enforcement = confined(folder);
    assert_eq!(enforcement.level, EnforcementLevel::Full);
    assert!(enforcement.seccomp && enforcement.landlock_abi >= 6);
    let report = probe(&plan(folder, Profile::Strict), &enforcement);
    let accepted: Vec<_> = report.probes.iter().filter(|probe| !probe.refused).collect();
    assert!(accepted.is_empty(), "{accepted:?}");
    let outcome = |attempt: &str| outcome(&report, attempt);
    assert_eq!(outcome("read the decoy"), "EACCES");
    assert_eq!(outcome(&format!("read `{}`", folder.join("secret/tau.jsonl").display())), "EACCES");
    assert_eq!(outcome(&format!("read `{}`", folder.join("secret/suites").display())), "EACCES");
    for socket in ["TCP", "UDP", "MPTCP", "unix"] {
        assert_eq!(outcome(&format!("make a {socket} socket")), "EPERM");
    }
    assert_eq!(outcome("exec in place"), "EPERM");
    assert_eq!(outcome("signal the parent"), "EPERM");
}

fn outcome(report: &ConfinementReport, attempt: &str) -> String {
    let probe = report.probes.iter().find(|probe| probe.attempt == attempt);
    probe.unwrap_or_else(|| panic!("no probe `{attempt}`")).outcome.clone()
}

fn the_probes_succeed_in_a_process_that_is_not_confined() {
    assert_played("unconfined");
}

fn unconfined(folder: &Path) {
    let plan = plan(folder, Profile::Off);
    let enforcement = enforce(&plan).unwrap();
    assert_eq!(enforcement.level, EnforcementLevel::Off);
    let report = probe(&plan, &enforcement);
    assert!(report.probes.iter().all(|probe| !probe.refused), "{report:?}");
    let peer = format!("connect `unix:{}`", folder.join("secret/peer.sock").display());
    assert_eq!(outcome(&report, &peer), "succeeded");
    assert_eq!(outcome(&report, "run `/bin/true`"), "succeeded");
    assert_eq!(outcome(&report, "exec in place"), "ENOENT");
}

type Attempt = (&'static str, fn(&Path) -> io::Result<()>);

/// Each works in a process that is not confined.
const FORBIDDEN: &[Attempt] = &[
    ("read outside", |f| File::open(f.join("secret/tau.jsonl")).map(drop)),
    ("read through ..", |f| File::open(f.join("state/../secret/tau.jsonl")).map(drop)),
    ("read through a link", |f| File::open(f.join("state/link")).map(drop)),
    ("read through /proc", |f| {
        let rooted = f.strip_prefix("/").unwrap().join("secret/tau.jsonl");
        File::open(Path::new("/proc/self/root").join(rooted)).map(drop)
    }),
    ("list outside", |f| fs::read_dir(f.join("secret")).map(drop)),
    ("read the password file", |_| File::open("/etc/passwd").map(drop)),
    ("write outside", |f| fs::write(f.join("secret/new"), b"")),
    ("write what may only be read", |f| {
        OpenOptions::new().append(true).open(f.join("allowed/base")).map(drop)
    }),
    ("create beside what may only be read", |f| fs::write(f.join("allowed/new"), b"")),
    ("rename out", |f| {
        fs::write(f.join("state/mine"), b"")?;
        fs::rename(f.join("state/mine"), f.join("secret/mine"))
    }),
    ("link a secret in", |f| fs::hard_link(f.join("secret/tau.jsonl"), f.join("state/stolen"))),
    ("make a symbolic link", |f| std::os::unix::fs::symlink("x", f.join("state/x"))),
    ("make a socket file", |f| UnixListener::bind(f.join("state/s")).map(drop)),
    ("change a mode", |f| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        fs::set_permissions(f.join("secret/open-mode"), mode)
    }),
    ("change an owner", |f| std::os::unix::fs::chown(f.join("state"), Some(0), Some(0))),
    ("connect to a peer", |f| UnixStream::connect(f.join("secret/peer.sock")).map(drop)),
    ("abstract socket", |_| {
        let name = SocketAddr::from_abstract_name(format!("seal-{}", std::process::id()))?;
        UnixListener::bind_addr(&name).map(drop)
    }),
    ("UDP", |_| UdpSocket::bind("127.0.0.1:0").map(drop)),
    ("TCP listen", |_| std::net::TcpListener::bind("127.0.0.1:0").map(drop)),
    ("MPTCP connect", |_| socket(libc::AF_INET, libc::SOCK_STREAM, 262)),
    ("netlink", |_| socket(libc::AF_NETLINK, libc::SOCK_RAW, 0)),
    ("pair of datagram sockets", |_| socket_pair(libc::SOCK_DGRAM).map(drop)),
    ("run a program", |_| Command::new("/bin/true").status().map(drop)),
    ("fork", |_| fork()),
    ("signal the parent", |_| {
        let parent = std::os::unix::process::parent_id();
        returned(unsafe { libc::kill(parent as i32, 0) })
    }),
    ("raise a limit", |_| {
        let limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        returned(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &limit) })
    }),
    ("become dumpable", |_| returned(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) })),
    ("leave what the process shares", |_| unshare(libc::CLONE_FS)),
];

fn every_forbidden_act_is_refused() {
    assert_played("forbidden");
}

fn forbidden(folder: &Path) {
    confined(folder);
    for (name, attempt) in FORBIDDEN {
        let error = attempt(folder).expect_err(name);
        let refused = [libc::EACCES, libc::EPERM, libc::EXDEV].map(Some);
        assert!(refused.contains(&error.raw_os_error()), "{name}: {error}");
    }
    let address = "127.0.0.1:80".parse().unwrap();
    let error = TcpStream::connect_timeout(&address, std::time::Duration::from_secs(1));
    assert_eq!(error.unwrap_err().raw_os_error(), Some(libc::EPERM));
}

fn the_forbidden_acts_work_in_a_process_that_is_not_confined() {
    assert_played("permitted");
}

fn permitted(folder: &Path) {
    // Some systems have neither MPTCP nor the right to change owners; the rest must work.
    let may_lack = ["MPTCP connect", "change an owner"];
    for (name, attempt) in FORBIDDEN.iter().filter(|(name, _)| !may_lack.contains(name)) {
        attempt(folder).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

fn every_forbidden_system_call_is_refused() {
    assert_played("system-calls");
}

fn system_calls(folder: &Path) {
    confined(folder);
    for number in [
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_listen,
        libc::SYS_sendmsg,
        libc::SYS_sendmmsg,
        libc::SYS_recvmsg,
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_getfd,
        libc::SYS_io_uring_setup,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_keyctl,
        libc::SYS_mount,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_fchmodat,
        libc::SYS_fchownat,
        libc::SYS_open_by_handle_at,
        libc::SYS_clone,
    ] {
        assert_eq!(system_call(number), libc::EPERM, "system call {number}");
    }
    // glibc then starts threads by `clone`, whose flags the filter can see.
    assert_eq!(system_call(libc::SYS_clone3), libc::ENOSYS);
    fast_open_is_refused();
}

fn fast_open_is_refused() {
    let pair = socket_pair(libc::SOCK_STREAM).unwrap();
    let send = |flags| unsafe {
        let nowhere = std::ptr::null();
        libc::sendto(pair[0], b"x".as_ptr().cast(), 1, flags, nowhere, 0)
    };
    assert_eq!(send(0), 1);
    assert_eq!(send(libc::MSG_FASTOPEN), -1);
    assert_eq!(io::Error::last_os_error().raw_os_error(), Some(libc::EPERM));
}

fn what_a_daemon_needs_still_works() {
    assert_played("needed");
}

fn needed(folder: &Path) {
    let path = folder.join("state/own.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let client = UnixStream::connect(&path).unwrap();
    confined(folder);
    serve_one(&listener, client);
    assert_eq!(fs::read(folder.join("allowed/base")).unwrap(), b"weights");
    keep_state(&folder.join("state"));
    use rayon::prelude::*;
    assert_eq!((0..1000_u64).into_par_iter().map(|n| n * 2).sum::<u64>(), 999_000);
    assert!(std::thread::available_parallelism().is_ok());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup());
        unsafe { libc::raise(libc::SIGHUP) };
        hangup.as_mut().unwrap().recv().await.unwrap();
    });
}

fn serve_one(listener: &UnixListener, mut client: UnixStream) {
    use std::io::{Read, Write};
    let (mut accepted, _) = listener.accept().unwrap();
    accepted.write_all(b"hello").unwrap();
    drop(accepted);
    let mut heard = String::new();
    client.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "hello");
}

fn keep_state(state: &Path) {
    let database = open_sqlite(&state.join("state.sqlite")).unwrap();
    database.execute_batch("CREATE TABLE t (a TEXT) STRICT; INSERT INTO t VALUES ('x')").unwrap();
    database.execute_batch("DELETE FROM t; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    drop(database);
    fs::create_dir_all(state.join("versions/v1")).unwrap();
    write_atomic(&state.join("head"), b"1").unwrap();
    fs::rename(state.join("head"), state.join("versions/v1/head")).unwrap();
    fs::remove_dir_all(state.join("versions")).unwrap();
}

fn a_thread_before_confinement_keeps_strict_from_starting() {
    assert_played("strict-with-thread");
}

fn strict_with_thread(folder: &Path) {
    let _waiting = idle_thread();
    let error = enforce(&plan(folder, Profile::Strict)).unwrap_err();
    assert!(matches!(error, ConfineError::TooWeak { .. }));
    let told = error.to_string();
    assert!(told.contains("a thread was started before confinement"), "{told}");
}

fn a_thread_before_confinement_is_recorded_by_standard() {
    assert_played("standard-with-thread");
}

fn standard_with_thread(folder: &Path) {
    let _waiting = idle_thread();
    let enforcement = enforce(&plan(folder, Profile::Standard)).unwrap();
    assert_eq!(enforcement.level, EnforcementLevel::Partial);
}

fn a_secret_that_is_not_there_is_reported_as_no_proof() {
    assert_played("absent-secret");
}

fn absent_secret(folder: &Path) {
    let mut plan = plan(folder, Profile::Strict);
    let absent = folder.join("secret/not-here");
    plan.must_not_read.push(absent.clone());
    let enforcement = enforce(&plan).unwrap();
    let report = probe(&plan, &enforcement);
    let attempt = format!("read `{}`", absent.display());
    assert_eq!(outcome(&report, &attempt), "absent, proves nothing");
    assert_eq!(enforcement.level, EnforcementLevel::Full);
}

fn an_open_port_is_reached_and_nothing_else_is() {
    assert_played("open-port");
}

fn open_port(folder: &Path) {
    let (open, closed) = (listener(), listener());
    let stage = plan(folder, Profile::Strict);
    let plan = ConfinementPlan { connect_ports: vec![port(&open)], ..stage };
    let enforcement = enforce(&plan).unwrap();
    assert_eq!(enforcement.level, EnforcementLevel::Full);
    let report = probe(&plan, &enforcement);
    assert!(report.probes.iter().all(|probe| probe.refused), "{report:?}");
    assert_eq!(outcome(&report, "connect `tcp:127.0.0.1:1`"), "EACCES");

    exchange(&open);
    for (name, attempt) in BEYOND_THE_PORT {
        let error = attempt(port(&closed)).expect_err(name);
        let refused = [libc::EACCES, libc::EPERM].map(Some);
        assert!(refused.contains(&error.raw_os_error()), "{name}: {error}");
    }
    // What any role may not do stays so.
    for (name, attempt) in FORBIDDEN {
        assert!(attempt(folder).is_err(), "{name}");
    }
}

fn what_an_open_port_must_not_open_works_in_a_process_that_is_not_confined() {
    assert_played("unconfined-ports");
}

fn unconfined_ports(_: &Path) {
    let closed = listener();
    for (name, attempt) in BEYOND_THE_PORT.iter().filter(|(name, _)| *name != "raw IP") {
        attempt(port(&closed)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

type PortAttempt = (&'static str, fn(u16) -> io::Result<()>);

/// Ways from an open port to another one.
const BEYOND_THE_PORT: &[PortAttempt] = &[
    ("connect", |port| TcpStream::connect(("127.0.0.1", port)).map(drop)),
    ("connect over IPv6", |port| TcpStream::connect(("::ffff:127.0.0.1", port)).map(drop)),
    ("TCP Fast Open", fast_open),
    ("connect by an option", |_| set_tcp_option(libc::TCP_FASTOPEN_CONNECT)),
    ("listen", |_| std::net::TcpListener::bind("127.0.0.1:0").map(drop)),
    ("UDP", |_| UdpSocket::bind("127.0.0.1:0").map(drop)),
    ("raw IP", |_| socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_TCP)),
];

fn listener() -> std::net::TcpListener {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap()
}

fn port(listener: &std::net::TcpListener) -> u16 {
    listener.local_addr().unwrap().port()
}

/// A word each way, over the runtime that daemons use.
fn exchange(listener: &std::net::TcpListener) {
    use std::io::{Read, Write};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = runtime.block_on(async {
        let mut client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await?;
        client.set_nodelay(true)?;
        client.write_all(b"ask").await.map(|()| client)
    });
    let (mut accepted, _) = listener.accept().unwrap();
    let mut heard = [0; 3];
    accepted.read_exact(&mut heard).unwrap();
    accepted.write_all(b"told").unwrap();
    drop(accepted);
    let mut told = String::new();
    let mut client = client.unwrap();
    runtime.block_on(client.read_to_string(&mut told)).unwrap();
    assert_eq!((&heard, told.as_str()), (b"ask", "told"));
}

fn tcp_socket() -> io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd;
    let made = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) };
    returned(made)?;
    Ok(unsafe { std::os::fd::OwnedFd::from_raw_fd(made) })
}

/// Sends with the first packet, past `connect`.
fn fast_open(port: u16) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let socket = tcp_socket()?;
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
        sin_zero: [0; 8],
    };
    let length = size_of_val(&address) as libc::socklen_t;
    let flags = libc::MSG_FASTOPEN;
    let to = (&raw const address).cast();
    let sent =
        unsafe { libc::sendto(socket.as_raw_fd(), b"x".as_ptr().cast(), 1, flags, to, length) };
    returned(sent as i32)
}

fn set_tcp_option(option: i32) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let socket = tcp_socket()?;
    let on: libc::c_int = 1;
    let value = (&raw const on).cast();
    let length = size_of_val(&on) as libc::socklen_t;
    returned(unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, option, value, length)
    })
}

// ---- helpers ----

/// A thread that stays until the sender is dropped.
fn idle_thread() -> std::sync::mpsc::Sender<()> {
    let (keep, kept) = std::sync::mpsc::channel();
    std::thread::spawn(move || kept.recv());
    keep
}

fn returned(code: i32) -> io::Result<()> {
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<()> {
    returned(unsafe { libc::socket(family, kind, protocol) })
}

fn socket_pair(kind: i32) -> io::Result<[i32; 2]> {
    let mut pair = [0; 2];
    returned(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, pair.as_mut_ptr()) })?;
    Ok(pair)
}

/// A child that ends at once, where it may be made.
fn fork() -> io::Result<()> {
    match unsafe { libc::fork() } {
        0 => unsafe { libc::_exit(0) },
        child => returned(child),
    }
}

fn unshare(flags: i32) -> io::Result<()> {
    returned(unsafe { libc::unshare(flags) })
}

/// The error of a system call with zeros for arguments.
fn system_call(number: i64) -> i32 {
    let zero = 0_usize;
    let code = unsafe { libc::syscall(number, zero, zero, zero, zero, zero, zero) };
    assert_eq!(code, -1, "system call {number} went through");
    io::Error::last_os_error().raw_os_error().unwrap()
}

fn without_a_gpu_in_the_plan_its_libraries_and_cache_stay_closed() {
    assert_played("without-gpu");
}

fn without_gpu(folder: &Path) {
    confined(folder);
    let refused =
        |tried: io::Result<()>| tried.unwrap_err().kind() == io::ErrorKind::PermissionDenied;
    assert!(refused(File::open(folder.join("libraries/libcuda.so.1")).map(drop)));
    assert!(refused(fs::create_dir(folder.join("kernels"))));
    assert!(refused(File::open("/etc/ld.so.cache").map(drop)));
    assert!(refused(fs::read_dir("/usr/lib").map(drop)));
}

fn with_a_gpu_in_the_plan_its_libraries_open_and_nothing_else_does() {
    assert_played("with-gpu");
}

fn with_gpu(folder: &Path) {
    let plan = ConfinementPlan { gpu: true, ..plan(folder, Profile::Strict) };
    let enforcement = enforce(&plan).unwrap();
    assert_eq!(enforcement.level, EnforcementLevel::Full);
    assert_eq!(fs::read(folder.join("libraries/libcuda.so.1")).unwrap(), b"code");
    fs::write(folder.join("kernels/compiled"), b"kernel").unwrap();
    File::open("/etc/ld.so.cache").unwrap();
    assert!(fs::write(folder.join("libraries/other.so"), b"").is_err());
    assert!(File::open(folder.join("secret/tau.jsonl")).is_err());
    let report = probe(&plan, &enforcement);
    assert!(report.probes.iter().all(|probe| probe.refused), "{:?}", report.probes);
}

fn a_secret_among_the_libraries_of_a_gpu_is_refused() {
    assert_played("gpu-overlap");
}

fn gpu_overlap(folder: &Path) {
    let secret = folder.join("libraries/libcuda.so.1");
    let stage = plan(folder, Profile::Strict);
    let plan = ConfinementPlan { gpu: true, must_not_read: vec![secret], ..stage };
    let error = enforce(&plan).unwrap_err();
    assert!(matches!(error, ConfineError::Plan(PlanError::Overlap { .. })), "{error}");
}
