//! Causal attention with grouped key/value heads, per sequence, over all of the past or a window.
//!
//! Probabilities are never stored for a whole batch: the backward recomputes them row by row.

use super::lanes::{LANES, add_scaled, dot, exp, max, sum, vectorised};
use super::{tensor, values};
use crate::batch::Span;
use crate::error::Result;
use candle_core::Tensor;
use rayon::prelude::*;
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

/// One key/value head of one sequence: keys transposed so that a query meets many keys at once.
pub(crate) struct HeadKeys<'a> {
    /// `[dim, stride]`.
    pub(crate) keys: &'a [f32],
    pub(crate) stride: usize,
    /// Row `j` begins at `j · value_stride`.
    pub(crate) values: &'a [f32],
    pub(crate) value_stride: usize,
}

/// The whole lanes around `seen`. They begin at the same multiple of [`LANES`] whichever way a
/// query is reached, so a sum over them is the same in a prompt and in decoding.
#[inline(always)]
fn lanes_around(seen: &Range<usize>) -> Range<usize> {
    seen.start / LANES * LANES..seen.end.next_multiple_of(LANES)
}

/// Softmax of `q·K` over the keys `seen`, into these elements of `row`, whose length is a multiple
/// of [`LANES`] of at least `seen.end`; the rest of the lanes around them becomes 0.
#[inline(always)]
fn probabilities(row: &mut [f32], q: &[f32], head: &HeadKeys<'_>, seen: &Range<usize>, scale: f32) {
    let lanes = lanes_around(seen);
    let first = lanes.start;
    let row = &mut row[lanes];
    for (chunk, row) in row.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let mut scores = [0f32; LANES];
        for (d, &q) in q.iter().enumerate() {
            let keys = &head.keys[d * head.stride + first + chunk * LANES..][..LANES];
            for i in 0..LANES {
                scores[i] = q.mul_add(keys[i], scores[i]);
            }
        }
        for i in 0..LANES {
            row[i] = scores[i] * scale;
        }
    }
    row[..seen.start - first].fill(f32::NEG_INFINITY);
    row[seen.end - first..].fill(f32::NEG_INFINITY);
    let top = max(row);
    for x in row.iter_mut() {
        *x = exp(*x - top);
    }
    let inverse = 1.0 / sum(row);
    for x in row.iter_mut() {
        *x *= inverse;
    }
}

/// `out = Σ_j row[j] · rows[j]`, each chain in ascending `j`.
#[inline(always)]
fn weighted_rows(out: &mut [f32], row: &[f32], rows: &[f32], stride: usize) {
    let (chunks, rest) = out.as_chunks_mut::<LANES>();
    for (c, out) in chunks.iter_mut().enumerate() {
        let mut sums = [0f32; LANES];
        for (j, &p) in row.iter().enumerate() {
            let v = &rows[j * stride + c * LANES..][..LANES];
            for i in 0..LANES {
                sums[i] = p.mul_add(v[i], sums[i]);
            }
        }
        *out = sums;
    }
    let done = chunks.len() * LANES;
    for (d, out) in rest.iter_mut().enumerate() {
        *out = row
            .iter()
            .enumerate()
            .fold(0.0, |sum, (j, p)| p.mul_add(rows[j * stride + done + d], sum));
    }
}

/// One query over the keys `seen` of its head.
#[inline(always)]
pub(crate) fn attend_one(
    out: &mut [f32],
    row: &mut [f32],
    q: &[f32],
    head: &HeadKeys<'_>,
    seen: Range<usize>,
    scale: f32,
) {
    probabilities(row, q, head, &seen, scale);
    let values = &head.values[seen.start * head.value_stride..];
    weighted_rows(out, &row[seen], values, head.value_stride);
}

/// The softmax scale of these heads.
#[must_use]
pub(crate) fn scale(heads: Heads) -> f32 {
    heads.scale()
}

/// Transposes one head of `rows` `[len, width]` into `[dim, stride]`, zero padded; returns both.
#[inline(always)]
fn transpose_head(rows: &[f32], width: usize, at: usize, dim: usize) -> (Vec<f32>, usize) {
    let stride = (rows.len() / width).next_multiple_of(LANES);
    let mut out = vec![0.0; dim * stride];
    for (j, row) in rows.chunks_exact(width).enumerate() {
        for (d, &x) in row[at..at + dim].iter().enumerate() {
            out[d * stride + j] = x;
        }
    }
    (out, stride)
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

/// `(dq, dk, dv)` from `dout`, recomputing the probabilities.
///
/// # Shapes
/// As in [`forward`]; `dout` and `dq` `[n, query · dim]`, `dk`, `dv` `[n, key_value · dim]`.
///
/// # Errors
/// Tensors that are not f32 on the CPU.
pub fn backward(
    dout: &[f32],
    (q, k, v): (&Tensor, &Tensor, &Tensor),
    spans: &[Span],
    heads: Heads,
) -> Result<(Vec<f32>, Vec<f32>, Vec<f32>)> {
    let (q, k, v) = (values(q)?, values(k)?, values(v)?);
    let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]);
    for (head, [part_q, part_k, part_v]) in
        compute(spans, heads, |head| head_backward(dout, (&q, &k, &v), head))
    {
        place(&mut dq, &part_q, head, heads.group() * heads.dim, heads.query * heads.dim);
        place(&mut dk, &part_k, head, heads.dim, heads.key_value * heads.dim);
        place(&mut dv, &part_v, head, heads.dim, heads.key_value * heads.dim);
    }
    Ok((dq, dk, dv))
}

/// Copies one head's rows of `columns` elements into rows of `width` elements.
fn place(out: &mut [f32], part: &[f32], at: Head, columns: usize, width: usize) {
    for (row, part) in part.chunks_exact(columns).enumerate() {
        out[(at.span.start + row) * width + at.head * columns..][..columns].copy_from_slice(part);
    }
}

fn head_backward(dout: &[f32], qkv: (&[f32], &[f32], &[f32]), at: Head) -> [Vec<f32>; 3] {
    let (dim, len) = (at.heads.dim, at.span.len);
    let mut parts =
        [vec![0.0; len * at.heads.group() * dim], vec![0.0; len * dim], vec![0.0; len * dim]];
    backward_kernel(&mut parts, dout, qkv, at);
    parts
}

vectorised! {
    fn backward_kernel<'a>(
        parts: &'a mut [Vec<f32>; 3],
        dout: &'a [f32],
        qkv: (&'a [f32], &'a [f32], &'a [f32]),
        at: Head,
    ) {
        let (q, k, v) = qkv;
        let [dq, dk, dv] = parts;
        let (dim, group, scale) = (at.heads.dim, at.heads.group(), at.heads.scale());
        let kv_width = at.heads.key_value * dim;
        let padded = at.span.len.next_multiple_of(LANES);
        let (mut row, mut drow) = (vec![0.0; padded], vec![0.0; padded]);
        let (k, v) = (&k[at.kv_rows()], &v[at.kv_rows()]);
        let (keys_t, stride) = transpose_head(k, kv_width, at.head * dim, dim);
        let (values_t, _) = transpose_head(v, kv_width, at.head * dim, dim);
        let (k, v) = (&k[at.head * dim..], &v[at.head * dim..]);
        let keys = HeadKeys { keys: &keys_t, stride, values: v, value_stride: kv_width };
        for i in 0..at.span.len {
            let seen = at.heads.seen(i);
            for g in 0..group {
                let (q, dout) = (&q[at.query(i, g)], &dout[at.query(i, g)]);
                let lanes = lanes_around(&seen);
                probabilities(&mut row, q, &keys, &seen, scale);
                for_each_key(&mut drow, dout, &values_t, stride, lanes.clone());
                softmax_backward(&mut drow[lanes.clone()], &row[lanes], scale);
                let dq = &mut dq[(i * group + g) * dim..][..dim];
                weighted_rows(dq, &drow[seen.clone()], &k[seen.start * kv_width..], kv_width);
                for j in seen.clone() {
                    add_scaled(&mut dk[j * dim..][..dim], drow[j], q);
                    add_scaled(&mut dv[j * dim..][..dim], row[j], dout);
                }
            }
        }
    }
}

/// Turns the gradient of probabilities into that of scores.
#[inline(always)]
fn softmax_backward(drow: &mut [f32], row: &[f32], scale: f32) {
    let mean = dot(row, drow);
    for (d, p) in drow.iter_mut().zip(row) {
        *d = p * (*d - mean) * scale;
    }
}

/// `row[j] = x · column j` for the columns `lanes` of `[dim, stride]`, which are whole lanes.
#[inline(always)]
fn for_each_key(row: &mut [f32], x: &[f32], columns: &[f32], stride: usize, lanes: Range<usize>) {
    let first = lanes.start;
    for (chunk, row) in row[lanes].as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let mut sums = [0f32; LANES];
        for (d, &x) in x.iter().enumerate() {
            let column = &columns[d * stride + first + chunk * LANES..][..LANES];
            for i in 0..LANES {
                sums[i] = x.mul_add(column[i], sums[i]);
            }
        }
        *row = sums;
    }
}
