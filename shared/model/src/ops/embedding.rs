//! Token embedding.

use super::{tensor, values};
use crate::error::{ModelError, Result};
use candle_core::Tensor;

/// Rows `tokens` of `table` `[vocab, d]` → `[tokens, d]`.
///
/// # Errors
/// A token outside the vocabulary.
pub fn forward(table: &Tensor, tokens: &[u32]) -> Result<Tensor> {
    let (vocab_size, width) = table.dims2()?;
    let table = values(table)?;
    let mut out = Vec::with_capacity(tokens.len() * width);
    for &token in tokens {
        let row = token as usize;
        if row >= vocab_size {
            return Err(ModelError::Token { token, vocab_size });
        }
        out.extend_from_slice(&table[row * width..(row + 1) * width]);
    }
    tensor(out, (tokens.len(), width))
}

/// Adds the gradient `dy` `[tokens, d]` to the rows of `dtable` it came from.
pub fn backward(dtable: &mut [f32], tokens: &[u32], dy: &[f32]) {
    let width = dy.len().checked_div(tokens.len()).unwrap_or(0);
    for (&token, dy) in tokens.iter().zip(dy.chunks_exact(width.max(1))) {
        let row = &mut dtable[token as usize * width..][..width];
        row.iter_mut().zip(dy).for_each(|(sum, dy)| *sum += dy);
    }
}
