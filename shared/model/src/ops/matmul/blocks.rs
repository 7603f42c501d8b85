//! A product computed block by block.

use super::pack::Source;
use super::tile::{Left, Target};
use super::{DEPTH, Lhs, Rhs, WIDTH};
use pulp::{Simd, WithSimd};

/// Rows `first_row..first_row+rows` of a product.
pub(super) struct Product<'a> {
    pub(super) c: &'a mut [f32],
    pub(super) first_row: usize,
    pub(super) rows: usize,
    pub(super) lhs: Lhs<'a>,
    pub(super) rhs: Rhs<'a>,
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) accumulate: bool,
    pub(super) scratch: &'a mut Vec<f32>,
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Product { c, first_row, rows, lhs, rhs, m, n, k, accumulate, scratch } = self;
        let panel = if n <= S::F32_LANES { S::F32_LANES } else { 2 * S::F32_LANES };
        let source = Source { rhs, n, k };
        let left = Left { lhs, first_row, m, k };
        for first in (0..n).step_by(WIDTH) {
            let width = WIDTH.min(n - first);
            for from in (0..k).step_by(DEPTH) {
                let depth = DEPTH.min(k - from);
                let size = width.div_ceil(panel) * panel * depth;
                let panels: &[f32] = match rhs {
                    Rhs::Packed(packed) => {
                        let stride = n.div_ceil(panel) * panel;
                        &packed.data[from * stride + first * depth..][..size]
                    }
                    _ => {
                        scratch.resize(size.max(scratch.len()), 0.0);
                        source.pack(&mut scratch[..size], from, depth, first, width, panel);
                        &scratch[..size]
                    }
                };
                let target = Target { n, first, width, load: accumulate || from > 0 };
                left.times_panels(simd, c, rows, panels, from, depth, panel, target);
            }
        }
    }
}

/// Columns `from..from+width` of a product, into a buffer of that width.
pub(super) struct Columns<'a> {
    pub(super) c: &'a mut [f32],
    pub(super) lhs: Lhs<'a>,
    pub(super) source: Source<'a>,
    pub(super) m: usize,
    pub(super) from: usize,
    pub(super) width: usize,
    pub(super) accumulate: bool,
}

impl WithSimd for Columns<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Columns { c, lhs, source, m, from: first, width, accumulate } = self;
        let (n, k) = (source.n, source.k);
        let panel = if n <= S::F32_LANES { S::F32_LANES } else { 2 * S::F32_LANES };
        let left = Left { lhs, first_row: 0, m, k };
        let mut scratch = Vec::new();
        for from in (0..k).step_by(DEPTH) {
            let depth = DEPTH.min(k - from);
            let size = width.div_ceil(panel) * panel * depth;
            let panels: &[f32] = match source.rhs {
                Rhs::Packed(packed) => {
                    let stride = n.div_ceil(panel) * panel;
                    &packed.data[from * stride + first * depth..][..size]
                }
                _ => {
                    scratch.resize(size, 0.0);
                    source.pack(&mut scratch, from, depth, first, width, panel);
                    &scratch
                }
            };
            let target = Target { n: width, first: 0, width, load: accumulate || from > 0 };
            left.times_panels(simd, c, m, panels, from, depth, panel, target);
        }
    }
}
