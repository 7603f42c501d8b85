//! A [`Plan`] as tensors on a device.

use super::attention::Mask;
use super::kernels::Places;
use super::plan::Plan;
use super::rotation::Rotation;
use crate::decoder::Decoder;
use crate::error::{ModelError, Result};
use crate::ops::attention::Heads;
use candle_core::{Device, Tensor};

/// Whole sequences, packed by group.
pub struct Packed {
    /// Where everything lies.
    pub plan: Plan,
    /// `[rows]`, u32.
    pub tokens: Tensor,
    /// Of every row.
    pub rotation: Rotation,
    /// In the plan's order.
    pub buckets: Vec<Bucket>,
    /// The same for the kernels that need no buckets.
    pub places: Places,
    /// Of every row, its place behind all buckets; a row without token: the zero row after them.
    restore: Tensor,
}

/// Sequences of similar length, each padded at its end to the longest.
pub struct Bucket {
    /// Number of sequences.
    pub sequences: usize,
    /// Tokens of the longest.
    pub len: usize,
    /// Causal; so nothing that counts attends to padding.
    mask: Mask,
    /// The same for layers with a window that is shorter than the bucket.
    windowed: Option<Mask>,
    /// `[sequences · len]`: the row of each place; padding points to its group's row without token.
    rows: Tensor,
}

impl Packed {
    /// Puts `plan` on the decoder's device.
    ///
    /// # Errors
    /// A decoder of the exact engine, tokens or positions it does not have.
    pub fn new(decoder: &Decoder, plan: Plan) -> Result<Self> {
        let device = decoder.device();
        check(decoder, &plan)?;
        let rotation = Rotation::new(decoder, &plan.positions)?;
        let window = decoder.config().sliding_window.as_ref().map(|w| w.size);
        let buckets = plan
            .buckets
            .iter()
            .map(|members| Bucket::new(&plan, members, window, device))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            tokens: Tensor::new(plan.tokens.as_slice(), device)?,
            places: Places::new(&plan, decoder.config().head_dim, device)?,
            restore: Tensor::new(restore(&plan).as_slice(), device)?,
            rotation,
            buckets,
            plan,
        })
    }

    /// `x` `[rows, width]` as one `[sequences · len, width]` for each bucket.
    ///
    /// What padding gets is the row without token: the backward gives it zero.
    ///
    /// # Errors
    /// A tensor without these rows.
    pub fn to_buckets(&self, x: &Tensor) -> Result<Vec<Tensor>> {
        self.buckets.iter().map(|b| Ok(x.index_select(&b.rows, 0)?)).collect()
    }

    /// The inverse of [`Packed::to_buckets`]; rows without token become zero.
    ///
    /// # Errors
    /// Tensors of other shapes.
    pub fn from_buckets(&self, mut buckets: Vec<Tensor>) -> Result<Tensor> {
        let Some(first) = buckets.first() else {
            return Err(ModelError::Input("a batch has no sequences".into()));
        };
        let width = first.dim(1)?;
        buckets.push(Tensor::zeros((1, width), first.dtype(), first.device())?);
        Ok(Tensor::cat(&buckets, 0)?.index_select(&self.restore, 0)?)
    }
}

impl Bucket {
    /// The mask of a layer with these heads.
    #[must_use]
    pub fn mask(&self, heads: Heads) -> &Mask {
        let windowed = heads.window.and(self.windowed.as_ref());
        windowed.unwrap_or(&self.mask)
    }

    #[allow(clippy::cast_possible_truncation)]
    fn new(plan: &Plan, members: &[usize], window: Option<usize>, device: &Device) -> Result<Self> {
        let len = members.iter().map(|&i| plan.spans[i].len).max().unwrap_or(0);
        let row = |sequence: usize, i: usize| {
            let span = plan.spans[sequence];
            (if i < span.len { span.start + i } else { plan.padding[sequence] }) as u32
        };
        let window = window.filter(|&size| size < len);
        let rows: Vec<u32> = members
            .iter()
            .flat_map(|&n| (0..len).map(move |i| (n, i)))
            .map(|(n, i)| row(n, i))
            .collect();
        Ok(Self {
            sequences: members.len(),
            len,
            mask: Mask::causal(len, None, device)?,
            windowed: window.map(|w| Mask::causal(len, Some(w), device)).transpose()?,
            rows: Tensor::new(rows.as_slice(), device)?,
        })
    }
}

/// Of every row, its place behind all buckets.
#[allow(clippy::cast_possible_truncation)]
fn restore(plan: &Plan) -> Vec<u32> {
    let mut places = vec![0u32; plan.rows()];
    let mut real = vec![false; places.len()];
    let mut at = 0;
    for members in &plan.buckets {
        let len = members.iter().map(|&i| plan.spans[i].len).max().unwrap_or(0);
        for &i in members {
            let span = plan.spans[i];
            for offset in 0..span.len {
                places[span.start + offset] = (at + offset) as u32;
                real[span.start + offset] = true;
            }
            at += len;
        }
    }
    for (place, real) in places.iter_mut().zip(real) {
        if !real {
            *place = at as u32;
        }
    }
    places
}

fn check(decoder: &Decoder, plan: &Plan) -> Result<()> {
    plan.spans
        .iter()
        .try_for_each(|span| decoder.check_tokens(&plan.tokens[span.start..span.start + span.len]))
}
