//! The tests of a template (`x is string`) with Jinja2's meaning.
//!
//! In Python a text and a dict are sequences too, a text can be iterated, and `None` cannot.

use minijinja::value::ValueKind;
use minijinja::{Environment, Error, Value, tests};

type Kind = fn(&Value) -> bool;
type Comparison = fn(&Value, &Value) -> bool;

/// Gives templates their tests.
pub(super) fn install(env: &mut Environment<'_>) {
    kinds(env);
    numbers(env);
    comparisons(env);
}

fn is_list(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
}

fn kinds(env: &mut Environment<'_>) {
    let tests: [(&'static str, Kind); 14] = [
        ("undefined", Value::is_undefined),
        ("defined", |value| !value.is_undefined()),
        ("none", Value::is_none),
        ("string", |value| value.as_str().is_some()),
        ("mapping", |value| value.kind() == ValueKind::Map),
        ("sequence", |value| {
            value.as_str().is_some() || is_list(value) || value.kind() == ValueKind::Map
        }),
        ("iterable", |value| {
            value.as_str().is_some()
                || is_list(value)
                || matches!(value.kind(), ValueKind::Map | ValueKind::Undefined)
        }),
        ("boolean", |value| value.kind() == ValueKind::Bool),
        ("true", |value| value.kind() == ValueKind::Bool && value.is_true()),
        ("false", |value| value.kind() == ValueKind::Bool && !value.is_true()),
        ("number", |value| matches!(value.kind(), ValueKind::Number | ValueKind::Bool)),
        ("integer", |value| value.is_integer()),
        ("float", |value| value.kind() == ValueKind::Number && !value.is_integer()),
        ("callable", |value| value.kind() == ValueKind::Plain),
    ];
    for (name, test) in tests {
        env.add_test(name, move |value: &Value| test(value));
    }
}

fn numbers(env: &mut Environment<'_>) {
    env.add_test("odd", tests::is_odd);
    env.add_test("even", tests::is_even);
    env.add_test("divisibleby", tests::is_divisibleby);
    env.add_test("lower", tests::is_lower);
    env.add_test("upper", tests::is_upper);
}

fn comparisons(env: &mut Environment<'_>) {
    let comparisons: [(&[&'static str], Comparison); 6] = [
        (&["eq", "equalto", "=="], |a, b| a == b),
        (&["ne", "!="], |a, b| a != b),
        (&["lt", "lessthan", "<"], |a, b| a < b),
        (&["le", "<="], |a, b| a <= b),
        (&["gt", "greaterthan", ">"], |a, b| a > b),
        (&["ge", ">="], |a, b| a >= b),
    ];
    for (names, compare) in comparisons {
        for name in names {
            env.add_test(*name, move |a: &Value, b: &Value| compare(a, b));
        }
    }
    env.add_test("sameas", |a: &Value, b: &Value| a.kind() == b.kind() && a == b);
    env.add_test(
        "in",
        |state: &minijinja::State<'_, '_>, a: &Value, b: &Value| -> Result<bool, Error> {
            tests::is_in(state, a, b)
        },
    );
}
