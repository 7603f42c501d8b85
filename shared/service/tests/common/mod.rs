//! A `main` for tests whose child processes must have a single thread: the test program starts
//! itself again with an act to play, and the tests look at how that ended.

use std::path::Path;
use std::process::{Command, Stdio};

pub(crate) type Test = (&'static str, fn());

const ACT: &str = "SEAL_TEST_ACT";
const FOLDER: &str = "SEAL_TEST_FOLDER";

/// Plays the act that the environment names, or runs every test whose name matches an argument.
pub(crate) fn main(tests: &[Test], play: fn(act: &str, folder: &Path)) {
    match (std::env::var(ACT), std::env::var_os(FOLDER)) {
        (Ok(act), Some(folder)) => play(&act, Path::new(&folder)),
        _ => run_all(tests),
    }
}

/// This program again, to play `act` in `folder`.
pub(crate) fn child(act: &str, folder: &Path) -> Command {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.env(ACT, act).env(FOLDER, folder).env_remove("SEAL_LOG");
    child.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    child
}

fn run_all(tests: &[Test]) {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let listing = std::env::args().any(|argument| argument == "--list");
    let chosen = tests.iter().filter(|(name, _)| {
        wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()))
    });
    let mut failed = 0;
    for (name, test) in chosen {
        if listing {
            println!("{name}: test");
            continue;
        }
        let held = std::panic::catch_unwind(test).is_ok();
        println!("test {name} ... {}", if held { "ok" } else { "FAILED" });
        failed += usize::from(!held);
    }
    assert!(failed == 0, "{failed} tests failed");
}

/// Names of the given functions together with them.
#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)?) => { &[$((stringify!($name), $name as fn())),*] };
}
