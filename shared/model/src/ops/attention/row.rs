//! One query over the keys of its head: the inner loops of attention.

use crate::ops::lanes::{LANES, exp, max, sum};
use std::ops::Range;

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
pub(super) fn lanes_around(seen: &Range<usize>) -> Range<usize> {
    seen.start / LANES * LANES..seen.end.next_multiple_of(LANES)
}

/// Softmax of `q·K` over the keys `seen`, into these elements of `row`, whose length is a multiple
/// of [`LANES`] of at least `seen.end`; the rest of the lanes around them becomes 0.
#[inline(always)]
pub(super) fn probabilities(
    row: &mut [f32],
    q: &[f32],
    head: &HeadKeys<'_>,
    seen: &Range<usize>,
    scale: f32,
) {
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
pub(super) fn weighted_rows(out: &mut [f32], row: &[f32], rows: &[f32], stride: usize) {
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

/// Transposes one head of `rows` `[len, width]` into `[dim, stride]`, zero padded; returns both.
#[inline(always)]
pub(super) fn transpose_head(
    rows: &[f32],
    width: usize,
    at: usize,
    dim: usize,
) -> (Vec<f32>, usize) {
    let stride = (rows.len() / width).next_multiple_of(LANES);
    let mut out = vec![0.0; dim * stride];
    for (j, row) in rows.chunks_exact(width).enumerate() {
        for (d, &x) in row[at..at + dim].iter().enumerate() {
            out[d * stride + j] = x;
        }
    }
    (out, stride)
}
