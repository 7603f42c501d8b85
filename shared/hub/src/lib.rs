//! Model folders from a Hugging Face hub into the cache that Python shares.
//!
//! [`Hub::fetch`] resolves a revision to a commit once, takes what a decoder needs and nothing else,
//! goes on with partial downloads and checks every file by its digest before it gets its name.
//! [`Hub::find`] looks into the cache alone.
//!
//! **Invariant:** offline there is no client, so there is nothing that could open a socket.
//! **Invariant:** names of files, blobs and commits that a hub sends are checked before they become
//! paths; a snapshot holds no pickle and no code.
//! **Invariant:** the token goes into requests to the endpoint and nowhere else.
//! Absent: reading models (`seal-model`); uploads.
//!
//! `hf-hub` speaks to the hub. Its own way into the cache is not used: it starts partial files anew
//! and takes the body of a refused request, of whatever length, for the file.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod answer;
mod cache;
mod choice;
mod content;
mod error;
mod fetch;
mod hub;
mod metadata;
mod name;
mod settings;
mod token;
mod transfer;

pub use error::HubError;
pub use hub::{Event, Fetched, Hub, Watcher};
pub use name::{RepoName, Revision};
pub use settings::{OfflineBy, Settings};
pub use token::Token;
