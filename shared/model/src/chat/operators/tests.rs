use super::*;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[track_caller]
fn check(operator: Binary, a: &str, b: &str, expected: &str) {
    let found = operator(&Meter::new(0), &json(a), &json(b)).unwrap();
    assert_eq!(text(&Meter::new(0), &found).unwrap(), expected, "{a} and {b}");
}

#[test]
fn operators_mean_what_they_mean_in_python() {
    check(add, "[1]", "[\"a\"]", "[1, 'a']");
    check(add, "true", "2", "3");
    check(concat, "\"n: \"", "null", "n: None");
    check(concat, "1.0", "[true]", "1.0[True]");
    check(mul, "\"ab\"", "3", "ababab");
    check(mul, "-1", "\"ab\"", "");
    check(mul, "[1, 2]", "2", "[1, 2, 1, 2]");
    check(rem, "-7", "3", "2");
    check(rem, "7", "-3", "-2");
    check(rem, "\"%s of %d\"", "[true, 3]", "True of 3");
    check(|_, a, b| floor_div(a, b), "-7", "2", "-4");
    check(|_, a, b| div(a, b), "4", "2", "2.0");
    check(|_, a, b| pow(a, b), "2", "-1", "0.5");
}

#[track_caller]
fn check_slice(value: &str, bounds: [&str; 3], expected: &str) {
    let [a, b, c] = bounds.map(json);
    let found = slice(&Meter::new(0), &json(value), [&a, &b, &c]).unwrap();
    assert_eq!(text(&Meter::new(0), &found).unwrap(), expected, "{value}{bounds:?}");
}

#[test]
fn slices_pick_what_python_picks() {
    check_slice("[1,2,3]", ["1", "null", "null"], "[2, 3]");
    check_slice("[1,2,3]", ["null", "null", "-1"], "[3, 2, 1]");
    check_slice("[1,2,3]", ["-2", "99", "null"], "[2, 3]");
    check_slice("[1,2,3]", ["2", "0", "-1"], "[3, 2]");
    check_slice("[1,2,3]", ["null", "-1", "2"], "[1]");
    check_slice("\"häuser\"", ["1", "-1", "null"], "äuse");
    check_slice("[]", ["null", "null", "-1"], "[]");
}

#[test]
fn what_cannot_be_computed_is_an_error_and_no_panic() {
    let meter = Meter::new(0);
    let huge = Value::from(i128::MAX);
    for (operator, a, b) in [
        (add as Binary, huge.clone(), Value::from(1)),
        (mul, huge.clone(), huge.clone()),
        (mul, Value::from("aa"), huge.clone()),
        (rem, Value::from(1), Value::from(0)),
        (rem, Value::from("%999999999d"), Value::from(1)),
        (|_, a, b| floor_div(a, b), Value::from(1.0), Value::from(0)),
        (|_, a, b| pow(a, b), Value::from(10), Value::from(99_999_999)),
        (add, Value::from("a"), Value::UNDEFINED),
        (add, Value::from("a"), Value::from(1)),
    ] {
        assert!(operator(&meter, &a, &b).is_err(), "{a} and {b}");
    }
    let bounds = [&Value::from(i64::MIN), &Value::from(i64::MAX), &Value::from(i64::MIN)];
    assert!(slice(&meter, &Value::from(vec![1, 2]), bounds).is_ok());
}

#[test]
fn names_beyond_ascii_in_a_format_are_an_error_and_no_panic() {
    let meter = Meter::new(0);
    let done = |style, format: &str| formatted(&meter, style, format, &[Value::from(1)]);
    for format in ["%(쉌", "%(ä)s", "% %(쉌)d", "%%%(é)s"] {
        assert!(done(FormatStyle::Printf, format).is_err(), "{format}");
    }
    for format in ["{쉌}", "{쉌", "{:쉌>5}", "{{{é}"] {
        assert!(done(FormatStyle::StrFormat, format).is_err(), "{format}");
    }
    // Beside what is filled in, every letter may stand.
    for (style, format, expected) in [
        (FormatStyle::Printf, "häuser: %d (쉌)", "häuser: 1 (쉌)"),
        (FormatStyle::Printf, "100%% (쉌) %d", "100% (쉌) 1"),
        (FormatStyle::StrFormat, "{{쉌}} {}", "{쉌} 1"),
    ] {
        let found = done(style, format).unwrap();
        assert_eq!(text(&meter, &found).unwrap(), expected, "{format}");
    }
}
