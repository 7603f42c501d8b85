//! From a config file to a running daemon.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use seal_model::folder::linked_files;
use seal_protocol::{AuditSubmission, ErrorBody, Role, path};
use seal_service::clock::{Clock, SystemClock};
use seal_service::confine::ConfinementPlan;
use seal_service::daemon::{Built, Context, DaemonSpec, serve_prepared};
use seal_service::http::{job_route, put_file_route};
use seal_service::jobs::{Progress, Worker};
use seal_service::store::ContentStore;

use crate::audit::Auditor;
use crate::config::AuditorConfig;
use crate::ledger::LedgerDesk;
use crate::ledger_http;
use crate::measure::Measurer;
use crate::model::ModelMeasurer;
use crate::recompute::Asked;
use crate::start::{self, Secrets};

/// The one kind of work.
const AUDIT: &str = "audit";

/// Runs the auditor until it is told to stop. Call it before any thread exists.
pub fn run(config_path: &Path) -> ExitCode {
    let prepared = prepare(config_path);
    serve_prepared("seal-auditor", prepared, |(config, asked, secrets)| {
        serve(config, asked, secrets)
    })
}

fn prepare(config_path: &Path) -> anyhow::Result<(AuditorConfig, Option<Asked>, Secrets)> {
    let config = AuditorConfig::load(config_path)?;
    let asked =
        Asked::of(config.recompute, config.gate.repeats.is_some(), config.recomputation.as_ref())?;
    let secrets = Secrets::read(&config, SystemClock.now())?;
    Ok((config, asked, secrets))
}

fn serve(config: AuditorConfig, asked: Option<Asked>, secrets: Secrets) -> ExitCode {
    let spec = DaemonSpec {
        role: Role::Auditor,
        version: env!("CARGO_PKG_VERSION"),
        endpoint: config.endpoint.clone(),
        tls: config.tls.clone(),
        state_folder: config.state.clone(),
        plan: plan(&config, asked.as_ref()),
        limits: config.limits.clone(),
        exit_with_parent: config.exit_with_parent,
    };
    seal_service::daemon::run(spec, move |context| build(config, asked, secrets, context))
}

/// The keys are not in the plan: they were read, and nothing may read them again.
fn plan(config: &AuditorConfig, asked: Option<&Asked>) -> ConfinementPlan {
    let vault = &config.vault;
    let read = [&config.base_model, &vault.tau, &vault.retention, &vault.rules];
    let bundle = config.policy.as_ref().map(|policy| policy.bundle.clone());
    let linked = linked_files(&config.base_model);
    let replay = asked.map(Asked::files).unwrap_or_default();
    ConfinementPlan {
        read: read
            .into_iter()
            .chain(&vault.refusals)
            .chain(&vault.benign)
            .cloned()
            .chain(linked)
            .chain(bundle)
            .chain(config.judge.as_ref().map(|judge| judge.constitution.clone()))
            .chain(replay)
            .collect(),
        write: vec![config.state.clone()],
        gpu: config.device.may_use_cuda(),
        connect_ports: vec![],
        profile: config.confinement.profile,
        decoy_dir: config.confinement.decoy_dir.clone(),
        must_not_read: config.confinement.must_not_read.clone(),
        must_not_connect: config.confinement.must_not_connect.clone(),
    }
}

fn build(
    config: AuditorConfig,
    asked: Option<Asked>,
    secrets: Secrets,
    context: &Context,
) -> anyhow::Result<Built<Auditor<ModelMeasurer>>> {
    let uploads = Arc::new(start::uploads(&config.state)?);
    let state = config.state.clone();
    let root = secrets.root();
    let worker = start::auditor(config, asked, secrets, context)?;
    // Opened after the writer, which makes the tables and checks every row.
    let desk = LedgerDesk::open(&state, root, Arc::clone(&context.clock))?;
    Ok(Built {
        router: router(context, uploads, Arc::new(desk)),
        base_model_digest: Some(worker.base_model_digest()),
        worker,
    })
}

fn router(context: &Context, uploads: Arc<ContentStore>, desk: Arc<LedgerDesk>) -> Router {
    let limits = &context.limits;
    let audits = job_route::<AuditSubmission>(path::AUDITS, AUDIT, &context.jobs, limits.job_bytes);
    audits
        .merge(put_file_route(path::ADAPTER_FILE, uploads, limits.file_bytes))
        .merge(ledger_http::route(desk))
}

impl<M: Measurer> Worker for Auditor<M> {
    fn run(
        &mut self,
        kind: &str,
        body: &[u8],
        progress: &Progress,
    ) -> Result<serde_json::Value, ErrorBody> {
        if kind != AUDIT {
            return Err(refusal(
                "unknown_work",
                format!("the auditor does no work of kind `{kind}`"),
            ));
        }
        let submission: AuditSubmission = serde_json::from_slice(body).map_err(|error| {
            refusal("bad_request", format!("the request body does not read: {error}"))
        })?;
        progress.set(0, 1);
        let audited = self.audit(submission).map_err(|error| {
            tracing::warn!(error = %error, "an audit gave no answer");
            error.to_body()
        })?;
        progress.set(1, 1);
        serde_json::to_value(audited).map_err(|error| refusal("internal", error.to_string()))
    }
}

fn refusal(code: &str, message: String) -> ErrorBody {
    ErrorBody { code: code.to_owned(), message }
}
