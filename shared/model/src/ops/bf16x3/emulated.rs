//! What the matrix engine does, by fused multiply-adds in f32: the same bits, without its speed.
#![allow(unsafe_code)]

use super::parts::normal_or_zero;
use super::{Engine, PAIRS, PARTS, Square, TILE, TILE_DEPTH, Tile};
use crate::ops::lanes::vectorised;

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
        let halves = [Some(upper), lower].into_iter().flatten();
        for (row, rows) in (0..).step_by(TILE).zip(halves) {
            for half in 0..2 {
                // SAFETY: the caller's.
                let row_of = |i: usize| unsafe {
                    let first = square.first.add((row + i) * square.stride + half * TILE);
                    &mut *first.cast::<[f32; TILE]>()
                };
                let mut c = [[0.0; TILE]; TILE];
                if square.accumulate {
                    c = std::array::from_fn(|i| *row_of(i));
                }
                for (rows, columns) in rows.chunks_exact(PARTS).zip(panel.chunks_exact(2 * parts)) {
                    for (a, b) in PAIRS.into_iter().filter(|&(_, b)| b < parts) {
                        multiply_tile(&mut c, &rows[a], &columns[2 * b + half]);
                    }
                }
                for (i, c) in c.iter().enumerate() {
                    *row_of(i) = *c;
                }
            }
        }
    }
}

vectorised! {
    /// `TDPBF16PS`: `c[i][j] += Σ a[i][2t]·b[t][j][0] + Σ a[i][2t+1]·b[t][j][1]`.
    fn multiply_tile<'a>(c: &'a mut [[f32; TILE]; TILE], a: &'a Tile, b: &'a Tile) {
        let (rows, _) = a.0.as_chunks::<TILE_DEPTH>();
        let (columns, _) = b.0.as_chunks::<TILE_DEPTH>();
        for (row, c) in rows.iter().zip(c) {
            let (mut even, mut odd) = ([0.0f32; TILE], [0.0f32; TILE]);
            for t in 0..TILE {
                let (x, y) = (value(row[2 * t]), value(row[2 * t + 1]));
                for j in 0..TILE {
                    let b = &columns[t];
                    even[j] = normal_or_zero(x.mul_add(value(b[2 * j]), even[j]));
                    odd[j] = normal_or_zero(y.mul_add(value(b[2 * j + 1]), odd[j]));
                }
            }
            for j in 0..TILE {
                let both = normal_or_zero(even[j] + odd[j]);
                c[j] = normal_or_zero(normal_or_zero(c[j]) + both);
            }
        }
    }
}

/// The number with these bits; below the smallest normal one, 0.
#[inline(always)]
fn value(bits: u16) -> f32 {
    normal_or_zero(f32::from_bits(u32::from(bits) << 16))
}
