//! The path on which a role is shown ledgers. Beside the model thread: a long job delays no witness.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use seal_protocol::{LedgerHead, LedgerSeen, LedgerShown, path};
use seal_service::http::{ApiError, JsonBody};

use crate::heads::HeadsError;
use crate::witness::Witness;

/// `GET` and `POST` of [`path::LEDGER_HEADS`].
pub fn route(witness: Arc<Witness>) -> Router {
    Router::new().route(path::LEDGER_HEADS, get(known).post(take)).with_state(witness)
}

async fn known(State(witness): State<Arc<Witness>>) -> Result<Json<Vec<LedgerHead>>, ApiError> {
    on_disk(move || witness.known()).await
}

async fn take(
    State(witness): State<Arc<Witness>>,
    body: JsonBody<LedgerShown>,
) -> Result<Json<LedgerSeen>, ApiError> {
    on_disk(move || witness.take(&body.value)).await
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HeadsError> + Send + 'static,
) -> Result<Json<T>, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| ApiError::internal(&error))?.map(Json).map_err(|error| refusal(&error))
}

/// What contradicts the remembered head is a conflict; storage is our own fault.
fn refusal(error: &HeadsError) -> ApiError {
    let status = match error.code() {
        "ledger_rolled_back" | "ledger_forked" | "ledger_proof_fails" => StatusCode::CONFLICT,
        "storage_failed" => return ApiError::internal(error),
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    tracing::warn!(error = %error, code = error.code(), "a ledger was shown and refused");
    ApiError::new(status, error.code(), error.to_string())
}
