//! What the double answers.

use axum::body::Body;
use axum::http::{HeaderName, Response, StatusCode, header};
use futures_util::{StreamExt, stream};
use std::io;

use super::{Behaviour, COMMIT, Fault, Seen, etag, is_large};

type Answer = Response<Body>;

pub(super) fn answer(hub: &mut Behaviour, seen: &Seen) -> Answer {
    if let Some(etag) = seen.path.strip_prefix("/store/") {
        let file = hub.files.iter().find(|(name, content)| super::etag(name, content) == etag);
        let Some((name, content)) = file.map(|(n, c)| (n.clone(), c.clone())) else {
            return refusal(404, None, "no such content");
        };
        // A store knows nothing of repositories.
        return bytes(hub, seen, &name, &content, Response::builder());
    }
    let Some((name, file)) = seen.path.split_once("/resolve/") else { return api(hub, seen) };
    let file = file.split_once('/').map_or("", |(_, file)| file);
    if name != "/org/m" {
        return refusal(404, Some("RepoNotFound"), "Repository not found");
    }
    if let Some((status, code)) = hub.refuse_files {
        return refusal(status, code, "no access to files");
    }
    let Some(content) = hub.files.get(file).cloned() else {
        return refusal(404, Some("EntryNotFound"), "Entry not found");
    };
    let name = etag(file, &content);
    let mut builder = Response::builder();
    let linked = is_large(file);
    let headers = [
        ("x-repo-commit", COMMIT.to_owned()),
        (if linked { "x-linked-etag" } else { "etag" }, format!("\"{name}\"")),
        ("x-linked-size", content.len().to_string()),
    ];
    for (key, value) in headers {
        builder = builder.header(key, hub.headers.get(key).unwrap_or(&value));
    }
    match hub.store.clone().filter(|_| linked) {
        Some(store) => builder
            .status(StatusCode::FOUND)
            .header(header::LOCATION, format!("{store}/store/{name}?Signature=abc"))
            .body(Body::empty())
            .unwrap(),
        None => bytes(hub, seen, file, &content, builder),
    }
}

/// The bytes of a file, or what becomes of them.
fn bytes(
    hub: &mut Behaviour,
    seen: &Seen,
    file: &str,
    content: &[u8],
    builder: axum::http::response::Builder,
) -> Answer {
    if seen.method == "HEAD" {
        let length = content.len().to_string();
        return builder.header(header::CONTENT_LENGTH, length).body(Body::empty()).unwrap();
    }
    let fault = hub.faults.get_mut(file).and_then(Vec::pop);
    let start = seen.range.as_deref().map_or(0, |range| {
        range.trim_start_matches("bytes=").split('-').next().unwrap().parse().unwrap()
    });
    let (start, status) = match (&fault, start) {
        (Some(Fault::NoRange), _) | (_, 0) => (0, StatusCode::OK),
        (_, start) => (start, StatusCode::PARTIAL_CONTENT),
    };
    let mut rest = content[start..].to_vec();
    let mut builder = builder.status(status).header(header::CONTENT_LENGTH, rest.len());
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {start}-{}/{}", content.len() - 1, content.len());
        builder = builder.header(header::CONTENT_RANGE, range);
    }
    match fault {
        Some(Fault::Status(status, code)) => refusal(status, code, "not now"),
        Some(Fault::Cut(after)) => {
            rest.truncate(after);
            let broken = async {
                // First the bytes must have left.
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                Err(io::Error::other("cut by the test"))
            };
            let pieces = stream::iter([Ok(rest)]).chain(stream::once(broken));
            builder.body(Body::from_stream(pieces)).unwrap()
        }
        Some(Fault::Silent) => {
            let nothing = stream::pending::<io::Result<Vec<u8>>>();
            builder.body(Body::from_stream(nothing.boxed())).unwrap()
        }
        Some(Fault::Wrong) => {
            rest[0] ^= 1;
            builder.body(rest.into()).unwrap()
        }
        Some(Fault::NoRange) | None => builder.body(rest.into()).unwrap(),
    }
}

/// Listings: what a revision is, and what it has.
fn api(hub: &Behaviour, seen: &Seen) -> Answer {
    if let Some((status, code, message)) = &hub.refuse {
        let own = seen.authorization.as_deref().filter(|_| hub.echoes).unwrap_or_default();
        return refusal(*status, *code, &format!("{message}{own}"));
    }
    let Some(rest) = seen.path.strip_prefix("/api/models/org/m/") else {
        return refusal(404, Some("RepoNotFound"), "Repository not found");
    };
    let (what, revision) = rest.split_once('/').unwrap();
    let known = ["main", "v1", "refs%2Fpr%2F1", COMMIT];
    if !known.contains(&revision) {
        return refusal(404, Some("RevisionNotFound"), "Invalid rev id");
    }
    let body = match what {
        "revision" => {
            let siblings: Vec<_> =
                hub.files.keys().map(|n| format!("{{\"rfilename\":{n:?}}}")).collect();
            let commit = hub.commit.as_deref().unwrap_or(COMMIT);
            format!("{{\"id\":\"org/m\",\"sha\":{commit:?},\"siblings\":[{}]}}", siblings.join(","))
        }
        "tree" => {
            let files: Vec<_> = hub.files.iter().map(|(n, c)| entry(n, c)).collect();
            format!("[{}]", files.join(","))
        }
        other => panic!("nobody asks for {other}"),
    };
    Response::builder().header(header::CONTENT_TYPE, "application/json").body(body.into()).unwrap()
}

/// A file in the tree, as Python asks for it.
fn entry(name: &str, content: &[u8]) -> String {
    let (tag, size) = (etag(name, content), content.len());
    let lfs = match is_large(name) {
        true => format!(",\"lfs\":{{\"oid\":\"{tag}\",\"size\":{size},\"pointerSize\":134}}"),
        false => String::new(),
    };
    let oid = if is_large(name) { "f".repeat(40) } else { tag };
    format!("{{\"type\":\"file\",\"path\":{name:?},\"size\":{size},\"oid\":\"{oid}\"{lfs}}}")
}

fn refusal(status: u16, code: Option<&'static str>, message: &str) -> Answer {
    let mut builder = Response::builder().status(status);
    if let Some(code) = code {
        builder = builder.header(HeaderName::from_static("x-error-code"), code);
    }
    if status == 429 {
        builder = builder.header(header::RETRY_AFTER, "7");
    }
    let message: String = message.chars().filter(|c| !c.is_control()).collect();
    builder.header("x-error-message", &message).body(Body::from(message)).unwrap()
}
