//! What holds at every door.

use super::counting::{Counting, most_held};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Longest text of an error: a stranger fills no log.
const LONGEST_ERROR: usize = 2000;
/// Most bytes held at one time for what a stranger sent, what is made once for all included.
const MOST_HELD: usize = 64 << 20;

/// What is refused, shortly.
pub fn let_in<T, E: std::fmt::Display>(outcome: Result<T, E>) -> Option<T> {
    outcome.map_err(|error| assert!(error.to_string().len() <= LONGEST_ERROR, "{error}")).ok()
}

/// A door with its memory watched; libFuzzer's own limit needs a sanitizer.
pub fn tried(open: fn(&[u8]) -> bool, sent: &[u8]) -> bool {
    let (let_in, held) = most_held(|| open(sent));
    assert!(held <= MOST_HELD, "{held} bytes held for {} that were sent", sent.len());
    let_in
}
