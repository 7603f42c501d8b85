//! `docs/CONFINEMENT.md`: which rows it must have, and whether its table is what was seen.

use std::fmt::Write;
use std::path::Path;

use super::daemon::Who;
use super::{Answers, answer_to};

const PAGE: &str = "docs/CONFINEMENT.md";
/// The table is the lines between these two.
const BEGIN: &str = "<!-- tried -->";
const END: &str = "<!-- end -->";

/// What is not closed, with the reason that the page gives.
const NOT_CLOSED: &[(&str, &str)] = &[
    ("`stat` outside", "Landlock does not govern it: names and sizes show, contents do not"),
    (
        "read through a descriptor opened before",
        "rights are checked when a file is opened; the daemon itself has none open (below)",
    ),
    ("TCP: connect to the API's port of this host", "this is the way that the config opens"),
    (
        "TCP: connect to the API's port of another host",
        "Landlock knows ports and no addresses; the program pins the endpoint's addresses",
    ),
    ("limit on the size of files", "the operator's: `systemd`, a container or a quota"),
    ("limit on memory", "the operator's: what a model takes depends on it"),
    ("limit on open files", "the operator's: the limit that the daemon was started with stays"),
];

/// Rows that are refused without confinement on some systems, too.
pub(crate) fn proves_nothing_by_itself(row: &str) -> bool {
    // What only root may do, and what this kernel does not have at all.
    ["`bpf`", "`perf_event_open`", "`userfaultfd`", "`keyctl`", "`mount`", "x32"]
        .iter()
        .any(|part| row.contains(part))
        || row.starts_with("`setns`")
        || row.starts_with("`unshare`")
}

/// Whether the kernel said no.
pub(crate) fn is_refusal(answer: &str) -> bool {
    matches!(answer, "EACCES" | "EPERM" | "EXDEV" | "ENOSYS")
}

/// What this kernel lacks cannot be tried on it.
fn cannot_be_tried(answer: &str) -> bool {
    matches!(answer, "EAFNOSUPPORT" | "EPROTONOSUPPORT" | "ENETUNREACH")
}

fn reason(row: &str) -> Option<&'static str> {
    NOT_CLOSED.iter().find(|(known, _)| *known == row).map(|(_, reason)| *reason)
}

/// Every row is refused or named, and the page says what was seen.
pub(crate) fn hold_against(answers: &[(Who, Answers)]) {
    for (who, answers) in answers {
        for (row, answer) in answers {
            let closed = is_refusal(answer) || matches!(answer.as_str(), "0" | "none");
            let named = reason(row).is_some() || cannot_be_tried(answer);
            assert!(closed || named, "{who:?}: {row}: {answer}");
        }
    }
    let seen = table(answers);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = std::fs::read_to_string(path).unwrap();
    let said = page.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END));
    let said = said.unwrap_or_else(|| panic!("{PAGE} has no table between {BEGIN} and {END}")).0;
    let abi = format!("Landlock ABI {}", seal_service::confine::landlock_abi());
    let as_here = page.contains(&abi);
    if !as_here {
        println!(
            "{PAGE} was made on another kernel than this one, with {abi}: rows, and refused or not"
        );
    }
    let alike = said.trim().lines().count() == seen.trim().lines().count()
        && said.trim().lines().zip(seen.trim().lines()).all(|(a, b)| same(a, b, as_here));
    assert!(alike, "{PAGE} says something else than what was seen; what was seen:\n{seen}");
}

/// Two lines of the table; on another kernel an answer may have another name.
fn same(said: &str, seen: &str, to_the_word: bool) -> bool {
    let cells =
        |line: &str| -> Vec<String> { line.split('|').map(|c| c.trim().to_owned()).collect() };
    let (said, seen) = (cells(said), cells(seen));
    let like = |(a, b): (&String, &String)| {
        a == b
            || (!to_the_word && is_refusal(a) == is_refusal(b))
            || cannot_be_tried(a)
            || cannot_be_tried(b)
    };
    said.len() == seen.len() && said.iter().zip(&seen).all(like)
}

fn table(answers: &[(Who, Answers)]) -> String {
    let mut text = String::from(
        "| tried | teacher | teacher with an API | student | auditor | judge | not closed, because |\n\
         |---|---|---|---|---|---|---|\n",
    );
    // The one with a way out has every row.
    let all = answers.iter().max_by_key(|(_, answers)| answers.len());
    for (row, _) in all.into_iter().flat_map(|(_, answers)| answers) {
        let cells = answers.iter().map(|(_, answers)| answer_to(row, answers).unwrap_or("no port"));
        let cells: Vec<&str> = cells.collect();
        // A string takes every line.
        let _ = writeln!(text, "| {row} | {} | {} |", cells.join(" | "), reason(row).unwrap_or(""));
    }
    text
}
