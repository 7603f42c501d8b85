//! Routes that start work and tell how far it is.

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use seal_protocol::{Digest, JobAccepted, JobStatus, path};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{ApiError, JsonBody};
use crate::jobs::JobRunner;

#[derive(Clone)]
struct Route {
    kind: &'static str,
    jobs: JobRunner,
}

/// `POST path`: queues a job of `kind` if the body parses as `T`; answers 202 with its id.
///
/// Takes bodies of up to `most_bytes`, since a request may carry many signed messages.
pub fn job_route<T>(path: &str, kind: &'static str, jobs: &JobRunner, most_bytes: usize) -> Router
where
    T: DeserializeOwned + Send + 'static,
{
    Router::new()
        .route(path, post(submit::<T>))
        .layer(DefaultBodyLimit::max(most_bytes))
        .with_state(Route { kind, jobs: jobs.clone() })
}

/// `POST path`: does short work of `kind` on the model thread and answers 200 with its result.
///
/// A refusal by the worker is 422, or what `status_of` says about its code.
pub fn call_route<T>(
    path: &str,
    kind: &'static str,
    jobs: &JobRunner,
    status_of: fn(code: &str) -> Option<StatusCode>,
) -> Router
where
    T: DeserializeOwned + Send + 'static,
{
    let answer = move |State(route): State<Route>, body: JsonBody<T>| async move {
        call(&route, body.bytes, status_of).await
    };
    Router::new().route(path, post(answer)).with_state(Route { kind, jobs: jobs.clone() })
}

/// `GET /v1/jobs/{id}`.
pub(crate) fn status_route(jobs: &JobRunner) -> Router {
    Router::new().route(path::JOB, get(status)).with_state(jobs.clone())
}

async fn submit<T: DeserializeOwned>(
    State(route): State<Route>,
    body: JsonBody<T>,
) -> Result<(StatusCode, Json<JobAccepted>), ApiError> {
    let job = blocking(move || route.jobs.submit(route.kind, &body.bytes)).await??;
    Ok((StatusCode::ACCEPTED, Json(JobAccepted { job })))
}

async fn call(
    route: &Route,
    body: Bytes,
    status_of: fn(&str) -> Option<StatusCode>,
) -> Result<Json<Value>, ApiError> {
    let answer = route.jobs.call(route.kind, body.into()).await;
    answer.map(Json).map_err(|refusal| {
        let status = status_of(&refusal.code);
        let general = ApiError::from(refusal);
        ApiError { status: status.unwrap_or(general.status), ..general }
    })
}

async fn status(
    State(jobs): State<JobRunner>,
    Path(id): Path<String>,
) -> Result<Json<JobStatus>, ApiError> {
    let id = digest(&id)?;
    let status = blocking(move || jobs.status(&id)).await??;
    status.map(Json).ok_or_else(|| unknown(&id))
}

pub(super) fn digest(text: &str) -> Result<Digest, ApiError> {
    let refuse = |error: seal_protocol::DigestError| {
        ApiError::new(StatusCode::BAD_REQUEST, "bad_digest", format!("In the path, {error}."))
    };
    text.parse().map_err(refuse)
}

/// Runs what waits for the disk beside the threads that serve.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| ApiError::internal(&error))
}

fn unknown(id: &Digest) -> ApiError {
    let message = format!("No job `{id}` was asked for here; submit it first.");
    ApiError::new(StatusCode::NOT_FOUND, "unknown_job", message)
}
