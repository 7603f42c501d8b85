//! `docs/THREATS.md` names tests that exist, and every line of the table names one.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Names of all functions in our sources.
fn functions() -> BTreeSet<String> {
    let mut open: Vec<PathBuf> = ["tests", "teacher", "student", "auditor", "shared"]
        .map(|part| repository().join(part))
        .into();
    let mut found = BTreeSet::new();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(path).unwrap();
                let names = text.split("fn ").skip(1);
                found.extend(names.map(|rest| rest.chars().take_while(|c| is_name(*c)).collect()));
            }
        }
    }
    found
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Words in backticks that look like a test's name.
fn named(line: &str) -> Vec<&str> {
    let quoted = line.split('`').skip(1).step_by(2);
    quoted.filter(|word| word.matches('_').count() >= 2 && word.chars().all(is_name)).collect()
}

#[test]
fn every_test_that_the_table_names_exists_and_no_line_is_without_one() {
    let text = std::fs::read_to_string(repository().join("docs/THREATS.md")).unwrap();
    let functions = functions();
    let mut count = 0;
    for name in text.lines().flat_map(named) {
        assert!(functions.contains(name), "docs/THREATS.md names `{name}`, which does not exist");
        count += 1;
    }
    assert!(count > 60, "only {count} names");
    for threat in 1..=14 {
        let head = format!("| A{threat} |");
        let line = text.lines().find(|line| line.starts_with(&head)).expect(&head);
        assert!(!named(line).is_empty(), "{head} names no test");
    }
}
