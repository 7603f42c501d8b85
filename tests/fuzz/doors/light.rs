//! The doors of messages alone, for programs that are to be built in a minute.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

#[path = "../../../shared/model/tests/counting/mod.rs"]
mod counting;
#[path = "limits.rs"]
mod limits;
#[path = "messages.rs"]
pub mod messages;
#[path = "../../../shared/trust/tests/common/mod.rs"]
pub mod trust;

pub use limits::tried;

use limits::let_in;
