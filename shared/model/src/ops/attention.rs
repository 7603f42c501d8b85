//! Causal attention with grouped key/value heads, per sequence.
//!
//! Probabilities are never stored for a whole batch: the backward recomputes them row by row.

use super::lanes::{LANES, add_scaled, dot, exp, max, sum, vectorised};
use super::{tensor, values};
use crate::batch::Span;
use crate::error::Result;
use candle_core::Tensor;
use rayon::prelude::*;

/// Query-key pairs times heads from which the heads are spread over the threads of the pool.
const PARALLEL_FROM: usize = 1 << 20;

/// Head counts and size.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Query heads.
    pub query: usize,
    /// Key/value heads; divides `query`.
    pub key_value: usize,
    /// Elements per head.
    pub dim: usize,
}

impl Heads {
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

/// Softmax of `q·K` over the first `seen` keys, into `row`, whose length is a multiple of
/// [`LANES`] of at least `seen`; the rest becomes 0.
#[inline(always)]
fn probabilities(row: &mut [f32], q: &[f32], head: &HeadKeys<'_>, seen: usize, scale: f32) {
    let used = seen.next_multiple_of(LANES);
    let row = &mut row[..used];
    for (chunk, row) in row.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let mut scores = [0f32; LANES];
        for (d, &q) in q.iter().enumerate() {
            let keys = &head.keys[d * head.stride + chunk * LANES..][..LANES];
            for i in 0..LANES {
                scores[i] = q.mul_add(keys[i], scores[i]);
            }
        }
        for i in 0..LANES {
            row[i] = scores[i] * scale;
        }
    }
    row[seen..].fill(f32::NEG_INFINITY);
    let top = max(row);
    row.iter_mut().for_each(|x| *x = exp(*x - top));
    let inverse = 1.0 / sum(row);
    row.iter_mut().for_each(|x| *x *= inverse);
}

/// `out = Σ_j row[j] · rows[j]` over the first `seen` rows, each chain in ascending `j`.
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
        *out = row.iter().enumerate().fold(0.0, |sum, (j, p)| p.mul_add(rows[j * stride + done + d], sum));
    }
}

/// One query over the first `seen` keys of its head.
#[inline(always)]
pub(crate) fn attend_one(
    out: &mut [f32], row: &mut [f32], q: &[f32], head: &HeadKeys<'_>, seen: usize, scale: f32,
) {
    probabilities(row, q, head, seen, scale);
    weighted_rows(out, &row[..seen], head.values, head.value_stride);
}

/// The softmax scale of these heads.
#[must_use]
pub(crate) fn scale(heads: Heads) -> f32 {
    heads.scale()
}

/// Transposes one head of `rows` `[len, width]` into `[dim, stride]`, zero padded.
#[inline(always)]
fn transpose_head(out: &mut Vec<f32>, rows: &[f32], width: usize, at: usize, dim: usize) -> usize {
    let len = rows.len() / width;
    let stride = len.next_multiple_of(LANES);
    out.clear();
    out.resize(dim * stride, 0.0);
    for (j, row) in rows.chunks_exact(width).enumerate() {
        for (d, &x) in row[at..at + dim].iter().enumerate() {
            out[d * stride + j] = x;
        }
    }
    stride
}

/// A sequence and one of its key/value heads.
fn tasks(spans: &[Span], heads: Heads) -> Vec<(Span, usize)> {
    spans.iter().flat_map(|&span| (0..heads.key_value).map(move |head| (span, head))).collect()
}

fn work(spans: &[Span], heads: Heads) -> usize {
    spans.iter().map(|s| s.len * s.len * heads.query).sum()
}

/// Computes every task, on the pool's threads if the work is large.
fn compute<T: Send>(spans: &[Span], heads: Heads, each: impl Fn(Span, usize) -> T + Sync) -> Vec<(Span, usize, T)> {
    let tasks = tasks(spans, heads);
    if work(spans, heads) >= PARALLEL_FROM && rayon::current_num_threads() > 1 {
        tasks.into_par_iter().map(|(span, head)| (span, head, each(span, head))).collect()
    } else {
        tasks.into_iter().map(|(span, head)| (span, head, each(span, head))).collect()
    }
}

/// Causal attention of each span over itself.
///
/// # Shapes
/// `q` `[n, query · dim]`, `k` and `v` `[n, key_value · dim]`, rotated → `[n, query · dim]`.
///
/// # Errors
/// Tensors that are not f32 on the CPU.
pub fn forward(q: &Tensor, k: &Tensor, v: &Tensor, spans: &[Span], heads: Heads) -> Result<Tensor> {
    let shape = q.shape().clone();
    let (q, k, v) = (values(q)?, values(k)?, values(v)?);
    let mut out = vec![0.0; q.len()];
    let width = heads.query * heads.dim;
    for (span, head, part) in compute(spans, heads, |span, head| head_forward(&q, &k, &v, span, head, heads)) {
        let columns = heads.group() * heads.dim;
        for (row, part) in part.chunks_exact(columns).enumerate() {
            out[(span.start + row) * width + head * columns..][..columns].copy_from_slice(part);
        }
    }
    tensor(out, shape)
}

/// `[len, group · dim]` of one sequence and key/value head.
fn head_forward(q: &[f32], k: &[f32], v: &[f32], span: Span, head: usize, heads: Heads) -> Vec<f32> {
    let (dim, group) = (heads.dim, heads.group());
    let (width, kv_width) = (heads.query * dim, heads.key_value * dim);
    let mut out = vec![0.0; span.len * group * dim];
    let mut row = vec![0.0; span.len.next_multiple_of(LANES)];
    let mut transposed = Vec::new();
    vectorised(|| {
        let rows = span.start * kv_width..(span.start + span.len) * kv_width;
        let stride = transpose_head(&mut transposed, &k[rows.clone()], kv_width, head * dim, dim);
        let values = &v[rows][head * dim..];
        let keys = HeadKeys { keys: &transposed, stride, values, value_stride: kv_width };
        for i in 0..span.len {
            for g in 0..group {
                let q = &q[(span.start + i) * width + (head * group + g) * dim..][..dim];
                let out = &mut out[(i * group + g) * dim..][..dim];
                attend_one(out, &mut row, q, &keys, i + 1, heads.scale());
            }
        }
    });
    out
}

/// `(dq, dk, dv)` from `dout`, recomputing the probabilities.
///
/// # Shapes
/// As in [`forward`]; `dout` and `dq` `[n, query · dim]`, `dk`, `dv` `[n, key_value · dim]`.
///
/// # Errors
/// Tensors that are not f32 on the CPU.
pub fn backward(
    dout: &[f32], (q, k, v): (&Tensor, &Tensor, &Tensor), spans: &[Span], heads: Heads,
) -> Result<(Vec<f32>, Vec<f32>, Vec<f32>)> {
    let (q, k, v) = (values(q)?, values(k)?, values(v)?);
    let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]);
    let parts = compute(spans, heads, |span, head| head_backward(dout, (&q, &k, &v), span, head, heads));
    for (span, head, [part_q, part_k, part_v]) in parts {
        place(&mut dq, &part_q, span, head, heads.group() * heads.dim, heads.query * heads.dim);
        place(&mut dk, &part_k, span, head, heads.dim, heads.key_value * heads.dim);
        place(&mut dv, &part_v, span, head, heads.dim, heads.key_value * heads.dim);
    }
    Ok((dq, dk, dv))
}

fn place(out: &mut [f32], part: &[f32], span: Span, head: usize, columns: usize, width: usize) {
    for (row, part) in part.chunks_exact(columns).enumerate() {
        out[(span.start + row) * width + head * columns..][..columns].copy_from_slice(part);
    }
}

fn head_backward(
    dout: &[f32], (q, k, v): (&[f32], &[f32], &[f32]), span: Span, head: usize, heads: Heads,
) -> [Vec<f32>; 3] {
    let (dim, group) = (heads.dim, heads.group());
    let (width, kv_width) = (heads.query * dim, heads.key_value * dim);
    let mut dq = vec![0.0; span.len * group * dim];
    let (mut dk, mut dv) = (vec![0.0; span.len * dim], vec![0.0; span.len * dim]);
    let padded = span.len.next_multiple_of(LANES);
    let (mut row, mut drow) = (vec![0.0; padded], vec![0.0; padded]);
    let (mut keys_t, mut values_t) = (Vec::new(), Vec::new());
    vectorised(|| {
        let rows = span.start * kv_width..(span.start + span.len) * kv_width;
        let (k, v) = (&k[rows.clone()], &v[rows]);
        let stride = transpose_head(&mut keys_t, k, kv_width, head * dim, dim);
        transpose_head(&mut values_t, v, kv_width, head * dim, dim);
        let (k, v) = (&k[head * dim..], &v[head * dim..]);
        let keys = HeadKeys { keys: &keys_t, stride, values: v, value_stride: kv_width };
        for i in 0..span.len {
            let seen = i + 1;
            for g in 0..group {
                let at = (span.start + i) * width + (head * group + g) * dim;
                let (q, dout) = (&q[at..at + dim], &dout[at..at + dim]);
                probabilities(&mut row, q, &keys, seen, heads.scale());
                for_each_key(&mut drow, dout, &values_t, stride, seen);
                let used = seen.next_multiple_of(LANES);
                let mean = dot(&row[..used], &drow[..used]);
                for (d, p) in drow[..used].iter_mut().zip(&row[..used]) {
                    *d = p * (*d - mean) * heads.scale();
                }
                weighted_rows(&mut dq[(i * group + g) * dim..][..dim], &drow[..seen], k, kv_width);
                for j in 0..seen {
                    add_scaled(&mut dk[j * dim..][..dim], drow[j], q);
                    add_scaled(&mut dv[j * dim..][..dim], row[j], dout);
                }
            }
        }
    });
    [dq, dk, dv]
}

/// `row[j] = x · column j` for the first `seen` columns of `[dim, stride]`.
#[inline(always)]
fn for_each_key(row: &mut [f32], x: &[f32], columns: &[f32], stride: usize, seen: usize) {
    let used = seen.next_multiple_of(LANES);
    for (chunk, row) in row[..used].as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let mut sums = [0f32; LANES];
        for (d, &x) in x.iter().enumerate() {
            let column = &columns[d * stride + chunk * LANES..][..LANES];
            for i in 0..LANES {
                sums[i] = x.mul_add(column[i], sums[i]);
            }
        }
        *row = sums;
    }
}
