//! A daemon on another host: started there, found from here.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use seal_conductor::client::{Client, ClientError};
use seal_protocol::{Health, Role, path};

/// Longest wait for a daemon that is being started or loads its model.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// Waits until the daemon answers. One that refuses us, or is not whom we called, is not waited for.
pub(crate) async fn found(role: Role, client: &Client) -> Result<Health> {
    let begun = Instant::now();
    let health: Health = loop {
        match client.get(path::HEALTH).await {
            Ok(health) => break health,
            Err(ClientError::Unreachable { .. } | ClientError::Timeout { .. })
                if begun.elapsed() < PATIENCE =>
            {
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => {
                return Err(error).with_context(|| {
                    format!("the {role} is not to be had; start it on its host with `seal {role} --config {role}.toml`")
                });
            }
        }
    };
    ensure!(
        health.role == role,
        "at `{}` a {} answers, not the {role}",
        client.endpoint(),
        health.role
    );
    Ok(health)
}
