//! The student turns self-edits into adapters on local weights
