//! One tile of C, held in registers over a whole panel.

use super::Lhs;
use super::out::Out;
use pulp::Simd;
use pulp::bytemuck::{cast_slice, cast_slice_mut};
use std::ops::Range;

/// Rows of the tallest tile.
pub(super) const TILE_ROWS: usize = 8;
/// Steps over k between two looks at where the rows are.
const UNROLL: usize = 8;

/// Which part of the product a panel contributes to.
#[derive(Clone, Copy)]
pub(super) struct Target {
    /// First column of C and how many.
    pub(super) column: usize,
    pub(super) width: usize,
    /// Begin with what C holds.
    pub(super) load: bool,
}

/// The left operand, `[m, k]`.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    pub(super) lhs: Lhs<'a>,
    pub(super) m: usize,
    pub(super) k: usize,
}

impl<'a> Left<'a> {
    /// Rows `rows` of C (+)= rows of the left operand, columns `from..from+depth`, times a panel of
    /// `V` vectors.
    #[inline(always)]
    pub(super) fn times_panel<S: Simd, const V: usize>(
        self,
        simd: S,
        c: &mut Out<'_>,
        rows: Range<usize>,
        panel: &[f32],
        from: usize,
        to: Target,
    ) {
        let panel = S::as_simd_f32s(panel).0.as_chunks::<V>().0;
        let mut row = rows.start;
        while row < rows.end {
            // 8 rows by 2 vectors leave AVX-512 registers for the operands, 6 rows the 16 of AVX2.
            row += match (rows.end - row, S::F32_LANES >= 16) {
                (TILE_ROWS.., true) => self.tile::<S, TILE_ROWS, V>(simd, c, row, panel, from, to),
                (6.., _) => self.tile::<S, 6, V>(simd, c, row, panel, from, to),
                (4.., _) => self.tile::<S, 4, V>(simd, c, row, panel, from, to),
                (2.., _) => self.tile::<S, 2, V>(simd, c, row, panel, from, to),
                _ => self.tile::<S, 1, V>(simd, c, row, panel, from, to),
            };
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const R: usize, const V: usize>(
        self,
        simd: S,
        c: &mut Out<'_>,
        row: usize,
        panel: &[[S::f32s; V]],
        from: usize,
        to: Target,
    ) -> usize {
        let depth = panel.len();
        let mut sums = [[simd.splat_f32s(0.0); V]; R];
        if to.load {
            for (i, sums) in sums.iter_mut().enumerate() {
                load::<S, V>(sums, c.part(row + i, to.column, to.width));
            }
        }
        let sums = match self.lhs {
            Lhs::Rows(a) => {
                let rows = std::array::from_fn(|i| &a[(row + i) * self.k + from..][..depth]);
                over_rows::<S, R, V>(simd, rows, panel, sums)
            }
            Lhs::Columns(a) => {
                let columns = a[from * self.m..].chunks_exact(self.m);
                over_columns::<S, R, V>(simd, columns, row, panel, sums)
            }
        };
        for (i, sums) in sums.iter().enumerate() {
            store::<S, V>(sums, c.part(row + i, to.column, to.width));
        }
        R
    }
}

/// `sums += a·panel`, with the left operand's rows side by side.
#[inline(always)]
fn over_rows<S: Simd, const R: usize, const V: usize>(
    simd: S,
    rows: [&[f32]; R],
    panel: &[[S::f32s; V]],
    mut sums: [[S::f32s; V]; R],
) -> [[S::f32s; V]; R] {
    let (blocks, rest) = panel.as_chunks::<UNROLL>();
    let chunks: [&[[f32; UNROLL]]; R] = std::array::from_fn(|i| rows[i].as_chunks().0);
    for (at, block) in blocks.iter().enumerate() {
        let a: [&[f32; UNROLL]; R] = std::array::from_fn(|i| &chunks[i][at]);
        for j in 0..UNROLL {
            for i in 0..R {
                let x = simd.splat_f32s(a[i][j]);
                for v in 0..V {
                    sums[i][v] = simd.mul_add_f32s(x, block[j][v], sums[i][v]);
                }
            }
        }
    }
    let done = blocks.len() * UNROLL;
    for (k, b) in rest.iter().enumerate() {
        for i in 0..R {
            let x = simd.splat_f32s(rows[i][done + k]);
            for v in 0..V {
                sums[i][v] = simd.mul_add_f32s(x, b[v], sums[i][v]);
            }
        }
    }
    sums
}

/// The same, with the left operand's columns one after another.
#[inline(always)]
fn over_columns<'a, S: Simd, const R: usize, const V: usize>(
    simd: S,
    columns: impl Iterator<Item = &'a [f32]>,
    row: usize,
    panel: &[[S::f32s; V]],
    mut sums: [[S::f32s; V]; R],
) -> [[S::f32s; V]; R] {
    for (column, b) in columns.zip(panel) {
        let a: &[f32] = &column[row..row + R];
        for i in 0..R {
            let x = simd.splat_f32s(a[i]);
            for v in 0..V {
                sums[i][v] = simd.mul_add_f32s(x, b[v], sums[i][v]);
            }
        }
    }
    sums
}

/// Fills `sums` from a row of C; lanes past its end keep what they hold.
#[inline(always)]
fn load<S: Simd, const V: usize>(sums: &mut [S::f32s; V], part: &[f32]) {
    let (whole, rest) = S::as_simd_f32s(part);
    for (sum, x) in sums.iter_mut().zip(whole) {
        *sum = *x;
    }
    if let (Some(sum), false) = (sums.get_mut(whole.len()), rest.is_empty()) {
        let lanes: &mut [f32] = cast_slice_mut(std::slice::from_mut(sum));
        lanes[..rest.len()].copy_from_slice(rest);
    }
}

#[inline(always)]
fn store<S: Simd, const V: usize>(sums: &[S::f32s; V], part: &mut [f32]) {
    let (whole, rest) = S::as_mut_simd_f32s(part);
    let full = whole.len();
    for (x, sum) in whole.iter_mut().zip(sums) {
        *x = *sum;
    }
    if let (Some(sum), false) = (sums.get(full), rest.is_empty()) {
        let lanes: &[f32] = cast_slice(std::slice::from_ref(sum));
        rest.copy_from_slice(&lanes[..rest.len()]);
    }
}
