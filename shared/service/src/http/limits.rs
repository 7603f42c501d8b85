//! What bounds every request: size, time, number.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;

use super::rate::Rates;
use super::{ApiError, Peer};

/// Bounds on requests, `[limits]` of a daemon's config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Longest JSON body, in bytes.
    pub json_bytes: usize,
    /// Longest body of a request for a job, in bytes; it may carry many signed messages.
    pub job_bytes: usize,
    /// Longest uploaded file, in bytes.
    pub file_bytes: u64,
    /// Longest time for one request, in seconds. Long work is a job and has no such limit.
    pub request_timeout_s: u64,
    /// Requests at work at the same time; more are answered 503.
    pub concurrent_requests: usize,
    /// Requests a second of one certificate's bearer; more are answered 429. Not for this machine.
    pub requests_per_s: u32,
    /// Connections at the same time; more wait until one ends.
    pub connections: usize,
    /// TLS handshakes under way from one address; more are closed.
    pub handshakes_per_address: usize,
    /// Longest time for a TLS handshake, in seconds.
    pub handshake_timeout_s: u64,
    /// Longest time until a request's head is there, in seconds; an idle connection ends with it too.
    pub header_timeout_s: u64,
    /// Longest time in which a peer may take nothing of an answer, in seconds.
    pub stalled_answer_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            json_bytes: 1 << 20,
            job_bytes: 64 << 20,
            file_bytes: 1 << 30,
            request_timeout_s: 120,
            concurrent_requests: 64,
            requests_per_s: 200,
            connections: 256,
            handshakes_per_address: 16,
            handshake_timeout_s: 5,
            header_timeout_s: 10,
            stalled_answer_s: 30,
        }
    }
}

#[derive(Clone)]
struct Gate {
    places: Arc<Semaphore>,
    deadline: Duration,
    rates: Arc<Rates>,
}

/// Puts every route of `router` under `limits` and gives unknown paths an [`ApiError`].
pub fn guard(router: Router, limits: &Limits) -> Router {
    let gate = Gate {
        places: Arc::new(Semaphore::new(limits.concurrent_requests)),
        deadline: Duration::from_secs(limits.request_timeout_s),
        rates: Arc::new(Rates::new(limits.requests_per_s)),
    };
    router
        .fallback(unknown_path)
        .method_not_allowed_fallback(other_method)
        .layer(DefaultBodyLimit::max(limits.json_bytes))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(gate, admit))
}

async fn admit(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    if let Some(Peer::Named(caller)) = request.extensions().get()
        && !gate.rates.take(caller, Instant::now())
    {
        return too_many().into_response();
    }
    let Ok(_place) = gate.places.try_acquire() else {
        return busy().into_response();
    };
    let answer = tokio::time::timeout(gate.deadline, next.run(request)).await;
    answer.unwrap_or_else(|_| too_slow().into_response())
}

fn busy() -> ApiError {
    let message = "This daemon is at work on as many requests as it takes; try again in a second.";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
}

fn too_many() -> ApiError {
    let message = "More requests a second than this daemon takes from one caller; try again in a second or raise `requests_per_s`.";
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message)
}

fn too_slow() -> ApiError {
    let message =
        "The request took longer than this daemon allows; try again or raise `request_timeout_s`.";
    ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timeout", message)
}

/// What the panic said stays here: it may quote the request.
fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    let message = "A defect of this daemon stopped the request; its log tells where.";
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message).into_response()
}

async fn unknown_path() -> ApiError {
    let message =
        "This daemon has no such path; look at its role and protocol version at `/v1/health`.";
    ApiError::new(StatusCode::NOT_FOUND, "unknown_path", message)
}

async fn other_method() -> ApiError {
    let message = "This path takes another method.";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "other_method", message)
}
