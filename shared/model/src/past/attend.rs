//! Reading rows after a remembered past.

use super::blocks::{BLOCK, Past};
use crate::batch::{Batch, Span};
use crate::decoder::{Attend, Decoder};
use crate::error::Result;
use crate::lora::Adapter;
use crate::ops::attention::{self, Heads};
use crate::ops::lanes::{LANES, softmax, vectorised};
use crate::ops::{tensor, values};
use candle_core::Tensor;
use rayon::prelude::*;
use std::ops::Range;

/// Query-key pairs times heads from which the heads are spread over the threads of the pool.
const PARALLEL_FROM: usize = 1 << 18;

/// The next tokens of one sequence.
pub(crate) struct Read<'a> {
    pub(crate) tokens: &'a [u32],
    pub(crate) adapter: Option<usize>,
    /// What came before; grows by the tokens.
    pub(crate) past: &'a mut Past,
}

/// Reads the next tokens of every sequence in one forward.
///
/// Returns the residual stream `[rows, d]` before the final norm, and each sequence's rows.
#[allow(clippy::cast_possible_truncation)]
pub(crate) fn read(
    decoder: &Decoder,
    adapters: &[&Adapter],
    reads: &mut [Read<'_>],
) -> Result<(Tensor, Vec<Span>)> {
    let mut batch = Batch::default();
    for read in &mut *reads {
        batch.push_from(read.tokens, read.past.len() as u32, read.adapter);
        read.past.reserve(read.tokens.len());
    }
    let mut remembered = Remembered { spans: &batch.spans, reads };
    let hidden = decoder.forward(&batch, adapters, &mut remembered, &mut drop)?;
    for read in reads {
        read.past.advance(read.tokens.len());
    }
    Ok((hidden, batch.spans))
}

struct Remembered<'a, 'b> {
    spans: &'a [Span],
    reads: &'a mut [Read<'b>],
}

impl Attend for Remembered<'_, '_> {
    fn attend(
        &mut self,
        layer: usize,
        heads: Heads,
        (q, k, v): (&Tensor, &Tensor, &Tensor),
    ) -> Result<Tensor> {
        self.write(layer, heads, &values(k)?, &values(v)?);
        let queries = values(q)?;
        let width = heads.query * heads.dim;
        let columns = width / heads.key_value;
        let mut out = vec![0.0; queries.len()];
        for (task, part) in self.parts(layer, heads, &queries) {
            for (i, part) in part.chunks_exact(columns).enumerate() {
                let row = self.spans[task.read].start + i;
                out[row * width + task.head * columns..][..columns].copy_from_slice(part);
            }
        }
        tensor(out, q.shape())
    }
}

/// One sequence and one of its key/value heads.
#[derive(Clone, Copy)]
struct Task {
    read: usize,
    head: usize,
}

impl Remembered<'_, '_> {
    fn write(&mut self, layer: usize, heads: Heads, keys: &[f32], vals: &[f32]) {
        let width = heads.key_value * heads.dim;
        for (span, read) in self.spans.iter().zip(self.reads.iter_mut()) {
            for i in 0..span.len {
                let row = (span.start + i) * width..(span.start + i + 1) * width;
                read.past.write(layer, i, &keys[row.clone()], &vals[row]);
            }
        }
    }

    /// `[rows, group · dim]` of every sequence and key/value head.
    fn parts(&self, layer: usize, heads: Heads, queries: &[f32]) -> Vec<(Task, Vec<f32>)> {
        let all = 0..self.reads.len();
        let tasks: Vec<Task> = all
            .flat_map(|read| (0..heads.key_value).map(move |head| Task { read, head }))
            .collect();
        let each = |task: Task| (task, self.part(layer, heads, queries, task));
        if self.work(heads) >= PARALLEL_FROM && rayon::current_num_threads() > 1 {
            tasks.into_par_iter().map(each).collect()
        } else {
            tasks.into_iter().map(each).collect()
        }
    }

    fn work(&self, heads: Heads) -> usize {
        let seen = |(span, read): (&Span, &Read<'_>)| span.len * (read.past.len() + span.len);
        self.spans.iter().zip(self.reads.iter()).map(seen).sum::<usize>() * heads.query
    }

    fn part(&self, layer: usize, heads: Heads, queries: &[f32], task: Task) -> Vec<f32> {
        let (span, past) = (self.spans[task.read], &*self.reads[task.read].past);
        let columns = heads.query / heads.key_value * heads.dim;
        let tiles = past.tiles(layer, task.head);
        let mut out = vec![0.0; span.len * columns];
        let mut row = vec![0.0; (past.len() + span.len).next_multiple_of(LANES)];
        for (i, out) in out.chunks_exact_mut(columns).enumerate() {
            let at = (span.start + i) * heads.query * heads.dim + task.head * columns;
            let query = &queries[at..at + columns];
            attend_row(out, &mut row, query, &tiles, heads.seen(past.len() + i), heads);
        }
        out
    }
}

vectorised! {
    /// The queries `[group, dim]` of one position over the positions `seen`.
    fn attend_row<'a>(
        out: &'a mut [f32],
        row: &'a mut [f32],
        queries: &'a [f32],
        tiles: &'a [&'a [f32]],
        seen: Range<usize>,
        heads: Heads,
    ) {
        let dim = heads.dim;
        let blocks = seen.start / BLOCK..seen.end.div_ceil(BLOCK);
        let first = blocks.start * BLOCK;
        let tiles = &tiles[blocks];
        let row = &mut row[..tiles.len() * BLOCK];
        for (out, q) in out.chunks_exact_mut(dim).zip(queries.chunks_exact(dim)) {
            scores(row, q, tiles, attention::scale(heads));
            row[..seen.start - first].fill(f32::NEG_INFINITY);
            row[seen.end - first..].fill(f32::NEG_INFINITY);
            softmax(row);
            weighted_values(out, row, tiles, seen.start - first..seen.end - first, dim);
        }
    }
}

/// `row = scale · q·K`, block by block, each chain in ascending `d`.
#[inline(always)]
fn scores(row: &mut [f32], q: &[f32], tiles: &[&[f32]], scale: f32) {
    for (row, tile) in row.as_chunks_mut::<BLOCK>().0.iter_mut().zip(tiles) {
        let mut sums = [0f32; BLOCK];
        for (&q, keys) in q.iter().zip(tile.as_chunks::<BLOCK>().0) {
            for i in 0..BLOCK {
                sums[i] = q.mul_add(keys[i], sums[i]);
            }
        }
        for i in 0..BLOCK {
            row[i] = sums[i] * scale;
        }
    }
}

/// `out = Σ_j row[j] · value j` over `seen`, each chain in ascending `j`.
#[inline(always)]
fn weighted_values(out: &mut [f32], row: &[f32], tiles: &[&[f32]], seen: Range<usize>, dim: usize) {
    let mut from = 0;
    while from < dim {
        let width = LANES.min(dim - from);
        let mut sums = [0f32; LANES];
        for (block, tile) in tiles.iter().enumerate() {
            let values = &tile[dim * BLOCK..];
            let lanes = seen.start.saturating_sub(block * BLOCK)
                ..(seen.end - (block * BLOCK).min(seen.end)).min(BLOCK);
            for lane in lanes {
                let p = row[block * BLOCK + lane];
                let value = &values[lane * dim + from..];
                if width == LANES {
                    let value = &value[..LANES];
                    for i in 0..LANES {
                        sums[i] = p.mul_add(value[i], sums[i]);
                    }
                } else {
                    for i in 0..width {
                        sums[i] = p.mul_add(value[i], sums[i]);
                    }
                }
            }
        }
        out[from..from + width].copy_from_slice(&sums[..width]);
        from += width;
    }
}
