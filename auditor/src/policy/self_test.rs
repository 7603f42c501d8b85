//! The tests of a bundle, run as `opa test` runs them, before the bundle may judge.

use regorus::{Engine, Value};

use super::bundle::Bundle;
use super::engine::{PolicyError, Said, failed};
use super::source;

/// Runs every `test_…` rule; how many there were.
pub(super) fn run(engine: &Engine, bundle: &Bundle) -> Result<usize, PolicyError> {
    let mut count = 0;
    for (file, text) in bundle.rego() {
        let package = source::package(text).unwrap_or_default();
        for name in source::tests(text) {
            check(engine, file, &format!("data.{package}.{name}"), &name)?;
            count += 1;
        }
    }
    if count == 0 { Err(PolicyError::NoTest) } else { Ok(count) }
}

/// Passed is true, nothing else; `opa test` counts undefined as a failure, too.
fn check(engine: &Engine, file: &str, rule: &str, name: &str) -> Result<(), PolicyError> {
    let how = match engine.clone().eval_rule(rule.to_owned()) {
        Ok(Value::Bool(true)) => return Ok(()),
        Ok(Value::Undefined) => "undefined".to_owned(),
        Ok(other) => other.to_string(),
        Err(error) => match failed(&error) {
            Said::TimedOut => "too slow".to_owned(),
            _ => format!("{error:#}"),
        },
    };
    Err(PolicyError::Test { file: file.to_owned(), name: name.to_owned(), how })
}
