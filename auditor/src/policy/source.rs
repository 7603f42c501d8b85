//! What can be told from the text of a policy: functions that may not stand in it, its tests.

use std::sync::LazyLock;

use regex::Regex;

use super::bundle::Bundle;
use super::engine::PolicyError;

/// Functions of stock `opa` whose value does not follow from the input, or whose work has no bound.
static FORBIDDEN: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r#"\b(http\.send|net\.\w+|time\.\w+|rand\.\w+|uuid\.\w+|opa\.runtime|io\.jwt\.\w+|crypto\.\w+|rego\.\w+|graphql\.\w+|providers\.\w+|numbers\.range(_step)?)\b"#,
    )
    .expect("the pattern is a constant")
});

/// Of those, the ones that the interpreter has, with their number of arguments: replaced by a
/// refusal, in case a policy reaches them by another spelling.
pub(super) const SHADOWED: [(&str, u8); 3] =
    [("rand.intn", 2), ("numbers.range", 2), ("numbers.range_step", 3)];

static TEST: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?m)^(test_\w+)\b").expect("the pattern is a constant"));

static ALLOW: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?m)^(default\s+)?allow\b").expect("the pattern is a constant"));

static PACKAGE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?m)^package\s+([\w.]+)").expect("the pattern is a constant"));

/// Refuses a file that names a forbidden function.
pub(super) fn refuse_forbidden(file: &str, text: &str) -> Result<(), PolicyError> {
    for (number, line) in text.lines().enumerate() {
        // `import rego.v1` is how one file serves old and new versions of `opa`.
        let allowed = line.trim_end() == "import rego.v1";
        if let Some(found) = FORBIDDEN.find(line).filter(|_| !allowed) {
            let (file, name) = (file.to_owned(), found.as_str().to_owned());
            return Err(PolicyError::Forbidden { file, line: number + 1, name });
        }
    }
    Ok(())
}

/// Whether some file of `package seal` has a rule `allow`.
pub(super) fn declares_allow(bundle: &Bundle) -> bool {
    bundle.rego().any(|(_, text)| package(text) == Some("seal") && ALLOW.is_match(text))
}

/// The package of a file.
pub(super) fn package(text: &str) -> Option<&str> {
    PACKAGE.captures(text).and_then(|found| found.get(1)).map(|name| name.as_str())
}

/// Names of the rules that `opa test` would run, each once.
pub(super) fn tests(text: &str) -> Vec<String> {
    let mut names: Vec<String> =
        TEST.captures_iter(text).map(|found| found[1].to_owned()).collect();
    names.sort();
    names.dedup();
    names
}

/// Whether a policy may name a reason so.
pub(super) fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
    (1..=64).contains(&text.len()) && text.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reaches_clock_chance_or_network_is_refused_with_its_line() {
        for name in ["http.send", "time.now_ns", "rand.intn", "opa.runtime", "net.lookup_ip_addr"] {
            let text = format!("package seal\n\nallow if {name}(1)\n");
            let refused = refuse_forbidden("a.rego", &text).unwrap_err().to_string();
            assert!(refused.contains("line 3") && refused.contains(name), "{refused}");
        }
        refuse_forbidden("a.rego", "package seal\nimport rego.v1\nallow if input.x == 1\n")
            .unwrap();
    }

    #[test]
    fn tests_are_found_by_name_as_opa_finds_them() {
        let text =
            "package seal_test\ntest_b if { true }\ntest_a if { true }\nhelper if { true }\n";
        assert_eq!(tests(text), ["test_a", "test_b"]);
        assert_eq!(package(text), Some("seal_test"));
    }
}
