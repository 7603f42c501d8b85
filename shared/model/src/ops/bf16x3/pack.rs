//! Operands as tiles of bf16 parts.

use super::parts::{count, parts};
use super::{SIDE, TILE, TILE_DEPTH, Tile, prefetch};
use crate::ops::lanes::vectorised;
use rayon::prelude::*;
use std::ops::Range;

/// Parts of a number of the left operand.
pub(super) const PARTS: usize = 3;

/// A frozen right operand, `[k, n]`, prepared once for many products.
pub struct Weight {
    /// For each panel of [`SIDE`] columns, for each tile of k, for each part: left and right tile.
    tiles: Vec<Tile>,
    pub(super) n: usize,
    pub(super) k: usize,
    parts: usize,
}

impl Weight {
    /// From a weight stored `[n, k]`, as weights `[out, in]` are, for `x·Wᵀ`.
    #[must_use]
    pub fn columns(data: &[f32], n: usize, k: usize) -> Self {
        Self::new(data, (n, k), |column, depth| column * k + depth)
    }

    /// From a weight stored `[k, n]`, for `dy·W`.
    #[must_use]
    pub fn rows(data: &[f32], n: usize, k: usize) -> Self {
        Self::new(data, (n, k), |column, depth| depth * n + column)
    }

    /// Bytes that preparing a weight of `len` numbers takes at most.
    #[must_use]
    pub fn bytes(len: usize) -> usize {
        PARTS * size_of::<u16>() * len
    }

    fn new(
        data: &[f32],
        (n, k): (usize, usize),
        at: impl Fn(usize, usize) -> usize + Sync,
    ) -> Self {
        assert_eq!(data.len(), n * k, "a weight does not match its shape");
        let shared = count(data);
        let (depth, panels) = (k.div_ceil(TILE_DEPTH), n.div_ceil(SIDE));
        let mut tiles = vec![Tile::ZERO; panels * depth * shared * 2];
        let panel_len = depth * shared * 2;
        tiles.par_chunks_mut(panel_len.max(1)).enumerate().for_each(|(panel, tiles)| {
            for column in panel * SIDE..n.min((panel + 1) * SIDE) {
                let (half, place) = ((column % SIDE) / TILE, column % TILE);
                for row in 0..k {
                    let numbers = parts(data[at(column, row)]);
                    let (tile, row) = (row / TILE_DEPTH, row % TILE_DEPTH);
                    // Neighbours in k stand beside each other.
                    let to = (row / 2 * TILE + place) * 2 + row % 2;
                    for (part, &number) in numbers[..shared].iter().enumerate() {
                        tiles[(tile * shared + part) * 2 + half].0[to] = number;
                    }
                }
            }
        });
        Self { tiles, n, k, parts: shared }
    }

    /// Parts of each number: one for weights that bf16 holds, else three.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.parts
    }

    /// Tiles along k.
    pub(super) fn depth(&self) -> usize {
        self.k.div_ceil(TILE_DEPTH)
    }

    /// Some tiles along k of one panel.
    pub(super) fn panel(&self, panel: usize, depth: Range<usize>) -> &[Tile] {
        let (first, each) = (panel * self.depth(), 2 * self.parts);
        &self.tiles[(first + depth.start) * each..(first + depth.end) * each]
    }
}

/// Some tiles along k of a left operand: for each sixteen rows, for each tile, its parts.
pub(super) struct Left<'a> {
    tiles: &'a [Tile],
    /// Tiles of sixteen rows.
    each: usize,
}

impl<'a> Left<'a> {
    /// Packs the tiles `depth` along k of `x` `[m, k]` into `tiles`.
    pub(super) fn pack(x: &[f32], k: usize, depth: Range<usize>, tiles: &'a mut Vec<Tile>) -> Self {
        let each = depth.len() * PARTS;
        tiles.resize((x.len() / k).div_ceil(TILE) * each, Tile::ZERO);
        for (tiles, x) in tiles.chunks_exact_mut(each).zip(x.chunks(TILE * k)) {
            pack_rows(tiles, x, k, depth.start * TILE_DEPTH);
        }
        Self { tiles, each }
    }

    /// The tiles of sixteen rows.
    pub(super) fn tiles(&self, rows: usize) -> &[Tile] {
        &self.tiles[rows * self.each..(rows + 1) * self.each]
    }
}

vectorised! {
    /// Up to sixteen rows of `k` numbers, from number `from` on; every number of every tile is
    /// written.
    fn pack_rows<'a>(tiles: &'a mut [Tile], x: &'a [f32], k: usize, from: usize) {
        let (tiles, _) = tiles.as_chunks_mut::<PARTS>();
        for place in 0..TILE {
            let row = x.get(place * k..(place + 1) * k).unwrap_or(&[]);
            let row = &row[row.len().min(from)..];
            let (whole, rest) = row.as_chunks::<TILE_DEPTH>();
            let below = x.get((place + 1) * k + from..).unwrap_or(&[]);
            for (at, tiles) in tiles.iter_mut().enumerate() {
                // The processor foresees a row, but not where the next one begins.
                let at_below = at * TILE_DEPTH;
                prefetch(below.get(at_below..at_below + TILE_DEPTH).unwrap_or(&[]));
                let mut numbers = [0.0; TILE_DEPTH];
                match whole.get(at) {
                    Some(whole) => numbers = *whole,
                    None if at == whole.len() => numbers[..rest.len()].copy_from_slice(rest),
                    None => {}
                }
                let to = tiles.each_mut().map(|tile| &mut tile.0.as_chunks_mut::<TILE_DEPTH>().0[place]);
                split(numbers, to);
            }
        }
    }
}

/// The parts of some numbers, each on its own.
#[inline(always)]
#[allow(clippy::cast_possible_truncation)]
fn split(numbers: [f32; TILE_DEPTH], [first, second, third]: [&mut [u16; TILE_DEPTH]; PARTS]) {
    let mut all = [[0u16; TILE_DEPTH]; PARTS];
    for i in 0..TILE_DEPTH {
        [all[0][i], all[1][i], all[2][i]] = parts(numbers[i]);
    }
    [*first, *second, *third] = all;
}
