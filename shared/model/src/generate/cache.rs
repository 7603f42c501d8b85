//! Keys and values of one growing sequence.
//!
//! A layer with a sliding window keeps all of its past too: what a query sees is decided when it
//! attends, by the same ranges as in training, so that both give the same bits.

use crate::batch::Span;
use crate::decoder::Attend;
use crate::error::Result;
use crate::ops::attention::{self, HeadKeys, Heads, attend_one};
use crate::ops::lanes::{LANES, vectorised};
use crate::ops::{tensor, values};
use candle_core::Tensor;

/// The past of one sequence in every layer.
pub(super) struct Past {
    layers: Vec<LayerPast>,
}

/// The past of one layer. Keys are transposed, as the attention kernel reads them.
#[derive(Clone, Default)]
struct LayerPast {
    /// `[key_value · dim, capacity]`.
    keys: Vec<f32>,
    /// `[len, key_value · dim]`.
    values: Vec<f32>,
    capacity: usize,
    len: usize,
}

impl Past {
    pub(super) fn new(layers: usize) -> Self {
        Self { layers: vec![LayerPast::default(); layers] }
    }
}

impl LayerPast {
    fn push(&mut self, key: &[f32], value: &[f32]) {
        if self.len == self.capacity {
            self.grow(key.len());
        }
        for (d, &x) in key.iter().enumerate() {
            self.keys[d * self.capacity + self.len] = x;
        }
        self.values.extend_from_slice(value);
        self.len += 1;
    }

    fn grow(&mut self, width: usize) {
        let capacity = (2 * self.capacity).max(4 * LANES);
        let mut keys = vec![0.0; width * capacity];
        for d in 0..width {
            keys[d * capacity..][..self.len]
                .copy_from_slice(&self.keys[d * self.capacity..][..self.len]);
        }
        (self.keys, self.capacity) = (keys, capacity);
    }

    /// One query row over everything seen so far.
    fn attend(&self, out: &mut [f32], q: &[f32], heads: Heads, row: &mut Vec<f32>) {
        row.resize(self.len.next_multiple_of(LANES), 0.0);
        attend_kernel(self, out, q, heads, row.as_mut_slice());
    }
}

vectorised! {
    fn attend_kernel<'a>(
        past: &'a LayerPast,
        out: &'a mut [f32],
        q: &'a [f32],
        heads: Heads,
        row: &'a mut [f32],
    ) {
        let (dim, group) = (heads.dim, heads.query / heads.key_value);
        for (head, (out, q)) in out.chunks_exact_mut(dim).zip(q.chunks_exact(dim)).enumerate() {
            let shared = head / group;
            let keys = HeadKeys {
                keys: &past.keys[shared * dim * past.capacity..],
                stride: past.capacity,
                values: &past.values[shared * dim..],
                value_stride: heads.key_value * dim,
            };
            let seen = heads.seen(past.len - 1);
            attend_one(out, row, q, &keys, seen, attention::scale(heads));
        }
    }
}

/// Reads whole prompts and remembers their keys and values.
pub(super) struct Prefill<'a> {
    pub(super) spans: &'a [Span],
    pub(super) pasts: &'a mut [Past],
}

impl Attend for Prefill<'_> {
    fn attend(
        &mut self,
        layer: usize,
        heads: Heads,
        (q, k, v): (&Tensor, &Tensor, &Tensor),
    ) -> Result<Tensor> {
        let width = heads.key_value * heads.dim;
        let (keys, vals) = (values(k)?, values(v)?);
        for (span, past) in self.spans.iter().zip(self.pasts.iter_mut()) {
            let rows = span.start * width..(span.start + span.len) * width;
            for (key, value) in
                keys[rows.clone()].chunks_exact(width).zip(vals[rows].chunks_exact(width))
            {
                past.layers[layer].push(key, value);
            }
        }
        drop((keys, vals));
        attention::forward((q, k, v), self.spans, heads)
    }
}

/// One new row for each sequence.
pub(super) struct Decode<'a> {
    pub(super) pasts: Vec<&'a mut Past>,
}

impl Attend for Decode<'_> {
    fn attend(
        &mut self,
        layer: usize,
        heads: Heads,
        (q, k, v): (&Tensor, &Tensor, &Tensor),
    ) -> Result<Tensor> {
        let (kv_width, width) = (heads.key_value * heads.dim, heads.query * heads.dim);
        let (queries, keys, vals) = (values(q)?, values(k)?, values(v)?);
        let mut out = vec![0.0; queries.len()];
        let mut row = Vec::new();
        for (i, past) in self.pasts.iter_mut().enumerate() {
            let past = &mut past.layers[layer];
            past.push(&keys[i * kv_width..][..kv_width], &vals[i * kv_width..][..kv_width]);
            let out = &mut out[i * width..][..width];
            past.attend(out, &queries[i * width..][..width], heads, &mut row);
        }
        tensor(out, q.shape())
    }
}
