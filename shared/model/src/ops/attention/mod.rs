//! Causal attention with grouped key/value heads, per sequence, over all of the past or a window.
//!
//! Probabilities are never stored for a whole batch: the backward recomputes them row by row.

mod backward;
mod row;
#[cfg(test)]
mod tests;

pub use backward::backward;
pub(crate) use row::{HeadKeys, attend_one};

use super::lanes::{LANES, vectorised};
use super::{tensor, values};
use crate::batch::Span;
use crate::error::Result;
use candle_core::Tensor;
use rayon::prelude::*;
use row::transpose_head;
use std::ops::Range;

/// Query-key pairs times heads from which the heads are spread over the threads of the pool.
const PARALLEL_FROM: usize = 1 << 20;

/// Head counts, size and reach of one layer's attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub query: usize,
    /// Key/value heads; divides `query`.
    pub key_value: usize,
    /// Elements per head.
    pub dim: usize,
    /// Latest positions a query sees, its own included; none: all of its past.
    pub window: Option<usize>,
}

impl Heads {
    /// Positions that the query at `position` of its sequence sees.
    #[inline(always)]
    pub(crate) fn seen(self, position: usize) -> Range<usize> {
        let first = match self.window {
            Some(window) => (position + 1).saturating_sub(window),
            None => 0,
        };
        first..position + 1
    }

    #[allow(clippy::cast_precision_loss)]
    fn scale(self) -> f32 {
        1.0 / (self.dim as f32).sqrt()
    }

    fn group(self) -> usize {
        self.query / self.key_value
    }
}

/// The softmax scale of these heads.
#[must_use]
pub(crate) fn scale(heads: Heads) -> f32 {
    heads.scale()
}

fn tasks(spans: &[Span], heads: Heads) -> Vec<Head> {
    spans
        .iter()
        .flat_map(|&span| (0..heads.key_value).map(move |head| Head { span, head, heads }))
        .collect()
}

fn work(spans: &[Span], heads: Heads) -> usize {
    spans.iter().map(|s| s.len * s.len * heads.query).sum()
}

/// Computes every head, on the pool's threads if the work is large.
fn compute<T: Send>(
    spans: &[Span],
    heads: Heads,
    each: impl Fn(Head) -> T + Sync,
) -> Vec<(Head, T)> {
    let tasks = tasks(spans, heads);
    if work(spans, heads) >= PARALLEL_FROM && rayon::current_num_threads() > 1 {
        tasks.into_par_iter().map(|head| (head, each(head))).collect()
    } else {
        tasks.into_iter().map(|head| (head, each(head))).collect()
    }
}

/// Causal attention of each span over itself.
///
/// # Shapes
/// `q` `[n, query · dim]`, `k` and `v` `[n, key_value · dim]`, rotated → `[n, query · dim]`.
///
/// # Errors
/// Tensors that are not f32 on the CPU.
pub fn forward(
    (q, k, v): (&Tensor, &Tensor, &Tensor),
    spans: &[Span],
    heads: Heads,
) -> Result<Tensor> {
    let shape = q.shape().clone();
    let (q, k, v) = (values(q)?, values(k)?, values(v)?);
    let mut out = vec![0.0; q.len()];
    for (head, part) in compute(spans, heads, |head| head_forward(&q, &k, &v, head)) {
        place(&mut out, &part, head, heads.group() * heads.dim, heads.query * heads.dim);
    }
    tensor(out, shape)
}

/// One sequence and one of its key/value heads.
#[derive(Clone, Copy)]
struct Head {
    span: Span,
    head: usize,
    heads: Heads,
}

impl Head {
    /// Rows of the span in a tensor `[n, key_value · dim]`.
    #[inline(always)]
    fn kv_rows(self) -> std::ops::Range<usize> {
        let width = self.heads.key_value * self.heads.dim;
        self.span.start * width..(self.span.start + self.span.len) * width
    }

    /// Elements of query head `g` of row `i` in a tensor `[n, query · dim]`.
    #[inline(always)]
    fn query(self, i: usize, g: usize) -> std::ops::Range<usize> {
        let heads = self.heads;
        let at = (self.span.start + i) * heads.query * heads.dim
            + (self.head * heads.group() + g) * heads.dim;
        at..at + heads.dim
    }
}

/// `[len, group · dim]` of one sequence and key/value head.
fn head_forward(q: &[f32], k: &[f32], v: &[f32], at: Head) -> Vec<f32> {
    let mut out = vec![0.0; at.span.len * at.heads.group() * at.heads.dim];
    forward_kernel(&mut out, q, k, v, at);
    out
}

vectorised! {
    fn forward_kernel<'a>(out: &'a mut [f32], q: &'a [f32], k: &'a [f32], v: &'a [f32], at: Head) {
        let (dim, group) = (at.heads.dim, at.heads.group());
        let kv_width = at.heads.key_value * dim;
        let mut row = vec![0.0; at.span.len.next_multiple_of(LANES)];
        let (transposed, stride) = transpose_head(&k[at.kv_rows()], kv_width, at.head * dim, dim);
        let values = &v[at.kv_rows()][at.head * dim..];
        let keys = HeadKeys { keys: &transposed, stride, values, value_stride: kv_width };
        for i in 0..at.span.len {
            for g in 0..group {
                let out = &mut out[(i * group + g) * dim..][..dim];
                let q = &q[at.query(i, g)];
                attend_one(out, &mut row, q, &keys, at.heads.seen(i), at.heads.scale());
            }
        }
    }
}

/// Copies one head's rows of `columns` elements into rows of `width` elements.
fn place(out: &mut [f32], part: &[f32], at: Head, columns: usize, width: usize) {
    for (row, part) in part.chunks_exact(columns).enumerate() {
        out[(at.span.start + row) * width + at.head * columns..][..columns].copy_from_slice(part);
    }
}
