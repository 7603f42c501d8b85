//! The pages that say what is attacked and disturbed name tests that exist, in every line one.

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

/// How many names each page has at least: a page that lost its table would pass otherwise.
const PAGES: [(&str, usize); 3] =
    [("docs/THREATS.md", 60), ("docs/FAULTS.md", 35), ("docs/CONFINEMENT.md", 3)];

fn page(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap()
}

#[test]
fn every_test_that_a_page_names_exists() {
    let functions = functions();
    for (path, least) in PAGES {
        let page = page(path);
        let names: Vec<&str> =
            page.lines().flat_map(named).filter(|name| !is_system_call(name)).collect();
        for name in &names {
            assert!(functions.contains(*name), "{path} names `{name}`, which does not exist");
        }
        assert!(names.len() >= least, "{path} has only {} names", names.len());
    }
}

/// The calls that `docs/CONFINEMENT.md` lists look like names of tests.
fn is_system_call(name: &str) -> bool {
    ["process_vm_readv", "process_vm_writev", "io_uring_setup", "perf_event_open"].contains(&name)
}

#[test]
fn every_threat_and_every_fault_names_a_test_or_what_is_missing() {
    let threats = page("docs/THREATS.md");
    for threat in 1..=16 {
        let head = format!("| A{threat} |");
        let line = threats.lines().find(|line| line.starts_with(&head)).expect(&head);
        assert!(!named(line).is_empty(), "{head} names no test");
    }
    let faults = page("docs/FAULTS.md");
    let (_, rows) = faults.split_once("| fault | teacher | student | auditor |").unwrap();
    let rows = rows.lines().filter(|line| line.starts_with("| "));
    for row in rows.clone() {
        assert!(!named(row).is_empty(), "no test in {row}");
    }
    assert!(rows.count() >= 12);
}
