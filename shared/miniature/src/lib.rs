//! The embedded world and base model
