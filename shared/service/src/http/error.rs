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

    /// Our own fault: the chain of causes goes to the log, the peer learns only that it happened, and
    /// whether it was the disk, which somebody can mend.
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error.chain = %chain(error), "request failed by a fault of this daemon");
        let (code, message) = match causes(error).any(is_of_the_disk) {
            true => (
                "storage_failed",
                "The disk that holds this daemon's state folder refused; check its free space and \
                 health, then ask again. The daemon's log tells more.",
            ),
            false => ("internal", "This daemon could not do its part; its log tells why."),
        };
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, code, message)
    }
}

type Cause = dyn std::error::Error + 'static;

/// An error and all that is behind it.
fn causes(error: &Cause) -> impl Iterator<Item = &Cause> {
    std::iter::successors(Some(error), |cause| cause.source())
}

fn is_of_the_disk(cause: &Cause) -> bool {
    use rusqlite::ErrorCode::{
        CannotOpen, DatabaseCorrupt, DiskFull, NotADatabase, ReadOnly, SystemIoFailure,
    };
    let by_database =
        cause.downcast_ref::<rusqlite::Error>().and_then(|error| error.sqlite_error_code());
    let of_its_disk = by_database.is_some_and(|code| {
        matches!(
            code,
            SystemIoFailure | DiskFull | CannotOpen | ReadOnly | DatabaseCorrupt | NotADatabase
        )
    });
    of_its_disk || cause.is::<std::io::Error>()
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let behind = causes(error).skip(1);
    behind.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(error: &Cause) -> String {
        ApiError::internal(error).body.code
    }

    #[test]
    fn a_disk_that_refused_is_told_from_a_defect_and_names_the_mend() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert_eq!(answered(&full), "storage_failed");
        let failed = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC);
        let behind = JobError::from(rusqlite::Error::SqliteFailure(failed, None));
        let error = ApiError::internal(&behind);
        assert_eq!(error.body.code, "storage_failed");
        assert!(error.body.message.contains("check its free space"), "{}", error.body.message);
        let defect = JobError::from(rusqlite::Error::InvalidQuery);
        assert_eq!(answered(&defect), "internal");
    }
}
