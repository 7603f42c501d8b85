//! How long the programs' allocator keeps what was freed.
#![allow(unsafe_code)]

use libmimalloc_sys::{mi_option_set, mi_option_t};

/// mimalloc's `mi_option_purge_delay`, in milliseconds; its bindings have no name for it.
const PURGE_DELAY: mi_option_t = 15;
/// A minute: longer than a step, an answer or an item takes, so that none of them pays for the pages
/// of the one before; shorter than a daemon waits for its next job.
const KEPT_MS: i64 = 60_000;

/// Lets the allocator keep freed memory for a minute instead of ten milliseconds. A training step
/// frees all it computed, and the kernel clears every page that is given back and wanted again.
pub fn keep_freed_memory() {
    // SAFETY: sets one number, which any thread may read meanwhile.
    unsafe { mi_option_set(PURGE_DELAY, KEPT_MS) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_that_of_the_delay() {
        // SAFETY: reads one number.
        let before = unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert!((0..KEPT_MS).contains(&before), "{before} ms is no delay of mimalloc's own");
        keep_freed_memory();
        // SAFETY: as above.
        assert_eq!(unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) }, KEPT_MS);
    }
}
