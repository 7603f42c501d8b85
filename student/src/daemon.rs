//! From a config file to a running daemon.

use std::path::Path;
use std::process::ExitCode;

use seal_model::folder::linked_files;
use seal_protocol::Role;
use seal_service::clock::{Clock, SystemClock};
use seal_service::confine::ConfinementPlan;
use seal_service::daemon::{Built, Context, DaemonSpec, serve_prepared};

use crate::config::StudentConfig;
use crate::http::router;
use crate::student::{Identity, Student};

/// Runs the student until it is told to stop. Call it before any thread exists.
pub fn run(config_path: &Path) -> ExitCode {
    let prepared = prepare(config_path);
    serve_prepared("seal-student", prepared, |(config, identity)| serve(config, identity))
}

fn prepare(config_path: &Path) -> anyhow::Result<(StudentConfig, Identity)> {
    let config = StudentConfig::load(config_path)?;
    let identity = Identity::read(&config, SystemClock.now())?;
    Ok((config, identity))
}

fn serve(config: StudentConfig, identity: Identity) -> ExitCode {
    let spec = DaemonSpec {
        role: Role::Student,
        version: env!("CARGO_PKG_VERSION"),
        endpoint: config.endpoint.clone(),
        tls: config.tls.clone(),
        state_folder: config.state.clone(),
        plan: plan(&config),
        limits: config.limits.clone(),
        exit_with_parent: config.exit_with_parent,
    };
    seal_service::daemon::run(spec, move |context| build(config, identity, context))
}

/// The key is not in the plan: it was read, and nothing may read it again.
fn plan(config: &StudentConfig) -> ConfinementPlan {
    let replay = config.inner_update.replay.iter().chain(&config.consolidation.replay);
    let mut read = vec![config.base_model.clone()];
    read.extend(linked_files(&config.base_model));
    read.extend(replay.map(|quota| quota.file.clone()));
    ConfinementPlan {
        read,
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
    config: StudentConfig,
    identity: Identity,
    context: &Context,
) -> anyhow::Result<Built<Student>> {
    let student = Student::load(config, identity, context.clock.clone())?;
    Ok(Built {
        router: router(context, student.state.clone(), student.adapters.clone())
            .merge(seal_witness::route(student.witness.clone())),
        base_model_digest: Some(student.base_model_digest()),
        worker: student,
    })
}
