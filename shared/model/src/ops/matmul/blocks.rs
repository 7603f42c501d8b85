//! A part of a product, computed panel by panel.

use super::out::Out;
use super::pack::{Source, panel_of};
use super::tile::{Left, Target};
use super::{DEPTH, Rhs};
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// Rows of C whose left operand stays in the second-level cache while panels pass.
const ROWS: usize = 240;

/// Rows `rows` and columns `columns` of a product. `columns` begins at a panel's edge.
pub(super) struct Product<'a> {
    pub(super) c: Out<'a>,
    pub(super) left: Left<'a>,
    pub(super) right: Source<'a>,
    pub(super) rows: Range<usize>,
    pub(super) columns: Range<usize>,
    pub(super) accumulate: bool,
    pub(super) scratch: &'a mut Vec<f32>,
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if panel_of(self.right.n, S::F32_LANES) == S::F32_LANES {
            self.compute::<S, 1>(simd);
        } else {
            self.compute::<S, 2>(simd);
        }
    }
}

impl Product<'_> {
    #[inline(always)]
    fn compute<S: Simd, const V: usize>(mut self, simd: S) {
        let (n, k, panel) = (self.right.n, self.right.k, V * S::F32_LANES);
        let stride = n.next_multiple_of(panel);
        let mut row = self.rows.start;
        while row < self.rows.end {
            let rows = row..self.rows.end.min(row + ROWS);
            for from in (0..k).step_by(DEPTH) {
                let depth = DEPTH.min(k - from);
                for column in self.columns.clone().step_by(panel) {
                    let width = panel.min(self.columns.end - column);
                    let data: &[f32] = match self.right.rhs {
                        Rhs::Packed(packed) => {
                            &packed.data[from * stride + column * depth..][..depth * panel]
                        }
                        _ => {
                            self.scratch.resize(DEPTH * panel, 0.0);
                            let data = &mut self.scratch[..depth * panel];
                            self.right.pack(data, from, column, width, panel);
                            data
                        }
                    };
                    let to = Target { column, width, load: self.accumulate || from > 0 };
                    self.left.times_panel::<S, V>(simd, &mut self.c, rows.clone(), data, from, to);
                }
            }
            row = rows.end;
        }
    }
}
