//! Ways out of a confined role, each tried from inside the running daemon, and `docs/CONFINEMENT.md`
//! held against the answers.
//!
//! A library is loaded into each daemon (`inside.rs`) and acts when the daemon has confined itself by its
//! own config under profile `strict`. The same is tried in a daemon with `profile = "off"`: what is
//! refused there, too, would show nothing.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod daemon;
mod page;

use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use common::Run;
use daemon::{Inside, Who};

/// What each attempt was answered, in the order in which they were made.
type Answers = Vec<(String, String)>;

/// The answer to one attempt.
fn answer_to<'a>(row: &str, answers: &'a Answers) -> Option<&'a str> {
    answers.iter().find(|(made, _)| made == row).map(|(_, answer)| answer.as_str())
}

#[test]
fn every_way_out_of_every_role_is_refused_or_named_as_not_closed() {
    let stage = Stage::new();
    let inside = Inside::build();
    let answers = Who::ALL.map(|who| (who, inside.answers(&stage, who, "strict")));
    let free = inside.answers(&stage, Who::Student, "off");
    stage.nobody_outside_heard_anything(free.len());

    for (row, _) in answers.iter().flat_map(|(_, answers)| answers) {
        let (same, known) = (answer_to(row, &free), page::proves_nothing_by_itself(row));
        let refused = same.is_some_and(page::is_refusal);
        assert!(!refused || known, "{row}: refused without confinement, too ({same:?})");
    }
    page::hold_against(&answers);
}

#[test]
fn a_thread_that_was_started_before_confinement_keeps_every_role_from_starting() {
    let stage = Stage::new();
    let inside = Inside::build();
    for who in Who::ALL {
        let told = inside.start_with_a_thread(&stage, who);
        assert!(told.contains("a thread was started before confinement"), "{who:?}: {told}");
    }
}

/// A run folder, and what is aimed at in it: `outside/` belongs to no role.
pub(crate) struct Stage {
    pub(crate) run: Run,
    /// TCP and UDP on one port, which nobody may reach.
    tcp: TcpListener,
    udp: UdpSocket,
    unix: UnixListener,
    named: UnixListener,
    /// The one port that a teacher with an API and a judge may reach, at two addresses of this machine.
    api: (TcpListener, TcpListener),
}

impl Stage {
    fn new() -> Self {
        let judge = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/judge");
        let run = Run::small(&["--contexts", "1", "--held-out", "0", "--judge", judge]);
        let outside = run.path("outside");
        std::fs::create_dir(&outside).unwrap();
        for file in ["secret", "mode"] {
            std::fs::write(outside.join(file), "of nobody's concern").unwrap();
        }
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        let api = TcpListener::bind("127.0.0.1:0").unwrap();
        let api_elsewhere =
            TcpListener::bind(("127.0.0.2", api.local_addr().unwrap().port())).unwrap();
        let name = SocketAddr::from_abstract_name(outside.as_os_str().as_encoded_bytes()).unwrap();
        Self {
            tcp,
            udp: UdpSocket::bind(("127.0.0.1", port)).unwrap(),
            unix: UnixListener::bind(outside.join("socket")).unwrap(),
            named: UnixListener::bind_addr(&name).unwrap(),
            api: (api, api_elsewhere),
            run,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.tcp.local_addr().unwrap().port()
    }

    pub(crate) fn api(&self) -> u16 {
        self.api.0.local_addr().unwrap().port()
    }

    /// Not by a confined role; by the daemon without confinement everybody was reached, so each
    /// listener can hear.
    fn nobody_outside_heard_anything(&self, tried: usize) {
        assert!(tried > 40, "only {tried} attempts without confinement");
        self.tcp.set_nonblocking(true).unwrap();
        let mut heard = 0;
        while let Ok((mut peer, _)) = self.tcp.accept() {
            peer.set_nonblocking(true).unwrap();
            let _ = peer.read(&mut [0; 8]);
            heard += 1;
        }
        // `connect` and `listen` aside: plain, MPTCP and three ways of TCP Fast Open, where the kernel
        // has them; once each.
        assert!((1..=5).contains(&heard), "{heard} TCP connections");
        let datagrams = |socket: &UdpSocket| {
            socket.set_nonblocking(true).unwrap();
            std::iter::from_fn(|| socket.recv(&mut [0; 8]).ok()).count()
        };
        assert_eq!(datagrams(&self.udp), 1);
        for listener in [&self.unix, &self.named] {
            listener.set_nonblocking(true).unwrap();
            assert_eq!(std::iter::from_fn(|| listener.accept().ok()).count(), 1);
        }
    }
}
