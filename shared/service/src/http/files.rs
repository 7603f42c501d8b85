//! Files by their digest: in as a stream that is hashed on its way, out hashed anew.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::routing::{get, put};
use http_body_util::BodyExt;
use seal_protocol::Digest;

use super::ApiError;
use super::body::too_large;
use super::jobs::{blocking, digest};
use crate::store::{ContentStore, Incoming, StoreError};

#[derive(Clone)]
struct Inbox {
    store: Arc<ContentStore>,
    most_bytes: u64,
}

/// `PUT path`, whose one parameter is a digest: keeps the body if its digest is that one.
///
/// 204 kept; 413 longer than `most_bytes`; 422 other bytes than declared; 507 disk full. A file is
/// under its name whole or not at all, and a repeated upload mends a damaged one.
pub fn put_file_route(path: &str, store: Arc<ContentStore>, most_bytes: u64) -> Router {
    Router::new()
        .route(path, put(receive))
        // The cap is ours to count: the stream never lies in memory.
        .layer(DefaultBodyLimit::disable())
        .with_state(Inbox { store, most_bytes })
}

/// `GET path`, whose one parameter is a digest: the bytes stored under it.
///
/// 404 not stored here; 500 damaged on disk.
pub fn get_file_route(path: &str, store: Arc<ContentStore>) -> Router {
    Router::new().route(path, get(send)).with_state(store)
}

async fn receive(
    State(inbox): State<Inbox>,
    Path(declared): Path<String>,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let declared = digest(&declared)?;
    let incoming = inbox.store.incoming().map_err(|error| unwritten(&error))?;
    let incoming = stream(body, incoming, inbox.most_bytes).await?;
    let kept = blocking(move || incoming.keep_if(&declared)).await?;
    match kept.map_err(|error| unwritten(&error))? {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(found) => Err(other_bytes(&declared, &found)),
    }
}

/// Pieces are small and go to the page cache, so they are written where they arrive.
async fn stream(
    mut body: Body,
    mut incoming: Incoming,
    most_bytes: u64,
) -> Result<Incoming, ApiError> {
    let mut left = most_bytes;
    while let Some(frame) = body.frame().await {
        let Ok(bytes) = frame.map_err(|_| broken_off())?.into_data() else {
            continue;
        };
        left = left.checked_sub(bytes.len() as u64).ok_or_else(too_large)?;
        incoming.write(&bytes).map_err(|error| unwritten(&error))?;
    }
    Ok(incoming)
}

async fn send(
    State(store): State<Arc<ContentStore>>,
    Path(wanted): Path<String>,
) -> Result<Vec<u8>, ApiError> {
    let wanted = digest(&wanted)?;
    let bytes = blocking(move || store.get(&wanted)).await?;
    bytes.map_err(|error| match error {
        StoreError::Missing { .. } => absent(&wanted),
        other => ApiError::internal(&other),
    })
}

fn absent(wanted: &Digest) -> ApiError {
    let message = format!("No file `{wanted}` is stored here; produce or upload it first.");
    ApiError::new(StatusCode::NOT_FOUND, "unknown_file", message)
}

fn other_bytes(declared: &Digest, found: &Digest) -> ApiError {
    let message =
        format!("The body has digest `{found}`, the path says `{declared}`; send the file again.");
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "digest_mismatch", message)
}

fn broken_off() -> ApiError {
    let message = "The upload broke off; send the file again.";
    ApiError::new(StatusCode::BAD_REQUEST, "body_unreadable", message)
}

fn unwritten(error: &io::Error) -> ApiError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            let message = "The disk of this daemon's state folder is full; make room and send the file again.";
            ApiError::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", message)
        }
        _ => ApiError::internal(error),
    }
}
