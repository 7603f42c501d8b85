//! The one shape of a failed answer.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use seal_protocol::ErrorBody;

use crate::jobs::JobError;

/// A failed request: status and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// 4xx for the peer's faults, 5xx for ours.
    pub status: StatusCode,
    /// What the peer reads.
    pub body: ErrorBody,
}

impl ApiError {
    /// `code` in snake case; `message` names the thing and the mend.
    pub fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let body = ErrorBody { code: code.to_owned(), message: message.into() };
        Self { status, body }
    }

    /// Our own fault: the chain of causes goes to the log, the peer learns only that it happened.
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error.chain = %chain(error), "request failed by a fault of this daemon");
        let message = "This daemon could not do its part; its log tells why.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

/// A refusal by the worker: 422, but 500 and 503 for what is not the peer's to mend.
impl From<ErrorBody> for ApiError {
    fn from(body: ErrorBody) -> Self {
        let status = match body.code.as_str() {
            "internal" | "worker_panicked" => StatusCode::INTERNAL_SERVER_ERROR,
            "shutting_down" => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self { status, body }
    }
}

impl From<JobError> for ApiError {
    fn from(error: JobError) -> Self {
        Self::internal(&error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let later = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS];
        let later = later.contains(&self.status);
        let mut response = (self.status, Json(self.body)).into_response();
        if later {
            response.headers_mut().insert(RETRY_AFTER, axum::http::HeaderValue::from_static("1"));
        }
        response
    }
}
