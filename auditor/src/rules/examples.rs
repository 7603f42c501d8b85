//! A rule proves itself on its examples before it may judge.

use std::collections::HashSet;

use super::deny::{DenyRule, Forms};
use super::{DenySpec, RulesError};

/// Compiles every rule and runs its examples.
pub(super) fn compiled_and_tried(specs: Vec<DenySpec>) -> Result<Vec<DenyRule>, RulesError> {
    let mut names = HashSet::new();
    specs
        .iter()
        .map(|spec| {
            if !is_name(&spec.name) || !names.insert(spec.name.as_str()) {
                return Err(RulesError::Name { rule: spec.name.clone() });
            }
            let rule = DenyRule::compile(spec)?;
            tried(&rule, spec)?;
            Ok(rule)
        })
        .collect()
}

fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
    !name.is_empty() && name.chars().all(allowed)
}

fn tried(rule: &DenyRule, spec: &DenySpec) -> Result<(), RulesError> {
    if spec.positive.is_empty() || spec.negative.is_empty() {
        return Err(RulesError::NoExample { rule: spec.name.clone() });
    }
    let sides = [("positive", &spec.positive, true), ("negative", &spec.negative, false)];
    for (side, texts, expected) in sides {
        let fails = |text: &String| rule.matches(&Forms::of(text)) != expected;
        if let Some(at) = texts.iter().position(fails) {
            let (rule, number) = (spec.name.clone(), at + 1);
            return Err(RulesError::Example { rule, side, number });
        }
    }
    Ok(())
}
