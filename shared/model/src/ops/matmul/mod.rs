//! `C = A·B` and `C += A·B` in f32.
//!
//! **Invariant:** each element of C is one chain of fused multiply-adds over k in ascending order,
//! beginning at 0 (or at C when accumulating). Blocking, batching, threads and vector width change
//! only which elements are computed together, so never a bit of the result.
//! Absent: `alpha`, `beta` and any dtype but f32.

mod blocks;
mod pack;
#[cfg(test)]
mod tests;
mod tile;

pub use pack::Packed;

use blocks::{Columns, Product};
use pack::{Source, pack_parallel};
use pulp::Arch;
use rayon::prelude::*;
use std::cell::RefCell;

/// Rows of B packed at once: a panel of this depth stays in the first-level cache.
const DEPTH: usize = 256;
/// Columns of C computed per packed block, so that the packed block stays in a cache.
const WIDTH: usize = 2048;
/// Multiply-adds from which one product is spread over the threads of the pool.
const PARALLEL_FROM: usize = 96 << 20;
/// Elements of a right operand up to which it is packed as a whole, for all threads.
const PACK_WHOLE_UP_TO: usize = 16 << 20;
/// Widest panel: two 16-lane vectors.
const MAX_PANEL: usize = 32;

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
    if m * n * k >= PARALLEL_FROM && rayon::current_num_threads() > 1 {
        return matmul_parallel(c, lhs, rhs, (m, n, k), accumulate);
    }
    SCRATCH.with(|scratch| {
        let scratch = &mut scratch.borrow_mut();
        Arch::new().dispatch(Product {
            c,
            first_row: 0,
            rows: m,
            lhs,
            rhs,
            m,
            n,
            k,
            accumulate,
            scratch,
        });
    });
}

/// Packs once, then shares the rows of C among the pool's threads.
fn matmul_parallel(
    c: &mut [f32],
    lhs: Lhs<'_>,
    rhs: Rhs<'_>,
    (m, n, k): (usize, usize, usize),
    accumulate: bool,
) {
    let rows = m.div_ceil(4 * rayon::current_num_threads()).clamp(24, 192).next_multiple_of(12);
    let is_packed = matches!(rhs, Rhs::Packed(_));
    if m < 2 * rows || (!is_packed && n * k > PACK_WHOLE_UP_TO) {
        return by_columns(c, lhs, rhs, (m, n, k), accumulate);
    }
    let fresh;
    let packed = match rhs {
        Rhs::Packed(packed) => packed,
        _ => {
            fresh = pack_parallel(rhs, n, k);
            &fresh
        }
    };
    c.par_chunks_mut(rows * n).enumerate().for_each(|(chunk, c)| {
        let (first_row, rows) = (chunk * rows, c.len() / n);
        let rhs = Rhs::Packed(packed);
        let scratch = &mut Vec::new();
        Arch::new().dispatch(Product {
            c,
            first_row,
            rows,
            lhs,
            rhs,
            m,
            n,
            k,
            accumulate,
            scratch,
        });
    });
}

/// Few rows, or a right operand too large to copy: each thread packs and computes some columns
/// into a buffer of its own.
fn by_columns(
    c: &mut [f32],
    lhs: Lhs<'_>,
    rhs: Rhs<'_>,
    (m, n, k): (usize, usize, usize),
    accumulate: bool,
) {
    let width = n.div_ceil(4 * rayon::current_num_threads()).next_multiple_of(MAX_PANEL).min(WIDTH);
    let blocks: Vec<(usize, usize)> =
        (0..n).step_by(width).map(|from| (from, width.min(n - from))).collect();
    let view: &[f32] = c;
    let parts: Vec<Vec<f32>> = blocks
        .par_iter()
        .map(|&(from, width)| {
            let mut part = vec![0.0; m * width];
            if accumulate {
                for (row, part) in part.chunks_exact_mut(width).enumerate() {
                    part.copy_from_slice(&view[row * n + from..][..width]);
                }
            }
            let source = Source { rhs, n, k };
            Arch::new().dispatch(Columns { c: &mut part, lhs, source, m, from, width, accumulate });
            part
        })
        .collect();
    for (&(from, width), part) in blocks.iter().zip(&parts) {
        for (row, part) in part.chunks_exact(width).enumerate() {
            c[row * n + from..][..width].copy_from_slice(part);
        }
    }
}
