//! Peers that do not keep to the rules: bytes, silence, haste, and daemons that are none.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};
use seal_protocol::{Health, Role, path};

use crate::hosts::{Hosts, Pair};

/// Longest that any of these peers may be borne.
const SOON: Duration = Duration::from_secs(8);

// ---- a client without manners ----

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Shows what it is given, whether it is valid or not.
fn raw(hosts: &Hosts, role: Role, pair: Option<&Pair>) -> Tls {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(hosts.path("tls/ca.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let config = match pair {
        Some(pair) => config.with_client_auth_cert(vec![leaf(pair)], key(pair)).unwrap(),
        None => config.with_no_client_auth(),
    };
    let name = ServerName::try_from(hosts.at(role).0).unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    StreamOwned::new(connection, hosts.connect(role))
}

fn leaf(pair: &Pair) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(&pair.certificate).unwrap()
}

fn key(pair: &Pair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_file(&pair.key).unwrap()
}

/// One answer in full, or why there is none.
pub fn get(hosts: &Hosts, role: Role, pair: Option<&Pair>, at: &str) -> Result<String, String> {
    exchange(
        hosts,
        role,
        pair,
        &format!("GET {at} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"),
    )
}

fn exchange(hosts: &Hosts, role: Role, pair: Option<&Pair>, sent: &str) -> Result<String, String> {
    let mut stream = raw(hosts, role, pair);
    stream.write_all(sent.as_bytes()).map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    // Some close without a farewell, which is nothing to us once there is an answer.
    let ended = stream.read_to_end(&mut answer);
    match (answer.is_empty(), ended) {
        (false, _) => Ok(String::from_utf8_lossy(&answer).into_owned()),
        (true, Err(error)) => Err(error.to_string()),
        (true, Ok(_)) => Err("closed without a word".to_owned()),
    }
}

/// How long the other end takes to close, and what it says before.
fn until_closed(mut stream: impl Read) -> (Vec<u8>, Duration) {
    let begun = Instant::now();
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard);
    assert!(begun.elapsed() < SOON, "still open after {:?}", begun.elapsed());
    (heard, begun.elapsed())
}

// ---- a server that is no daemon ----

pub struct Impostor {
    pub endpoint: String,
    heard: Arc<AtomicBool>,
}

/// Answers at the student's address with the certificate of `pair`, once.
pub fn impostor(hosts: &Hosts, pair: &Pair) -> Impostor {
    let listener = TcpListener::bind((hosts.at(Role::Student).0, 0)).unwrap();
    let endpoint = format!("tls:{}", listener.local_addr().unwrap());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf(pair)], key(pair))
        .unwrap();
    let heard = Arc::new(AtomicBool::new(false));
    let tell = heard.clone();
    std::thread::spawn(move || {
        let Ok((stream, _)) = listener.accept() else { return };
        let connection = ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = StreamOwned::new(connection, stream);
        let mut request = [0; 1];
        tell.store(stream.read(&mut request).is_ok_and(|read| read > 0), Ordering::SeqCst);
    });
    Impostor { endpoint, heard }
}

impl Impostor {
    pub fn heard(&self) -> bool {
        // Whoever called has its answer or its error by now, and so has the thread.
        std::thread::sleep(Duration::from_millis(200));
        self.heard.load(Ordering::SeqCst)
    }
}

// ---- the tests ----

/// A greeting of TLS 1.2 and no later one: no `supported_versions`.
fn greeting_of_tls_1_2() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0xc0, 0x2b, 1, 0]);
    let extensions = [0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 4, 0, 2, 4, 3];
    body.extend([0, extensions.len() as u8]);
    body.extend(extensions);
    let mut hello = vec![22, 3, 1, 0, body.len() as u8 + 4, 1, 0, 0, body.len() as u8];
    hello.extend(body);
    hello
}

#[tokio::test]
async fn garbage_plain_http_and_old_tls_end_at_once_and_the_daemon_lives() {
    let mut hosts = Hosts::new();
    hosts.start(Role::Student).await;
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let garbage: Vec<u8> = (0..20_000).map(|_| noise()).collect();
    let mut broken_hello = greeting_of_tls_1_2();
    broken_hello[43] = 0xff;
    for (what, bytes) in [
        ("garbage", garbage),
        ("plain HTTP", b"GET /v1/health HTTP/1.1\r\nhost: x\r\n\r\n".to_vec()),
        ("a record that claims 64 KiB", vec![22, 3, 1, 0xff, 0xff, 1, 2, 3]),
        ("application data first", vec![23, 3, 3, 0, 4, 1, 2, 3, 4]),
        ("a broken greeting", broken_hello),
        ("TLS 1.2", greeting_of_tls_1_2()),
    ] {
        let mut stream = hosts.connect(Role::Student);
        stream.write_all(&bytes).unwrap();
        let (heard, took) = until_closed(stream);
        println!("{what}: closed after {took:?} with {heard:?}");
        assert!(!heard.starts_with(b"HTTP"), "{what}");
        if what == "TLS 1.2" {
            assert_eq!(heard, [21, 3, 3, 0, 2, 2, 70], "the alert `protocol_version`");
        }
    }
    let alive = hosts.health(Role::Student).await.unwrap();
    assert_eq!(alive.pid, hosts.pid(Role::Student));
}

#[tokio::test]
async fn silent_and_slow_peers_are_cut_off_in_time() {
    let mut hosts = Hosts::new();
    hosts.reconfigure(Role::Student, "handshake_timeout_s = 5", "handshake_timeout_s = 1");
    hosts.reconfigure(Role::Student, "header_timeout_s = 10", "header_timeout_s = 2");
    hosts.reconfigure(Role::Student, "request_timeout_s = 120", "request_timeout_s = 2");
    hosts.start(Role::Student).await;
    let operator = hosts.pair("operator");

    until_closed(hosts.connect(Role::Student));
    let mut half_open = hosts.connect(Role::Student);
    half_open.write_all(&greeting_of_tls_1_2()[..20]).unwrap();
    until_closed(half_open);
    // A byte now and then does not buy time.
    let mut drop_by_drop = hosts.connect(Role::Student);
    let begun = Instant::now();
    for byte in greeting_of_tls_1_2().into_iter().cycle() {
        std::thread::sleep(Duration::from_millis(100));
        if drop_by_drop.write_all(&[byte]).is_err() || begun.elapsed() > SOON {
            break;
        }
    }
    assert!(begun.elapsed() < SOON);

    // With a certificate, and then nothing, half a head, or half a body.
    let mut silent = raw(&hosts, Role::Student, Some(&operator));
    silent.flush().unwrap();
    until_closed(silent);
    let mut slow_head = raw(&hosts, Role::Student, Some(&operator));
    slow_head.write_all(b"GET /v1/health HTTP/1.1\r\nhost: x\r\n").unwrap();
    until_closed(slow_head);
    let mut slow_body = raw(&hosts, Role::Student, Some(&operator));
    let head = "POST /v1/rollbacks HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{";
    slow_body.write_all(head.as_bytes()).unwrap();
    let (answer, _) = until_closed(slow_body);
    assert!(String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 504"), "{answer:?}");

    // An idle connection after an answer ends too.
    let mut idle = raw(&hosts, Role::Student, Some(&operator));
    idle.write_all(b"GET /v1/health HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let (answer, _) = until_closed(idle);
    assert!(String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 200"), "{answer:?}");
    hosts.health(Role::Student).await.unwrap();
}

#[tokio::test]
async fn half_open_handshakes_of_one_address_do_not_keep_others_out() {
    let mut hosts = Hosts::new();
    hosts.start(Role::Student).await;
    let (host, port) = hosts.at(Role::Student);
    let to = format!("{host}:{port}").parse().unwrap();
    let mut flood = Vec::new();
    for _ in 0..64 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.9:0".parse().unwrap()).unwrap();
        flood.push(socket.connect(to).await.unwrap());
    }
    let begun = Instant::now();
    hosts.health(Role::Student).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    // 16 may try, the others were closed at once.
    let mut closed = 0;
    for stream in &mut flood {
        let mut byte = [0];
        let read = tokio::io::AsyncReadExt::read(stream, &mut byte);
        if tokio::time::timeout(Duration::from_millis(50), read).await.is_ok() {
            closed += 1;
        }
    }
    assert!(closed >= 48, "only {closed} of 64 were closed");
    let log = std::fs::read_to_string(hosts.log(Role::Student)).unwrap();
    assert!(log.contains("too many handshakes are under way"), "{log}");
    assert!(log.matches("refused a connection").count() < 16, "a flood floods no log");
}

#[tokio::test]
async fn a_body_one_byte_too_long_is_refused_and_the_longest_is_read() {
    let mut hosts = Hosts::new();
    hosts.reconfigure(Role::Student, "json_bytes = 1_048_576 ", "json_bytes = 2048 ");
    hosts.reconfigure(Role::Auditor, "file_bytes = 1_073_741_824 ", "file_bytes = 1000 ");
    hosts.start(Role::Student).await;
    hosts.start(Role::Auditor).await;
    let operator = hosts.pair("operator");
    let undo = |length: usize| {
        let body = format!("{:<length$}", r#"{"version":"base","reason":"x"}"#);
        let head = format!(
            "POST /v1/rollbacks HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        exchange(&hosts, Role::Student, Some(&operator), &(head + &body)).unwrap()
    };
    // It was read, and there is nothing to undo.
    let longest = undo(2048);
    assert!(longest.starts_with("HTTP/1.1 409") && longest.contains("already_active"), "{longest}");
    let long = undo(2049);
    assert!(long.starts_with("HTTP/1.1 413") && long.contains("body_too_large"), "{long}");

    let conductor = hosts.client(Role::Auditor, "conductor");
    for (length, kept) in [(1000, true), (1001, false)] {
        let bytes = vec![7; length];
        let at = path::ADAPTER_FILE.replace("{sha256}", &seal_trust::sha256(&bytes).to_string());
        let put = conductor.put_bytes(&at, bytes).await;
        assert_eq!(put.is_ok(), kept, "{length}: {put:?}");
        assert!(kept || put.unwrap_err().to_string().contains("body_too_large"));
    }
}

#[tokio::test]
async fn haste_is_told_when_to_come_again_and_our_client_does() {
    let mut hosts = Hosts::new();
    hosts.reconfigure(Role::Student, "requests_per_s = 200 ", "requests_per_s = 5 ");
    hosts.reconfigure(Role::Student, "concurrent_requests = 64 ", "concurrent_requests = 1 ");
    hosts.start(Role::Student).await;
    let operator = hosts.pair("operator");
    let asked: Vec<String> = (0..20)
        .map(|_| get(&hosts, Role::Student, Some(&operator), path::HEALTH).unwrap())
        .collect();
    let refused: Vec<&String> =
        asked.iter().filter(|answer| answer.starts_with("HTTP/1.1 429")).collect();
    assert!((1..20).contains(&refused.len()), "{} of 20", refused.len());
    assert!(refused.iter().all(|answer| answer.contains("retry-after: 1")), "{refused:?}");
    // It waits as it is told to.
    let patient = hosts.client(Role::Student, "operator");
    for _ in 0..12 {
        patient.get::<Health>(path::HEALTH).await.unwrap();
    }

    // One slow request is at work, so there is no room for another.
    let conductor = hosts.pair("conductor");
    let mut slow = raw(&hosts, Role::Student, Some(&conductor));
    slow.write_all(b"POST /v1/promotions HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{")
        .unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    let busy = get(&hosts, Role::Student, Some(&operator), path::HEALTH).unwrap();
    assert!(busy.starts_with("HTTP/1.1 503") && busy.contains("retry-after: 1"), "{busy}");
    drop(slow);
    patient.get::<Health>(path::HEALTH).await.unwrap();
}
