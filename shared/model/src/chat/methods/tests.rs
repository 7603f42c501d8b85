use super::*;

#[track_caller]
fn check(own: &str, method: &str, arguments: &[Value], expected: &str) {
    let meter = Meter::new(0);
    let found = of_text(&meter, own, method, arguments).unwrap();
    assert_eq!(text(&meter, &found).unwrap(), expected, "{own:?}.{method}({arguments:?})");
}

#[test]
fn texts_are_split_as_in_python() {
    let s = |text: &str| Value::from(text);
    check(" a  b\tc ", "split", &[], "['a', 'b', 'c']");
    check(" a  b\tc ", "split", &[Value::from(()), Value::from(1)], "['a', 'b\\tc ']");
    check(" a  b c ", "rsplit", &[Value::from(()), Value::from(1)], "[' a  b', 'c']");
    check("a</t>b</t>c", "split", &[s("</t>")], "['a', 'b', 'c']");
    check("a,b,c", "split", &[s(","), Value::from(1)], "['a', 'b,c']");
    check("a,b,c", "rsplit", &[s(","), Value::from(1)], "['a,b', 'c']");
    check("", "split", &[s(",")], "['']");
    check("", "split", &[], "[]");
    check("a\r\nb\n\nc\u{2028}d", "splitlines", &[], "['a', 'b', '', 'c', 'd']");
    check("a\nb", "splitlines", &[Value::from(true)], "['a\\n', 'b']");
}

#[test]
fn texts_are_searched_and_changed_as_in_python() {
    let s = |text: &str| Value::from(text);
    check("\n\u{1c}x \n", "strip", &[], "x");
    check("xxabxx", "strip", &[s("x")], "ab");
    check("<think>", "lstrip", &[s("<t")], "hink>");
    check("häus", "find", &[s("u")], "2");
    check("häus", "find", &[s("z")], "-1");
    check("aaa", "count", &[s("aa")], "1");
    check("häu", "count", &[s("")], "4");
    check("aaa", "replace", &[s("a"), s("bb"), Value::from(2)], "bbbba");
    check("ab", "replace", &[s(""), s("-")], "-a-b-");
    check("it's a TEST", "title", &[], "It'S A Test");
    check("éA b", "capitalize", &[], "Éa b");
    check("", "isdigit", &[], "False");
    check("a1", "islower", &[], "True");
    check("ab", "startswith", &[Value::from(vec!["x", "a"])], "True");
    check("file.txt", "removesuffix", &[s(".txt")], "file");
    check(", ", "join", &[Value::from(vec![Value::from("a"), Value::from(1)])], "a, 1");
    check("{} and {}", "format", &[s("a"), Value::from(true)], "a and True");
}
