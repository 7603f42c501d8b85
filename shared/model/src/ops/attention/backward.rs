//! The backward of attention, from the same ranges as the forward.

use super::row::{HeadKeys, lanes_around, probabilities, transpose_head, weighted_rows};
use super::{Head, Heads, compute, place};
use crate::batch::Span;
use crate::error::Result;
use crate::ops::lanes::{LANES, add_scaled, dot, vectorised};
use crate::ops::values;
use candle_core::Tensor;
use std::ops::Range;

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
