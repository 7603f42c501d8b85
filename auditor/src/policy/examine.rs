//! What a policy looks at, and how long it takes: for those who write one.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Policy, PolicyInput, Said};

/// A policy tried on one input.
#[derive(Clone, Debug)]
pub struct Examined {
    /// What it said.
    pub said: Said,
    /// Time of each decision.
    pub took: Vec<Duration>,
    /// Fields without which it refuses what it allowed, as JSON pointers. Empty where it allowed nothing.
    pub demanded: Vec<String>,
    /// Fields that may be absent for all it says.
    pub not_asked: Vec<String>,
}

/// Asks `policy` about `input` so many times, and once without each of its fields.
///
/// The auditor itself refuses an input without a field before it asks. What stands under `demanded` the
/// policy would refuse by itself, in any other program too.
pub fn examine(policy: &Policy, input: &PolicyInput, decisions: usize) -> Examined {
    let said = policy.decide(input);
    let decide = |_| {
        let begun = Instant::now();
        policy.decide(input);
        begun.elapsed()
    };
    let took = (0..decisions).map(decide).collect();
    let (mut demanded, mut not_asked) = (Vec::new(), Vec::new());
    if said == Said::Allowed {
        let value = serde_json::to_value(input).unwrap_or_default();
        for path in paths(&value) {
            let without = removed(&value, &path);
            match policy.decide_json(&without.to_string()) {
                Said::Allowed => not_asked.push(path),
                _ => demanded.push(path),
            }
        }
    }
    Examined { said, took, demanded, not_asked }
}

/// JSON pointers to everything in `value`, parents first.
pub(super) fn paths(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    add_paths(value, "", &mut found);
    found
}

fn add_paths(value: &Value, at: &str, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(fields) => {
            fields.iter().map(|(name, child)| (format!("{at}/{name}"), child)).collect()
        }
        Value::Array(items) => {
            items.iter().enumerate().map(|(i, child)| (format!("{at}/{i}"), child)).collect()
        }
        _ => Vec::new(),
    };
    for (path, child) in children {
        found.push(path.clone());
        add_paths(child, &path, found);
    }
}

/// `value` without what stands at a path of [`paths`].
pub(super) fn removed(value: &Value, path: &str) -> Value {
    let mut value = value.clone();
    let Some((parent, name)) = path.rsplit_once('/') else { return value };
    match value.pointer_mut(parent) {
        Some(Value::Object(fields)) => drop(fields.remove(name)),
        Some(Value::Array(items)) => {
            let index = name.parse().ok().filter(|index| *index < items.len());
            if let Some(index) = index {
                items.remove(index);
            }
        }
        _ => {}
    }
    value
}
