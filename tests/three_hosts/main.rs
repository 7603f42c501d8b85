//! Teacher, student and auditor on three hosts, here three addresses of one machine: a whole run with
//! mutual TLS and separate folders, and the attacks of the network on it.

#![allow(clippy::unwrap_used, unreachable_pub)]

mod attacks;
#[path = "../common/mod.rs"]
mod common;
mod hosts;
mod interop;
mod namespaces;
mod revocation;
mod rude;
mod story;
mod tool;
