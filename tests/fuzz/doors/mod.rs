//! Every door through which bytes of strangers come in, as one function each: true if they were let in.
//!
//! Signed doors are tried by somebody who holds the key of the role: what lies behind the signature
//! is read too. Each function states what holds for whatever is let in, and panics where it does not.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod content;
#[path = "../../../shared/model/tests/counting/mod.rs"]
mod counting;
pub mod gguf;
#[path = "../../../shared/model/tests/gguf_support/mod.rs"]
pub mod gguf_support;
mod limits;
pub mod messages;
#[path = "../../../shared/model/tests/small/mod.rs"]
pub mod small;
#[path = "../../../shared/trust/tests/common/mod.rs"]
pub mod trust;

pub use limits::tried;

use limits::let_in;
