//! What the matrix engine does, by fused multiply-adds in f32: the same bits, without its speed.
#![allow(unsafe_code)]
// Loops over indices of several arrays are what the compiler vectorises.
#![allow(clippy::needless_range_loop)]

use super::parts::normal_or_zero;
use super::{Engine, PAIRS, PARTS, Square, TILE, TILE_DEPTH, Tile};
use crate::ops::lanes::vectorised;
use pulp::bytemuck::cast_ref;
use pulp::{Arch, Simd, WithSimd};

/// Computes on any machine.
pub(super) struct Emulated;

impl Engine for Emulated {
    unsafe fn multiply(
        &self,
        square: Square,
        upper: &[Tile],
        lower: Option<&[Tile]>,
        panel: &[Tile],
        parts: usize,
    ) {
        let rows: Vec<&[Tile]> = [Some(upper), lower].into_iter().flatten().collect();
        let corner = |row: usize, half: usize| {
            square.first.wrapping_add(row * TILE * square.stride + half * TILE)
        };
        // SAFETY, of both: the caller's.
        let read = |(row, half): (usize, usize)| match square.accumulate {
            true => std::array::from_fn(|i| unsafe {
                *corner(row, half).add(i * square.stride).cast::<[f32; TILE]>()
            }),
            false => [[0.0; TILE]; TILE],
        };
        let write = |(row, half): (usize, usize), c: &[[f32; TILE]; TILE]| {
            for (i, &c) in c.iter().enumerate() {
                unsafe { *corner(row, half).add(i * square.stride).cast::<[f32; TILE]>() = c };
            }
        };
        let mut tiles = [[[[0.0; TILE]; TILE]; 2]; 2];
        for (row, half) in PLACES.into_iter().filter(|&(row, _)| row < rows.len()) {
            tiles[row][half] = read((row, half));
        }
        let (mut left, mut right) = ([Rows::ZERO; PARTS], [[Columns::ZERO; 2]; PARTS]);
        for (at, columns) in panel.chunks_exact(2 * parts).enumerate() {
            for (part, both) in columns.chunks_exact(2).enumerate() {
                both.iter().zip(&mut right[part]).for_each(|(tile, right)| right.widen(tile));
            }
            for (row, rows) in rows.iter().enumerate() {
                let rows = &rows[at * PARTS..(at + 1) * PARTS];
                rows.iter().zip(&mut left).for_each(|(tile, left)| left.widen(tile));
                for (half, c) in tiles[row].iter_mut().enumerate() {
                    for (a, b) in PAIRS.into_iter().filter(|&(_, b)| b < parts) {
                        let (a, b) = (&left[a], &right[b][half]);
                        Arch::new().dispatch(TileProduct { c, a, b });
                    }
                }
            }
        }
        for (row, half) in PLACES.into_iter().filter(|&(row, _)| row < rows.len()) {
            write((row, half), &tiles[row][half]);
        }
    }
}

/// The tiles of a square: which rows and which half of the columns.
const PLACES: [(usize, usize); 4] = [(0, 0), (0, 1), (1, 0), (1, 1)];

/// Rows that are computed together, so that one chain of additions does not wait for itself.
const ROWS: usize = 4;

/// The even or the odd numbers of a tile of the right operand, as f32: `[pair][column]`.
type Half = [[f32; TILE]; TILE];

/// Sum of two biased exponents of bf16 numbers from which no sum of such products is tiny.
///
/// With biased exponents p and q the numbers are multiples of `2^(p − 127 − 7)` and
/// `2^(q − 127 − 7)`. A sum of products that rounding has not made coarser is a multiple of their
/// product, so it is 0 or at least that, and at least `2^-126` where p + q ≥ 142.
const NEVER_TINY: u16 = 142;

vectorised! {
    /// The smallest biased exponent of the numbers that are not 0 as the engine reads them; where
    /// there are none, more than any.
    fn smallest_exponent<'a>(tile: &'a Tile) -> u16 {
        const ONE: u16 = 1 << 7;
        let mut smallest = [u16::MAX; TILE_DEPTH];
        for numbers in tile.0.as_chunks::<TILE_DEPTH>().0 {
            for i in 0..TILE_DEPTH {
                // An exponent of 0 wraps around to the largest.
                let above = (numbers[i] & 0x7F80).wrapping_sub(ONE);
                smallest[i] = if above < smallest[i] { above } else { smallest[i] };
            }
        }
        let mut least = u16::MAX;
        for i in 0..TILE_DEPTH {
            least = if smallest[i] < least { smallest[i] } else { least };
        }
        least / ONE + 1
    }
}

/// One tile of the right operand in f32, numbers with even and with odd k apart.
#[derive(Clone, Copy)]
struct Columns {
    even: Half,
    odd: Half,
    smallest_exponent: u16,
}

impl Columns {
    const ZERO: Self =
        Self { even: [[0.0; TILE]; TILE], odd: [[0.0; TILE]; TILE], smallest_exponent: 0 };

    fn widen(&mut self, tile: &Tile) {
        self.smallest_exponent = smallest_exponent(tile);
        widen_columns(tile, self);
    }
}

vectorised! {
    fn widen_columns<'a>(tile: &'a Tile, to: &'a mut Columns) {
        let pairs: &[[u32; TILE]; TILE] = cast_ref(&tile.0);
        for t in 0..TILE {
            for j in 0..TILE {
                let pair = u32::from_le(pairs[t][j]);
                to.even[t][j] = normal_or_zero(f32::from_bits(pair << 16));
                to.odd[t][j] = normal_or_zero(f32::from_bits(pair & 0xFFFF_0000));
            }
        }
    }
}

/// One tile of the left operand in f32.
#[derive(Clone, Copy)]
struct Rows {
    numbers: [[f32; TILE_DEPTH]; TILE],
    smallest_exponent: u16,
}

impl Rows {
    const ZERO: Self = Self { numbers: [[0.0; TILE_DEPTH]; TILE], smallest_exponent: 0 };

    fn widen(&mut self, tile: &Tile) {
        self.smallest_exponent = smallest_exponent(tile);
        widen_rows(tile, self);
    }
}

vectorised! {
    fn widen_rows<'a>(tile: &'a Tile, to: &'a mut Rows) {
        for (row, to) in tile.0.as_chunks::<TILE_DEPTH>().0.iter().zip(&mut to.numbers) {
            for i in 0..TILE_DEPTH {
                to[i] = normal_or_zero(f32::from_bits(u32::from(row[i]) << 16));
            }
        }
    }
}

/// A tile of C and what is added to it, as `TDPBF16PS` does:
/// `c[i][j] += Σ a[i][2t]·b[t][j][0] + Σ a[i][2t+1]·b[t][j][1]`.
struct TileProduct<'a> {
    c: &'a mut [[f32; TILE]; TILE],
    a: &'a Rows,
    b: &'a Columns,
}

impl WithSimd for TileProduct<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let exponents = self.a.smallest_exponent + self.b.smallest_exponent;
        match (S::F32_LANES, exponents < NEVER_TINY) {
            (16, false) => self.add::<S, 1, false>(simd),
            (16, true) => self.add::<S, 1, true>(simd),
            (8, false) => self.add::<S, 2, false>(simd),
            (8, true) => self.add::<S, 2, true>(simd),
            (4, false) => self.add::<S, 4, false>(simd),
            (4, true) => self.add::<S, 4, true>(simd),
            _ => self.add::<S, TILE, true>(simd),
        }
    }
}

impl TileProduct<'_> {
    /// With `V` vectors for the columns of a tile; `TINY`: a sum may fall below the smallest normal
    /// number.
    #[inline(always)]
    fn add<S: Simd, const V: usize, const TINY: bool>(self, simd: S) {
        let vectors = |numbers: &[f32; TILE]| -> [S::f32s; V] {
            let (vectors, _) = S::as_simd_f32s(numbers);
            std::array::from_fn(|v| vectors[v])
        };
        let (rows, _) = self.a.numbers.as_chunks::<ROWS>();
        for (rows, c) in rows.iter().zip(self.c.as_chunks_mut::<ROWS>().0) {
            let mut sums = [[[simd.splat_f32s(0.0); V]; 2]; ROWS];
            for (t, (even, odd)) in self.b.even.iter().zip(&self.b.odd).enumerate() {
                for (half, columns) in [vectors(even), vectors(odd)].into_iter().enumerate() {
                    for i in 0..ROWS {
                        let x = simd.splat_f32s(rows[i][2 * t + half]);
                        for v in 0..V {
                            let sum = simd.mul_add_f32s(x, columns[v], sums[i][half][v]);
                            sums[i][half][v] = if TINY { flushed(simd, sum) } else { sum };
                        }
                    }
                }
            }
            for (c, [even, odd]) in c.iter_mut().zip(sums) {
                let (to, _) = S::as_mut_simd_f32s(c);
                for v in 0..V {
                    let both = flushed(simd, simd.add_f32s(even[v], odd[v]));
                    to[v] = flushed(simd, simd.add_f32s(flushed(simd, to[v]), both));
                }
            }
        }
    }
}

/// [`normal_or_zero`] of each lane.
#[inline(always)]
fn flushed<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let (magnitude, sign) = (f32::from_bits(u32::MAX >> 1), -0.0);
    let size = simd.and_f32s(x, simd.splat_f32s(magnitude));
    let is_tiny = simd.less_than_f32s(size, simd.splat_f32s(f32::MIN_POSITIVE));
    let zero = simd.and_f32s(x, simd.splat_f32s(sign));
    simd.select_f32s(is_tiny, zero, x)
}
