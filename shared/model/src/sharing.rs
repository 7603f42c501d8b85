//! How much is computed in one forward, where the result does not depend on it.

use crate::decoder::Decoder;
use crate::score::{is_large, shard_tokens};

/// Fewest tokens for which a forward of a large model pays for reading the weights.
const LARGE_LEAST: usize = 192;
/// The same for a small model, whose weights stay in a cache.
const SMALL_LEAST: usize = 48;

/// Tokens per forward when `total` tokens are to be computed in forwards that do not depend on each
/// other: as many forwards as keep every thread of the pool busy, none too small to be worth it.
///
/// For work whose results are the same bits however it is divided; where parts are summed, use
/// [`shard_tokens`], which does not ask for the threads.
#[must_use]
pub fn forward_tokens(decoder: &Decoder, total: usize) -> usize {
    let most = shard_tokens(decoder);
    let least = if is_large(decoder) { LARGE_LEAST } else { SMALL_LEAST };
    divide(total, rayon::current_num_threads(), least, most)
}

fn divide(total: usize, threads: usize, least: usize, most: usize) -> usize {
    let forwards = total.div_ceil(most).next_multiple_of(threads.max(1));
    total.div_ceil(forwards.max(1)).clamp(least, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_gets_a_forward_unless_they_would_be_too_small() {
        assert_eq!(divide(980, 2, 48, 1024), 490);
        assert_eq!(divide(2000, 2, 48, 1024), 1000);
        assert_eq!(divide(2100, 2, 48, 1024), 525, "four forwards, not three");
        assert_eq!(divide(392, 16, 192, 8192), 192);
        assert_eq!(divide(49, 2, 48, 1024), 48);
        assert_eq!(divide(0, 2, 48, 1024), 48);
    }
}
