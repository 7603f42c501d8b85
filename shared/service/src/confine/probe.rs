//! The self-test: a fresh thread tries what is forbidden and notes the kernel's answer.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use seal_protocol::{ConfinementReport, Enforcement, Probe};

use super::plan::ConfinementPlan;
use super::process;
use crate::endpoint::Endpoint;

/// Where nothing is there to be protected, no refusal can be shown.
const ABSENT: &str = "absent, proves nothing";
const MPTCP: i32 = 262;
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// Tries, from a new thread of this process, everything the plan forbids.
///
/// A path that does not exist is reported as not refused, with an outcome that says so.
pub fn probe(plan: &ConfinementPlan, enforcement: &Enforcement) -> ConfinementReport {
    let probes = std::thread::scope(|scope| {
        let tried = scope.spawn(|| attempts(plan)).join();
        tried.unwrap_or_else(|_| vec![thread_died()])
    });
    ConfinementReport { enforcement: enforcement.clone(), probes }
}

/// Whether a probe speaks for confinement or at least not against it.
pub(super) fn excused(probe: &Probe) -> bool {
    probe.refused || probe.outcome == ABSENT
}

fn attempts(plan: &ConfinementPlan) -> Vec<Probe> {
    let decoy = plan.decoy();
    let mut probes = vec![
        noted("read the decoy".to_owned(), File::open(&decoy)),
        noted("write the decoy".to_owned(), OpenOptions::new().append(true).open(&decoy)),
    ];
    probes.extend(plan.must_not_read.iter().map(|path| read(path)));
    probes.extend(plan.must_not_connect.iter().map(connect));
    probes.push(match plan.connect_ports.as_slice() {
        [] => made("TCP", libc::AF_INET, libc::SOCK_STREAM, 0),
        open => connect(&another_port(open)),
    });
    probes.extend(sockets());
    probes.extend(programs());
    probes.extend(parent());
    probes
}

fn read(path: &Path) -> Probe {
    let attempt = format!("read `{}`", path.display());
    match std::fs::metadata(path) {
        Ok(there) if there.is_dir() => noted(attempt, std::fs::read_dir(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Probe { attempt, refused: false, outcome: ABSENT.to_owned() }
        }
        _ => noted(attempt, File::open(path)),
    }
}

fn connect(peer: &Endpoint) -> Probe {
    let tried = match peer {
        Endpoint::Unix(path) => UnixStream::connect(path).map(drop),
        Endpoint::Tcp(address) => TcpStream::connect_timeout(address, CONNECT_LIMIT).map(drop),
        Endpoint::Tls(peer) => {
            let address = address_of(peer.host(), peer.port());
            TcpStream::connect_timeout(&address, CONNECT_LIMIT).map(drop)
        }
    };
    noted(format!("connect `{peer}`"), tried)
}

/// The kernel knows ports and no names, and a confined process cannot look one up: for a name, this
/// machine's own address stands in.
fn address_of(host: &str, port: u16) -> SocketAddr {
    (host.parse().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), port).into()
}

/// A port of this machine that is not open to the role: the kernel must refuse before it looks
/// whether anybody listens.
fn another_port(open: &[u16]) -> Endpoint {
    let port = (1..=u16::MAX).find(|port| !open.contains(port));
    Endpoint::Tcp((Ipv4Addr::LOCALHOST, port.unwrap_or_default()).into())
}

fn made(name: &str, family: i32, kind: i32, protocol: i32) -> Probe {
    noted(format!("make a {name} socket"), process::socket(family, kind, protocol))
}

fn sockets() -> [Probe; 3] {
    let ip = libc::AF_INET;
    [
        made("UDP", ip, libc::SOCK_DGRAM, 0),
        made("MPTCP", ip, libc::SOCK_STREAM, MPTCP),
        made("unix", libc::AF_UNIX, libc::SOCK_STREAM, 0),
    ]
}

fn programs() -> [Probe; 2] {
    let mut harmless = Command::new("/bin/true");
    let harmless = harmless.stdin(Stdio::null()).stdout(Stdio::null()).status();
    [
        noted("run `/bin/true`".to_owned(), harmless),
        noted("exec in place".to_owned(), process::exec_nothing()),
    ]
}

/// Without a parent in sight (a container's first process) there is nobody to signal.
fn parent() -> Option<Probe> {
    let parent = std::os::unix::process::parent_id();
    (parent > 0).then(|| noted("signal the parent".to_owned(), process::could_signal(parent)))
}

fn noted<T>(attempt: String, tried: io::Result<T>) -> Probe {
    let (refused, outcome) = match tried {
        Ok(_) => (false, "succeeded".to_owned()),
        Err(error) => (is_refusal(&error), name_of(&error)),
    };
    Probe { attempt, refused, outcome }
}

fn is_refusal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM))
}

fn name_of(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EACCES) => "EACCES".to_owned(),
        Some(libc::EPERM) => "EPERM".to_owned(),
        Some(libc::ENOENT) => "ENOENT".to_owned(),
        Some(libc::ECONNREFUSED) => "ECONNREFUSED".to_owned(),
        Some(libc::EAFNOSUPPORT) => "EAFNOSUPPORT".to_owned(),
        Some(libc::EPROTONOSUPPORT) => "EPROTONOSUPPORT".to_owned(),
        Some(other) => format!("errno {other}"),
        None => error.to_string(),
    }
}

fn thread_died() -> Probe {
    Probe {
        attempt: "run the self-test".to_owned(),
        refused: false,
        outcome: "its thread died".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernels_refusal_counts_as_refused() {
        let probe = |errno| noted::<()>(String::new(), Err(io::Error::from_raw_os_error(errno)));
        assert!(probe(libc::EACCES).refused && probe(libc::EPERM).refused);
        for other in [libc::ENOENT, libc::ECONNREFUSED, libc::EPROTONOSUPPORT] {
            assert!(!probe(other).refused && !excused(&probe(other)));
        }
        assert!(!noted(String::new(), Ok(())).refused);
    }

    #[test]
    fn a_path_that_is_not_there_proves_nothing_and_says_so() {
        let probe = read(Path::new("/no/such/secret"));
        assert!(!probe.refused && excused(&probe));
        assert_eq!(probe.outcome, "absent, proves nothing");
    }
}
