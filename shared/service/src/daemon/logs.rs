//! Logs: JSON lines on stderr, readable lines on a terminal. Digests and counts, never texts or keys.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Environment variable with a filter such as `info` or `seal_service=debug`.
const FILTER: &str = "SEAL_LOG";
/// A library that quotes answers in full in its messages, whatever the filter says.
const SILENT: &str = "async_openai=off";

/// Starts logging; a second call changes nothing.
pub(super) fn init() {
    let filter = EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| EnvFilter::new("info"));
    let filter = match SILENT.parse() {
        Ok(silent) => filter.add_directive(silent),
        Err(_) => filter,
    };
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // An error means that a test or the launcher has set up logging already.
    let _ = match std::io::stderr().is_terminal() {
        true => logs.compact().try_init(),
        false => logs.json().flatten_event(true).try_init(),
    };
    std::panic::set_hook(Box::new(log_place));
}

/// Where, not what: a panic's message may quote a peer's text.
fn log_place(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current().name().unwrap_or_default().to_owned();
    tracing::error!(
        panic.place = place,
        panic.thread = thread,
        "a defect stopped a piece of work at {place}"
    );
}
