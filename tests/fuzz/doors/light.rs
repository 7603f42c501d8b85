//! The doors of messages alone, for programs that are to be built in a minute.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

#[path = "limits.rs"]
mod limits;
#[path = "messages.rs"]
pub mod messages;
#[path = "../../../shared/trust/tests/common/mod.rs"]
pub mod trust;

use limits::let_in;
