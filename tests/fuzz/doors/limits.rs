//! What holds at every door.

/// Longest text of an error: a stranger fills no log.
const LONGEST_ERROR: usize = 2000;

/// What is refused, shortly.
pub fn let_in<T, E: std::fmt::Display>(outcome: Result<T, E>) -> Option<T> {
    outcome.map_err(|error| assert!(error.to_string().len() <= LONGEST_ERROR, "{error}")).ok()
}
