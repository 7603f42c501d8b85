//! `C = A·B` and `C += A·B` in f32.
//!
//! **Invariant:** each element of C is one chain of fused multiply-adds over k in ascending order,
//! beginning at 0 (or at C when accumulating). Blocking, batching, threads and vector width change
//! only which elements are computed together, so never a bit of the result.
//! Absent: `alpha`, `beta` and any dtype but f32.

mod blocks;
mod out;
mod pack;
#[cfg(test)]
mod tests;
mod tile;
mod transpose;

pub use pack::Packed;

use blocks::Product;
use out::Out;
use pack::{Source, panel_width};
use pulp::Arch;
use rayon::prelude::*;
use std::cell::RefCell;
use std::ops::Range;
use tile::{Left, TILE_ROWS};

/// Rows of B packed at once: a panel of this depth streams from the second-level cache at the rate of
/// the arithmetic, and C is read and written half as often as with one that fits the first level.
const DEPTH: usize = 512;
/// Multiply-adds from which one product is spread over the threads of the pool.
const PARALLEL_FROM: usize = 8 << 20;
/// With fewer rows a product waits for the right operand, however little it computes.
const FEW_ROWS: usize = 8;
/// Parts of a product for each thread, so that a thread that is held up holds up little.
const PARTS: usize = 3;

/// The left operand, `[m, k]`.
#[derive(Clone, Copy)]
pub enum Lhs<'a> {
    /// Stored `[m, k]`.
    Rows(&'a [f32]),
    /// Stored `[k, m]`.
    Columns(&'a [f32]),
}

/// The right operand, `[k, n]`.
#[derive(Clone, Copy)]
pub enum Rhs<'a> {
    /// Stored `[k, n]`.
    Rows(&'a [f32]),
    /// Stored `[n, k]`, as weights `[out, in]` are.
    Columns(&'a [f32]),
    /// Prepared by [`Packed::columns`].
    Packed(&'a Packed),
}

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// `c (+)= lhs · rhs`, with `c` stored `[m, n]`.
///
/// # Panics
/// Operands whose lengths do not match `m`, `n` and `k`.
pub fn matmul(
    c: &mut [f32],
    lhs: Lhs<'_>,
    rhs: Rhs<'_>,
    (m, n, k): (usize, usize, usize),
    accumulate: bool,
) {
    let (Lhs::Rows(a) | Lhs::Columns(a)) = lhs;
    assert!(c.len() == m * n && a.len() == m * k, "matmul operands do not match their shape");
    match rhs {
        Rhs::Rows(b) | Rhs::Columns(b) => assert_eq!(b.len(), n * k, "matmul right operand"),
        Rhs::Packed(p) => assert!(p.n == n && p.k == k, "matmul packed operand"),
    }
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if !accumulate {
            c.fill(0.0);
        }
        return;
    }
    let product = (Left { lhs, m, k }, Source { rhs, n, k });
    if m.max(FEW_ROWS) * n * k < PARALLEL_FROM || rayon::current_num_threads() == 1 {
        compute(Out::Rows { c, n, first: 0 }, product, 0..m, 0..n, accumulate);
    } else if n >= m / 4 {
        by_columns(c, product, accumulate);
    } else {
        by_rows(c, product, accumulate);
    }
}

/// Rows `rows` and columns `columns` of the product, on this thread.
fn compute(
    c: Out<'_>,
    (left, right): (Left<'_>, Source<'_>),
    rows: Range<usize>,
    columns: Range<usize>,
    accumulate: bool,
) {
    SCRATCH.with(|scratch| {
        let scratch = &mut scratch.borrow_mut();
        Arch::new().dispatch(Product { c, left, right, rows, columns, accumulate, scratch });
    });
}

/// Each thread computes some columns of every row, so that each panel of the right operand is read
/// by one thread.
fn by_columns(c: &mut [f32], product: (Left<'_>, Source<'_>), accumulate: bool) {
    let (m, n) = (product.0.m, product.1.n);
    let parts = PARTS * rayon::current_num_threads();
    let width = n.div_ceil(parts).next_multiple_of(panel_width(n));
    let mut blocks: Vec<Vec<&mut [f32]>> =
        (0..n.div_ceil(width)).map(|_| Vec::with_capacity(m)).collect();
    for row in c.chunks_exact_mut(n) {
        for (block, part) in blocks.iter_mut().zip(row.chunks_mut(width)) {
            block.push(part);
        }
    }
    blocks.into_par_iter().enumerate().for_each(|(block, rows)| {
        let first = block * width;
        let columns = first..n.min(first + width);
        compute(Out::Columns { rows, first }, product, 0..m, columns, accumulate);
    });
}

/// Each thread computes some rows: for products much taller than wide.
fn by_rows(c: &mut [f32], product: (Left<'_>, Source<'_>), accumulate: bool) {
    let (m, n) = (product.0.m, product.1.n);
    let height = m.div_ceil(PARTS * rayon::current_num_threads()).next_multiple_of(TILE_ROWS);
    c.par_chunks_mut(height * n).enumerate().for_each(|(chunk, c)| {
        let first = chunk * height;
        let rows = first..first + c.len() / n;
        compute(Out::Rows { c, n, first }, product, rows, 0..n, accumulate);
    });
}
