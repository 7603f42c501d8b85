//! The student's own paths. Health, confinement and job status come with every daemon.

use std::sync::Arc;

use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use seal_protocol::{
    AskRequest, ConsolidateRequest, ExtendRequest, InnerUpdateRequest, PromoteRequest,
    RollBackRequest, Served, path,
};
use seal_service::daemon::Context;
use seal_service::http::{ApiError, call_route, get_file_route, job_route};
use seal_service::store::ContentStore;

use crate::history::served;
use crate::state::State;
use crate::worker::kind;

/// All routes over the student's stores.
pub(crate) fn router(context: &Context, state: Arc<State>, adapters: Arc<ContentStore>) -> Router {
    let (jobs, job_bytes) = (&context.jobs, context.limits.job_bytes);
    Router::new()
        .merge(job_route::<InnerUpdateRequest>(
            path::INNER_UPDATES,
            kind::INNER_UPDATE,
            jobs,
            job_bytes,
        ))
        .merge(job_route::<ExtendRequest>(path::EXTENSIONS, kind::EXTEND, jobs, job_bytes))
        .merge(job_route::<ConsolidateRequest>(
            path::CONSOLIDATIONS,
            kind::CONSOLIDATE,
            jobs,
            job_bytes,
        ))
        .merge(call_route::<PromoteRequest>(path::PROMOTIONS, kind::PROMOTE, jobs, status_of))
        .merge(call_route::<RollBackRequest>(path::ROLLBACKS, kind::ROLL_BACK, jobs, status_of))
        .merge(call_route::<AskRequest>(path::ANSWERS, kind::ANSWER, jobs, status_of))
        .merge(get_file_route(path::ADAPTER_FILE, adapters))
        .merge(Router::new().route(path::VERSIONS, get(versions)).with_state(state))
}

/// Statuses of refusals: what conflicts with what is recorded is 409, what is not authorised 403.
fn status_of(code: &str) -> Option<StatusCode> {
    match code {
        "verdict_replayed"
        | "verdict_sequence_not_rising"
        | "verdict_sequence_reused"
        | "verdict_wrong_subject"
        | "already_active" => Some(StatusCode::CONFLICT),
        "verdict_not_in_ledger" => Some(StatusCode::CONFLICT),
        "unknown_version" | "adapter_missing" => Some(StatusCode::NOT_FOUND),
        "signature_invalid" | "signer_wrong_role" | "key_revoked" | "keyid_mismatch"
        | "quorum_not_met" => Some(StatusCode::FORBIDDEN),
        "storage_failed" | "broken_history" => Some(StatusCode::INTERNAL_SERVER_ERROR),
        _ => None,
    }
}

async fn versions(Shared(state): Shared<Arc<State>>) -> Result<Json<Served>, ApiError> {
    let read = tokio::task::spawn_blocking(move || served(&state)).await;
    let served = read.map_err(|error| ApiError::internal(&error))?;
    served.map(Json).map_err(|error| ApiError::internal(&error))
}
