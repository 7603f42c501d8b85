//! Products with frozen weights in f32, computed from parts in bf16.
//!
//! An f32 number is the exact sum of three bf16 numbers, its parts: the leading eight bits of its
//! significand, the next eight and the last eight. A product of two numbers is then the sum of
//! products of their parts, of which the three smallest fall below the rounding of f32 and are left
//! out. A matrix engine for bf16 that adds in f32 so gives f32 results; a weight that was published
//! in bf16 is its own first part, and nothing is left out at all.
//!
//! **Invariant:** an element of C is defined by its row of A, its column of B and, when accumulating,
//! its own start: for every 32 elements of k, for every pair of parts from small to large
//! ([`PAIRS`]), the even and the odd products are summed by two chains of fused multiply-adds, then
//! to each other, then to C. Numbers below the smallest normal one count as 0. That is what the
//! processor's `TDPBF16PS` does; [`emulated`] does the same where there is none, so the bits are the
//! same on every machine, in any batch and with any number of threads. They are **not** those of
//! [`super::matmul`]: who compares digests compares results of one of both.
//!
//! Absent: right operands that change with every product, whose packing would cost what is saved.
//!
//! Source: oneMKL's compute mode `FLOAT_TO_BF16X3`; Henry, Tang and Heinecke, "Leveraging the
//! bfloat16 artificial intelligence datatype for higher-precision computations", ARITH 2019; Intel
//! 64 and IA-32 Software Developer's Manual, TDPBF16PS.

#![allow(unsafe_code)]

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;
mod emulated;
mod pack;
mod parts;
#[cfg(test)]
mod tests;

pub use pack::Weight;

use pack::{Left, PARTS};
use rayon::prelude::*;
use std::cell::Cell;
use std::ops::Range;

/// Rows of A and columns of B that one tile holds.
const TILE: usize = 16;
/// Elements of k that one tile holds.
const TILE_DEPTH: usize = 32;
/// Rows and columns of C that are computed together.
const SIDE: usize = 2 * TILE;
/// Tiles along k between which C is put down, so that what is read again and again of both operands
/// stays in the second-level cache.
const DEPTH_TILES: usize = 28;
/// Rows whose left operand is split at once.
const BLOCK_ROWS: usize = 7 * SIDE;
/// Which parts of A and B meet, from small products to large ones. Neighbours share a part, so that
/// half of the tiles are loaded once.
const PAIRS: [(usize, usize); 6] = [(2, 0), (1, 0), (1, 1), (0, 1), (0, 2), (0, 0)];
/// Multiply-adds from which one product is spread over the threads of the pool.
const PARALLEL_FROM: usize = 8 << 20;
/// Columns of a piece, unless threads would go without.
const MIN_COLUMNS: usize = 1024;
/// Pieces of a product for each thread, so that a thread that is held up holds up little.
const PIECES: usize = 3;

/// Numbers in bf16: of A sixteen rows of 32 neighbours in k, of B sixteen pairs of neighbours in k
/// for each of sixteen columns.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Tile([u16; TILE * TILE_DEPTH]);

impl Tile {
    const ZERO: Self = Self([0; TILE * TILE_DEPTH]);
}

/// A square of [`SIDE`] rows and columns, somewhere in C or in a copy of its edge.
#[derive(Clone, Copy)]
struct Square {
    first: *mut f32,
    /// Elements between two rows.
    stride: usize,
    /// Begin with what is there, not with 0.
    accumulate: bool,
}

/// What computes squares.
trait Engine {
    /// `square (+)= upper and lower · panel` over some tiles of k.
    ///
    /// # Shapes
    /// `upper` and `lower`: [`PARTS`] tiles for each of k; no `lower`: the square has its upper
    /// half alone. `panel`: twice `parts` tiles for each of k.
    ///
    /// # Safety
    /// The rows of the square can be written, and nobody else reads or writes them meanwhile.
    unsafe fn multiply(
        &self,
        square: Square,
        upper: &[Tile],
        lower: Option<&[Tile]>,
        panel: &[Tile],
        parts: usize,
    );
}

thread_local! {
    static SCRATCH: Cell<Vec<Tile>> = const { Cell::new(Vec::new()) };
}

/// `c (+)= x · weight`, with `x` `[m, k]` and `c` `[m, n]`.
///
/// # Panics
/// Operands whose lengths do not match.
pub fn matmul(c: &mut [f32], x: &[f32], weight: &Weight, m: usize, accumulate: bool) {
    let (n, k) = (weight.n, weight.k);
    assert!(c.len() == m * n && x.len() == m * k, "operands do not match their shape");
    if c.is_empty() || x.is_empty() {
        if !accumulate {
            c.fill(0.0);
        }
        return;
    }
    let product = Product { c: Shared(c.as_mut_ptr()), x, weight, accumulate };
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    if let Some(amx) = amx::Amx::get() {
        return product.spread(m, &|piece| amx.with_tiles(|engine| product.compute(engine, piece)));
    }
    product.spread(m, &|piece| product.compute(&emulated::Emulated, piece));
}

/// True if this machine has the matrix engine, and the system lets this process use it.
#[must_use]
pub fn is_accelerated() -> bool {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    return amx::Amx::get().is_some();
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    return false;
}

/// Asks for what will be read soon.
#[inline(always)]
fn prefetch<T>(soon: &[T]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        const LINE: usize = 64;
        let first: *const i8 = soon.as_ptr().cast();
        for at in (0..size_of_val(soon)).step_by(LINE) {
            // SAFETY: the address is within the slice, and a prefetch faults nowhere.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(first.add(at)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = soon;
}

/// The first element of C, which threads write in parts that do not meet.
struct Shared(*mut f32);

// SAFETY: it is a number; what is done with it is the business of `Product::compute`.
unsafe impl Sync for Shared {}

struct Product<'a> {
    c: Shared,
    x: &'a [f32],
    weight: &'a Weight,
    accumulate: bool,
}

/// Some rows and columns of a product; rows begin at a tile, columns at a panel.
#[derive(Clone)]
struct Piece {
    rows: Range<usize>,
    columns: Range<usize>,
}

/// Rows and columns of a piece, so that every thread has one.
///
/// Each piece splits its rows for itself, which takes [`MIN_COLUMNS`] columns to pay; each block of
/// rows reads the whole weight, which for a long one takes all the rows there are.
fn piece_size(m: usize, n: usize, threads: usize) -> (usize, usize) {
    let wanted = threads.div_ceil(n.div_ceil(MIN_COLUMNS)).min(m.div_ceil(SIDE));
    let blocks = m.div_ceil(BLOCK_ROWS).max(wanted);
    let height = m.div_ceil(blocks).next_multiple_of(TILE);
    let most = if threads == 1 { 1 } else { PIECES * threads };
    let least = MIN_COLUMNS.min(n.div_ceil(threads.div_ceil(blocks)));
    (height, n.div_ceil(most.div_ceil(blocks)).max(least).next_multiple_of(SIDE))
}

impl Product<'_> {
    /// Hands out the pieces of a product of `m` rows to threads.
    fn spread(&self, m: usize, compute: &(impl Fn(Piece) + Sync)) {
        let (n, threads) = (self.weight.n, rayon::current_num_threads());
        let is_small = m.max(TILE) * n * self.weight.k < PARALLEL_FROM;
        let (height, width) = piece_size(m, n, if is_small { 1 } else { threads });
        let rows = (0..m).step_by(height).map(|row| row..m.min(row + height));
        let pieces: Vec<Piece> = rows
            .flat_map(|rows| {
                let columns = (0..n).step_by(width).map(move |first| first..n.min(first + width));
                columns.map(move |columns| Piece { rows: rows.clone(), columns })
            })
            .collect();
        match is_small {
            true => pieces.into_iter().for_each(compute),
            false => pieces.into_par_iter().for_each(compute),
        }
    }

    fn compute(&self, engine: &impl Engine, Piece { rows, columns }: Piece) {
        let mut tiles = SCRATCH.take();
        let squares = rows.len().div_ceil(SIDE);
        for from in (0..self.weight.depth()).step_by(DEPTH_TILES) {
            let depth = from..self.weight.depth().min(from + DEPTH_TILES);
            let k = self.weight.k;
            let left =
                Left::pack(&self.x[rows.start * k..rows.end * k], k, depth.clone(), &mut tiles);
            let accumulate = self.accumulate || from > 0;
            for column in columns.clone().step_by(SIDE) {
                let panel = self.weight.panel(column / SIDE, depth.clone());
                let mut next = match column + SIDE < columns.end {
                    true => self.weight.panel(column / SIDE + 1, depth.clone()),
                    false => &[],
                };
                let share = next.len().div_ceil(squares);
                for square in 0..squares {
                    let (soon, later) = next.split_at(share.min(next.len()));
                    next = later;
                    prefetch(soon);
                    let place = (rows.start + square * SIDE, column);
                    let height = SIDE.min(rows.end - place.0);
                    let upper = left.tiles(2 * square);
                    let lower = (height > TILE).then(|| left.tiles(2 * square + 1));
                    let parts = self.weight.parts();
                    let width = SIDE.min(columns.end - column);
                    self.at(place, (height, width), accumulate, |to| {
                        // SAFETY: `at`'s.
                        unsafe { engine.multiply(to, upper, lower, panel, parts) }
                    });
                }
            }
        }
        SCRATCH.set(tiles);
    }

    /// Does `work` on the square at `place`, or on a copy of what of it lies in C.
    fn at(
        &self,
        (row, column): (usize, usize),
        (height, width): (usize, usize),
        accumulate: bool,
        work: impl FnOnce(Square),
    ) {
        let n = self.weight.n;
        // SAFETY: row and column are C's; no other piece has them, and while this product is
        // computed nobody else has C.
        let part = |i: usize| unsafe {
            std::slice::from_raw_parts_mut(self.c.0.add((row + i) * n + column), width)
        };
        if (height, width) == (SIDE, SIDE) {
            // SAFETY: the same. It is no slice's pointer, for it goes on to the rows below.
            let first = unsafe { self.c.0.add(row * n + column) };
            return work(Square { first, stride: n, accumulate });
        }
        let mut copy = [[0.0; SIDE]; SIDE];
        if accumulate {
            for (i, copy) in copy.iter_mut().enumerate().take(height) {
                copy[..width].copy_from_slice(part(i));
            }
        }
        work(Square { first: copy.as_mut_ptr().cast(), stride: SIDE, accumulate });
        for (i, copy) in copy.iter().enumerate().take(height) {
            part(i).copy_from_slice(&copy[..width]);
        }
    }
}
