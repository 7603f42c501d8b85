//! YAML of strangers, as JSON values: one document, few aliases, no tags, no merged keys.

use std::path::Path;

use anyhow::{Result, anyhow};
use serde_json::Value;

/// Nodes and events of a document, aliases counted as often as they are used.
const MOST_NODES: usize = 400_000;
/// Uses of an alias. A task has none or a few; nine of them nested make a billion nodes.
const MOST_ALIASES: usize = 64;
/// Deepest nesting.
const DEEPEST: usize = 32;

/// Reads a document after its text was looked through for hooks.
///
/// # Errors
/// A document that is none, or that is larger when written out than any honest one.
pub(super) fn parse(path: &Path, text: &str) -> Result<Value> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: 1,
            max_depth: DEEPEST,
            max_nodes: MOST_NODES,
            max_events: MOST_NODES,
            max_aliases: MOST_ALIASES,
            max_anchors: MOST_ALIASES,
            flow_nesting_limit: DEEPEST,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MOST_NODES,
            max_replay_stack_depth: 8,
            max_alias_expansions_per_anchor: MOST_ALIASES,
        },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        merge_keys: serde_saphyr::MergeKeyPolicy::Error,
        reject_unsupported_tags: true,
        // `yes` and `no` are answers more often than truth values.
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options::<Value>(text, options)
        .map_err(|error| anyhow!("`{}` is no YAML that is read here: {error}", path.display()))
}
