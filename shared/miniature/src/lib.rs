//! The embedded world and base model of SEAL.
//!
//! A small world of companies, services and devices, a language model of under a million
//! parameters that was pre-trained in it, and the data of a run: contexts that the model has
//! never seen, τ in wordings that no self-edit uses, suites and replay lines. With it the whole
//! system learns on a laptop within minutes, with nothing to download.
//!
//! **Invariant:** every choice comes from an explicit seed; the same seed gives the same bytes.
//! **Invariant:** nothing here scores or decides: gains come from the real inner update.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod architecture;
pub mod base;
pub mod bytes;
pub mod checks;
pub mod dice;
pub mod edits;
pub mod effects;
pub mod grammar;
pub mod items;
pub mod lexicon;
pub mod lines;
pub mod manifest;
pub mod mix;
pub mod passages;
pub mod pretrain;
pub mod rewards;
pub mod run_data;
pub mod vocabulary;
pub mod world;
