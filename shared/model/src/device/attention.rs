//! Attention over rectangles, in f32, with grouped query heads and without repeated keys.

use crate::error::Result;
use crate::ops::attention::Heads;
use candle_core::{D, Device, Tensor};
use candle_nn::ops::softmax_last_dim;

/// Scores held at once.
const MOST_SCORES: usize = 1 << 28;
/// Added to the score of a key that must not be seen. Finite: a row that sees nothing stays finite.
const HIDDEN: f32 = -1e30;

/// What each query may see.
pub struct Mask {
    /// `[1 or sequences, queries, keys]`, f32: 0 or [`HIDDEN`].
    tensor: Tensor,
}

impl Mask {
    /// Each position sees itself and the `window − 1` before it; without a window, all before it.
    ///
    /// # Errors
    /// A device without the memory.
    pub fn causal(len: usize, window: Option<usize>, device: &Device) -> Result<Self> {
        Self::new(1, len, len, device, |_, query, key| {
            key <= query && window.is_none_or(|w| query - key < w)
        })
    }

    /// `sees(sequence, query, key)` for each.
    ///
    /// # Errors
    /// A device without the memory.
    pub fn new(
        sequences: usize,
        queries: usize,
        keys: usize,
        device: &Device,
        sees: impl Fn(usize, usize, usize) -> bool,
    ) -> Result<Self> {
        let mut values = Vec::with_capacity(sequences * queries * keys);
        for sequence in 0..sequences {
            for query in 0..queries {
                let seen = |key| if sees(sequence, query, key) { 0.0 } else { HIDDEN };
                values.extend((0..keys).map(seen));
            }
        }
        Ok(Self { tensor: Tensor::from_vec(values, (sequences, queries, keys), device)? })
    }

    /// A mask that exists.
    #[must_use]
    pub fn from_tensor(tensor: Tensor) -> Self {
        Self { tensor }
    }

    /// Adds the mask to `scores` `[heads, group · queries, keys]`, which begin with head `first`.
    fn add(&self, scores: &Tensor, first: usize, heads: Heads) -> Result<Tensor> {
        let (batch, _, keys) = scores.dims3()?;
        let (masks, queries, _) = self.tensor.dims3()?;
        let group = heads.query / heads.key_value;
        if masks == 1 {
            let each = scores.reshape((batch * group, queries, keys))?;
            return Ok(each.broadcast_add(&self.tensor)?.reshape(scores.shape())?);
        }
        let sequences = batch / heads.key_value;
        let each = scores.reshape((sequences, heads.query, queries, keys))?;
        let mask = self.tensor.narrow(0, first / heads.key_value, sequences)?.unsqueeze(1)?;
        Ok(each.broadcast_add(&mask)?.reshape(scores.shape())?)
    }
}

/// Rows `[sequences · len, heads · dim]` → `[sequences · shared, heads / shared · len, dim]`.
///
/// `shared` is the number of key/value heads, `heads` that of the heads in the rows.
///
/// # Errors
/// A shape that does not fit.
pub fn split_heads(x: &Tensor, sequences: usize, heads: usize, shared: usize) -> Result<Tensor> {
    let (rows, width) = x.dims2()?;
    let (len, dim) = (rows / sequences, width / heads);
    let split = x.reshape((sequences, len, heads, dim))?.transpose(1, 2)?;
    Ok(split.reshape((sequences * shared, heads / shared * len, dim))?)
}

/// The inverse of [`split_heads`].
///
/// # Errors
/// A shape that does not fit.
pub fn join_heads(x: &Tensor, sequences: usize, heads: usize) -> Result<Tensor> {
    let dim = x.dim(D::Minus1)?;
    let len = x.elem_count() / (sequences * heads * dim);
    let joined = x.reshape((sequences, heads, len, dim))?.transpose(1, 2)?;
    Ok(joined.reshape((sequences * len, heads * dim))?)
}

/// Softmax of the masked scores of `q` against `k`; `first` is the number of their first head.
///
/// # Shapes
/// `q` `[heads, group · queries, dim]`, scaled; `k` `[heads, keys, dim]` →
/// `[heads, group · queries, keys]`.
///
/// # Errors
/// Shapes that disagree.
pub fn probabilities(
    q: &Tensor,
    k: &Tensor,
    mask: &Mask,
    first: usize,
    heads: Heads,
) -> Result<Tensor> {
    let scores = q.matmul(&k.transpose(1, 2)?)?;
    Ok(softmax_last_dim(&mask.add(&scores, first, heads)?)?)
}

/// Attention of `q` over `k` and `v`.
///
/// # Shapes
/// As in [`probabilities`]; `v` as `k` → as `q`.
///
/// # Errors
/// Shapes that disagree.
pub fn attend(q: &Tensor, k: &Tensor, v: &Tensor, mask: &Mask, heads: Heads) -> Result<Tensor> {
    let parts = pieces(q, k, mask, heads)?
        .into_iter()
        .map(|(from, len)| {
            let (q, k, v) =
                (q.narrow(0, from, len)?, k.narrow(0, from, len)?, v.narrow(0, from, len)?);
            Ok(probabilities(&q, &k, mask, from, heads)?.matmul(&v)?)
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Tensor::cat(&parts, 0)?)
}

/// Cuts the heads of all sequences so that the scores of a piece fit in memory.
///
/// # Errors
/// Tensors that are not of three dimensions.
pub fn pieces(q: &Tensor, k: &Tensor, mask: &Mask, heads: Heads) -> Result<Vec<(usize, usize)>> {
    let (batch, queries, _) = q.dims3()?;
    let scores = queries * k.dim(1)?;
    // A mask for each sequence is cut with its sequence.
    let unit = if mask.tensor.dim(0)? == 1 { 1 } else { heads.key_value };
    let step = (MOST_SCORES / scores.max(1) / unit).max(1) * unit;
    Ok((0..batch).step_by(step).map(|from| (from, step.min(batch - from))).collect())
}
