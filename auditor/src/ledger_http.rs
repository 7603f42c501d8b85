//! The paths on which the ledger is shown and cosigned. Beside the model thread: an audit delays no
//! reader.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use seal_protocol::{Cosignature, CosignedCheckpoint, LedgerQuestion, LedgerShown, path};
use seal_service::http::{ApiError, JsonBody};

use crate::ledger::{LedgerDesk, LedgerError};

pub(crate) fn route(desk: Arc<LedgerDesk>) -> Router {
    Router::new()
        .route(path::LEDGER, post(show))
        .route(path::COSIGNATURES, post(cosign))
        .with_state(desk)
}

async fn show(
    State(desk): State<Arc<LedgerDesk>>,
    body: JsonBody<LedgerQuestion>,
) -> Result<Json<LedgerShown>, ApiError> {
    on_disk(move || desk.show(&body.value)).await
}

async fn cosign(
    State(desk): State<Arc<LedgerDesk>>,
    body: JsonBody<Cosignature>,
) -> Result<Json<CosignedCheckpoint>, ApiError> {
    on_disk(move || desk.cosign(&body.value)).await
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LedgerError> + Send + 'static,
) -> Result<Json<T>, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| ApiError::internal(&error))?.map(Json).map_err(|error| match error {
        LedgerError::CosignatureRefused(_) => ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "cosignature_refused",
            error.to_string(),
        ),
        LedgerError::NoCheckpoint(_) => {
            ApiError::new(StatusCode::NOT_FOUND, "no_such_checkpoint", error.to_string())
        }
        other => ApiError::internal(&other),
    })
}
