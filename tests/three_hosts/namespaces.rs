//! The whole run in three network namespaces, where the kernel keeps the daemons apart as it would on
//! three machines. Needs root; elsewhere it says that nothing was tried.

use std::process::{Command, Stdio};

use crate::hosts::Hosts;
use crate::story;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/three-namespaces.sh");

/// The network; taken away again with it.
struct Network;

impl Network {
    fn up() -> Option<Self> {
        // What an interrupted test has left.
        network("down");
        network("up").then_some(Self).or_else(|| {
            network("down");
            None
        })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        network("down");
    }
}

fn network(what: &str) -> bool {
    let mut script = Command::new(SCRIPT);
    script.arg(what).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    script.status().is_ok_and(|ended| ended.success())
}

#[tokio::test]
async fn a_run_ends_in_three_network_namespaces() {
    let Some(_network) = Network::up() else {
        eprintln!("skipped: no network namespaces without root, `ip` and a bridge");
        return;
    };
    story::tell(Hosts::in_namespaces()).await;
}
