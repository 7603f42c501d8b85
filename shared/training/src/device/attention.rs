//! Backward of attention: probabilities are computed again, bucket by bucket, in pieces that fit.

use crate::error::Result;
use candle_core::{D, Tensor};
use seal_model::device::kernels::attend_backward;
use seal_model::device::{Bucket, Packed, join_heads, pieces, probabilities, split_heads};
use seal_model::ops::attention::Heads;

/// Gradients of the rotated `q`, `k` and of `v`.
///
/// # Shapes
/// `dy` and `q` `[rows, query · dim]`; `k` and `v` `[rows, key_value · dim]`.
pub(super) fn backward(
    packed: &Packed,
    heads: Heads,
    dy: &Tensor,
    (q, k, v): (&Tensor, &Tensor, &Tensor),
) -> Result<[Tensor; 3]> {
    if let Some(gradients) = attend_backward(&packed.places, heads, dy, (q, k, v))? {
        return Ok(gradients);
    }
    let of_buckets = |x| packed.to_buckets(x);
    let (dy, q, k, v) = (of_buckets(dy)?, of_buckets(q)?, of_buckets(k)?, of_buckets(v)?);
    let mut found: [Vec<Tensor>; 3] = Default::default();
    for (at, bucket) in packed.buckets.iter().enumerate() {
        let gradients = of_bucket(bucket, heads, &dy[at], (&q[at], &k[at], &v[at]))?;
        found.iter_mut().zip(gradients).for_each(|(all, one)| all.push(one));
    }
    // A row lies in one place of one bucket: what gathers the forward gathers the gradient.
    let [dq, dk, dv] = found;
    Ok([packed.from_buckets(dq)?, packed.from_buckets(dk)?, packed.from_buckets(dv)?])
}

fn of_bucket(
    bucket: &Bucket,
    heads: Heads,
    dy: &Tensor,
    (q, k, v): (&Tensor, &Tensor, &Tensor),
) -> Result<[Tensor; 3]> {
    let split = |x, count| split_heads(x, bucket.sequences, count, heads.key_value);
    let (dy, q) = (split(dy, heads.query)?, split(q, heads.query)?);
    let (k, v) = (split(k, heads.key_value)?, split(v, heads.key_value)?);
    let mask = bucket.mask(heads);
    let mut found: [Vec<Tensor>; 3] = Default::default();
    for (from, len) in pieces(&q, &k, mask, heads)? {
        let part = |x: &Tensor| x.narrow(0, from, len);
        let (dy, q, k, v) = (part(&dy)?, part(&q)?, part(&k)?, part(&v)?);
        let p = probabilities(&q, &k, mask, from, heads)?;
        let dp = dy.matmul(&v.transpose(1, 2)?)?;
        let along = (&p * &dp)?.sum_keepdim(D::Minus1)?;
        let dscores = (&p * dp.broadcast_sub(&along)?)?;
        let gradients = [
            dscores.matmul(&k)?,
            dscores.transpose(1, 2)?.matmul(&q)?,
            p.transpose(1, 2)?.matmul(&dy)?,
        ];
        found.iter_mut().zip(gradients).for_each(|(all, one)| all.push(one));
    }
    let [dq, dk, dv] = found;
    let join = |parts: Vec<Tensor>, count| -> Result<Tensor> {
        Ok(join_heads(&Tensor::cat(&parts, 0)?, bucket.sequences, count)?)
    };
    Ok([join(dq, heads.query)?, join(dk, heads.key_value)?, join(dv, heads.key_value)?])
}
