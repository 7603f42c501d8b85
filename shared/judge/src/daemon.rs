//! From a config file to a running daemon, the judge's one path, and its model thread's side.

use std::path::Path;
use std::process::ExitCode;

use seal_endpoint::WayOut;
use seal_protocol::{ErrorBody, JudgeRequest, Role, path};
use seal_service::clock::{Clock, SystemClock};
use seal_service::confine::ConfinementPlan;
use seal_service::daemon::{Built, Context, DaemonSpec, serve_prepared};
use seal_service::http::job_route;
use seal_service::jobs::{Progress, Worker};
use serde_json::Value;

use crate::config::JudgeConfig;
use crate::error::JudgeError;
use crate::judge::{Identity, Judge};

/// The one kind of work.
const JUDGE: &str = "judge";

/// Runs the judge until it is told to stop. Call it before any thread exists.
pub fn run(config_path: &Path) -> ExitCode {
    let prepared = prepare(config_path);
    serve_prepared("seal-judge", prepared, |(config, identity)| serve(config, identity))
}

fn prepare(config_path: &Path) -> anyhow::Result<(JudgeConfig, Identity)> {
    let config = JudgeConfig::load(config_path)?;
    let identity = Identity::read(&config, SystemClock.now())?;
    Ok((config, identity))
}

fn serve(config: JudgeConfig, identity: Identity) -> ExitCode {
    let spec = DaemonSpec {
        role: Role::Judge,
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

/// The keys are not in the plan: they were read, and nothing may read them again. For the API's key the
/// self-test shows it.
fn plan(config: &JudgeConfig, identity: &Identity) -> ConfinementPlan {
    let mut must_not_read = config.confinement.must_not_read.clone();
    must_not_read.extend(config.backend.api_key_file.clone());
    ConfinementPlan {
        read: vec![config.constitution.clone()],
        write: vec![config.state.clone()],
        gpu: false,
        connect_ports: identity.way_out.iter().map(WayOut::port).collect(),
        profile: config.confinement.profile,
        decoy_dir: config.confinement.decoy_dir.clone(),
        must_not_read,
        must_not_connect: config.confinement.must_not_connect.clone(),
    }
}

fn build(
    config: JudgeConfig,
    identity: Identity,
    context: &Context,
) -> anyhow::Result<Built<Judge>> {
    let judge = Judge::load(config, identity, context.clock.clone())?;
    let router =
        job_route::<JudgeRequest>(path::JUDGEMENTS, JUDGE, &context.jobs, context.limits.job_bytes);
    Ok(Built { router, base_model_digest: None, worker: judge })
}

impl Worker for Judge {
    fn run(&mut self, kind: &str, body: &[u8], progress: &Progress) -> Result<Value, ErrorBody> {
        let outcome = match kind {
            JUDGE => self.judged(body, progress),
            other => Err(JudgeError::UnknownWork(other.to_owned())),
        };
        outcome.map_err(|error| error.to_body())
    }
}

impl Judge {
    fn judged(&mut self, body: &[u8], progress: &Progress) -> Result<Value, JudgeError> {
        let request: JudgeRequest = serde_json::from_slice(body)?;
        let judged = self.judge(&request, &mut |done, total| progress.set(done, total))?;
        Ok(serde_json::to_value(judged)?)
    }
}
