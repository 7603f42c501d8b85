#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::{Value, json};

use super::*;

const OK: &str = "200 OK";

/// A daemon of few words: answers one connection after the other as scripted, then is gone.
fn scripted(answers: Vec<(&'static str, Value)>) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = Endpoint::Tcp(listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut heard = [0; 4096];
            let _ = stream.read(&mut heard).unwrap();
            let body = body.to_string();
            let length = body.len();
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
        }
    });
    Client::new(&endpoint)
}

fn job() -> Digest {
    Digest::from_bytes([1; 32])
}

#[tokio::test]
async fn a_job_is_followed_to_its_result_and_progress_is_told_once_per_change() {
    let client = scripted(vec![
        (OK, json!({ "state": "queued" })),
        (OK, json!({ "state": "running", "done": 1, "total": 3 })),
        (OK, json!({ "state": "running", "done": 1, "total": 3 })),
        (OK, json!({ "state": "running", "done": 2, "total": 3 })),
        (OK, json!({ "state": "done", "result": 7 })),
    ]);
    let mut told = Vec::new();
    let tell = |done, total| told.push((done, total));
    let result: u64 = client.wait_job(&job(), Duration::from_secs(60), tell).await.unwrap();
    assert_eq!((result, told), (7, vec![(1, 3), (2, 3)]));
}

#[tokio::test]
async fn a_failed_job_gives_the_workers_reason() {
    let error = json!({ "code": "base_differs", "message": "Another base." });
    let client = scripted(vec![(OK, json!({ "state": "failed", "error": error }))]);
    let failed = client.wait_job::<Value>(&job(), Duration::from_secs(60), |_, _| {}).await;
    let Err(ClientError::JobFailed { body, .. }) = failed else {
        panic!("{failed:?}");
    };
    assert_eq!(body.code, "base_differs");
}

#[tokio::test]
async fn a_job_that_never_ends_is_given_up_at_its_limit() {
    let client = scripted(vec![(OK, json!({ "state": "queued" }))]);
    let given_up = client.wait_job::<Value>(&job(), Duration::ZERO, |_, _| {}).await;
    assert!(matches!(given_up, Err(ClientError::Timeout { .. })), "{given_up:?}");
}

#[tokio::test]
async fn a_job_that_goes_on_is_waited_for_beyond_that() {
    let limit = Duration::from_secs(1);
    let running = |done: u64| (OK, json!({ "state": "running", "done": done, "total": 99 }));
    let answers = (1..12).map(running).chain([(OK, json!({ "state": "done", "result": 7 }))]);
    let client = scripted(answers.collect());
    let begun = Instant::now();
    let result: u64 = client.wait_job(&job(), limit, |_, _| {}).await.unwrap();
    assert_eq!(result, 7);
    assert!(begun.elapsed() > limit, "the pauses alone are longer");
}

#[tokio::test]
async fn a_job_counts_as_done_only_where_its_result_is_there() {
    let done = |status, body| async move { scripted(vec![(status, body)]).has_done("a", &1).await };
    assert!(done(OK, json!({ "state": "done", "result": 7 })).await.unwrap());
    assert!(!done(OK, json!({ "state": "queued" })).await.unwrap());
    let unknown = json!({ "code": "unknown_job", "message": "No." });
    assert!(!done("404 Not Found", unknown).await.unwrap());
    let broken = json!({ "code": "storage_failed", "message": "The disk." });
    assert!(done("500 Oops", broken).await.is_err());
}

#[tokio::test]
async fn a_refusal_keeps_status_and_code() {
    let body = json!({ "code": "verdict_expired", "message": "Too old." });
    let refused = scripted(vec![("403 Forbidden", body)]).get::<Value>("/").await;
    let Err(ClientError::Refused { status, body }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((status, body.code.as_str()), (403, "verdict_expired"));
}

#[tokio::test]
async fn a_stranger_at_the_port_is_told_apart_from_a_daemon() {
    for answer in [(OK, json!("hello")), ("500 Oops", json!([1, 2]))] {
        let odd = scripted(vec![answer]).get::<JobAccepted>("/").await;
        assert!(matches!(odd, Err(ClientError::Protocol { .. })), "{odd:?}");
    }
}

#[tokio::test]
async fn a_daemon_that_is_not_there_is_named_with_the_mend() {
    let endpoint: Endpoint = "unix:/no/such/daemon.sock".parse().unwrap();
    let error = Client::new(&endpoint).get::<Value>("/").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "no daemon answers at `unix:/no/such/daemon.sock`; start it, or correct the endpoint in the config"
    );
}

#[tokio::test]
async fn a_daemon_that_dies_in_the_middle_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client::new(&Endpoint::Tcp(listener.local_addr().unwrap()));
    std::thread::spawn(move || drop(listener.accept().unwrap()));
    let died = client.get::<Value>("/").await;
    assert!(matches!(died, Err(ClientError::Unreachable { .. })), "{died:?}");
}

#[tokio::test]
async fn a_silent_daemon_is_given_up_at_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client::new(&Endpoint::Tcp(listener.local_addr().unwrap()));
    let silent = client.with_deadline(Duration::from_millis(1)).get::<Value>("/").await;
    assert!(matches!(silent, Err(ClientError::Timeout { .. })), "{silent:?}");
}

#[tokio::test]
async fn a_busy_daemon_is_asked_again_until_the_deadline() {
    let later = || json!({ "code": "busy", "message": "Later." });
    let answers = vec![
        ("503 Service Unavailable\r\nretry-after: 0", later()),
        ("429 Too Many Requests\r\nretry-after: 0", later()),
        (OK, json!(7)),
    ];
    assert_eq!(scripted(answers).get::<u64>("/").await.unwrap(), 7);

    // A pause that the deadline leaves no time for is not begun.
    let much_later = scripted(vec![("503 Service Unavailable\r\nretry-after: 9", later())]);
    let refused = much_later.with_deadline(Duration::from_secs(8)).get::<u64>("/").await;
    assert!(matches!(refused, Err(ClientError::Refused { status: 503, .. })), "{refused:?}");
}

#[tokio::test]
async fn another_host_is_not_called_without_a_certificate() {
    let endpoint: Endpoint = "tls:student.seal.test:7401".parse().unwrap();
    let error = Client::new(&endpoint).get::<Value>("/").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "`tls:student.seal.test:7401` asks for a certificate; add `[tls]` to run.toml (`seal tls issue` makes one)"
    );
}
