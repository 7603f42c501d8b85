//! Reading a JSON body.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;

use super::ApiError;

/// A body that parsed as `T`, together with its bytes, which name the job it asks for.
pub struct JsonBody<T> {
    /// The typed value.
    pub value: T,
    /// As they came.
    pub bytes: Bytes,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, state).await;
        let bytes = bytes.map_err(|rejection| unread(rejection.status()))?;
        let value = serde_json::from_slice(&bytes).map_err(|error| unparsed(&error))?;
        Ok(Self { value, bytes })
    }
}

fn unread(status: StatusCode) -> ApiError {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => too_large(),
        status => {
            ApiError::new(status, "body_unreadable", "The request's body broke off; send it again.")
        }
    }
}

pub(super) fn too_large() -> ApiError {
    let message = "The request's body is longer than this path takes; send less, or raise the limit in the daemon's config.";
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
}

fn unparsed(error: &serde_json::Error) -> ApiError {
    let message = format!("The request's body is not what this path takes: {error}.");
    ApiError::new(StatusCode::BAD_REQUEST, "bad_request", message)
}
