//! From a config file to a running daemon, and the teacher's own paths.

use std::path::Path;
use std::process::ExitCode;

use axum::Router;
use seal_endpoint::WayOut;
use seal_model::folder::linked_files;
use seal_protocol::{PolicyUpdateRequest, ProposeRequest, Role, path};
use seal_service::clock::{Clock, SystemClock};
use seal_service::confine::ConfinementPlan;
use seal_service::daemon::{Built, Context, DaemonSpec, serve_prepared};
use seal_service::http::job_route;

use crate::backends::BackendConfig;
use crate::config::TeacherConfig;
use crate::teacher::{Identity, Teacher};
use crate::worker::kind;

/// Runs the teacher until it is told to stop. Call it before any thread exists.
pub fn run(config_path: &Path) -> ExitCode {
    let prepared = prepare(config_path);
    serve_prepared("seal-teacher", prepared, |(config, identity)| serve(config, identity))
}

fn prepare(config_path: &Path) -> anyhow::Result<(TeacherConfig, Identity)> {
    let config = TeacherConfig::load(config_path)?;
    let identity = Identity::read(&config, SystemClock.now())?;
    Ok((config, identity))
}

fn serve(config: TeacherConfig, identity: Identity) -> ExitCode {
    let spec = DaemonSpec {
        role: Role::Teacher,
        version: env!("CARGO_PKG_VERSION"),
        endpoint: config.endpoint.clone(),
        tls: config.tls.clone(),
        state_folder: config.state.clone(),
        plan: plan(&config, &identity),
        limits: config.limits.clone(),
        exit_with_parent: config.exit_with_parent,
    };
    seal_service::daemon::run(spec, move |context| build(config, identity, context))
}

/// The keys are not in the plan: they were read, and nothing may read them again. For the API's key
/// the self-test shows it.
fn plan(config: &TeacherConfig, identity: &Identity) -> ConfinementPlan {
    let mut read = vec![config.base_model.clone(), config.contexts.clone()];
    read.extend(config.policy.clone());
    read.extend(linked_files(&config.base_model));
    read.extend(linked_files(config.first_policy()));
    let replay = config.policy_update.iter().flat_map(|update| &update.replay);
    read.extend(replay.map(|quota| quota.file.clone()));
    let mut must_not_read = config.confinement.must_not_read.clone();
    match &config.backend {
        BackendConfig::OpenAi(api) => must_not_read.extend(api.api_key_file.clone()),
        BackendConfig::Recorded(recorded) => read.push(recorded.file.clone()),
        BackendConfig::Local(local) => {
            if let Some(folder) = &local.tokenizer {
                read.push(folder.clone());
                read.extend(linked_files(folder));
            }
        }
    }
    ConfinementPlan {
        read,
        write: vec![config.state.clone()],
        gpu: config.device.may_use_cuda(),
        connect_ports: identity.way_out.iter().map(WayOut::port).collect(),
        profile: config.confinement.profile,
        decoy_dir: config.confinement.decoy_dir.clone(),
        must_not_read,
        must_not_connect: config.confinement.must_not_connect.clone(),
    }
}

fn build(
    config: TeacherConfig,
    identity: Identity,
    context: &Context,
) -> anyhow::Result<Built<Teacher>> {
    let teacher = Teacher::load(config, identity, context.clock.clone())?;
    Ok(Built {
        router: router(context).merge(seal_witness::route(teacher.witness.clone())),
        base_model_digest: Some(teacher.base_model_digest()),
        worker: teacher,
    })
}

fn router(context: &Context) -> Router {
    let (jobs, bytes) = (&context.jobs, context.limits.job_bytes);
    Router::new()
        .merge(job_route::<ProposeRequest>(path::PROPOSALS, kind::PROPOSE, jobs, bytes))
        .merge(job_route::<PolicyUpdateRequest>(
            path::POLICY_UPDATES,
            kind::POLICY_UPDATE,
            jobs,
            bytes,
        ))
}
