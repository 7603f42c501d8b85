//! The paths that every daemon has.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use seal_protocol::{ConfinementReport, Digest, Health, path};

use super::Context;
use crate::confine::{ConfinementPlan, probe};
use crate::http::{ApiError, status_route};

pub(super) fn common(
    context: &Context,
    plan: &ConfinementPlan,
    base_model_digest: Option<Digest>,
) -> Router {
    let health = health(context, base_model_digest);
    let confined = Arc::new((plan.clone(), context.enforcement.clone()));
    Router::new()
        .route(path::CONFINEMENT, get(confinement))
        .with_state(confined)
        .route(path::HEALTH, get(move || async { Json(health) }))
        .merge(status_route(&context.jobs))
}

fn health(context: &Context, base_model_digest: Option<Digest>) -> Health {
    Health {
        role: context.role,
        protocol_version: seal_protocol::VERSION,
        version: context.version.to_owned(),
        binary_digest: context.binary_digest,
        pid: std::process::id(),
        enforcement: context.enforcement.clone(),
        base_model_digest,
    }
}

/// Tried anew for each request: the report is about now.
async fn confinement(
    State(confined): State<Arc<(ConfinementPlan, seal_protocol::Enforcement)>>,
) -> Result<Json<ConfinementReport>, ApiError> {
    let report = tokio::task::spawn_blocking(move || probe(&confined.0, &confined.1)).await;
    report.map(Json).map_err(|error| ApiError::internal(&error))
}
