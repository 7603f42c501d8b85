//! Rearranging the right operand into panels that a tile reads front to back.

use super::{DEPTH, MAX_PANEL, Rhs};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// A right operand rearranged once for many products.
pub struct Packed {
    /// For each block of [`DEPTH`] rows, for each panel: `[rows, panel]`, zero padded.
    pub(super) data: Vec<f32>,
    pub(super) n: usize,
    pub(super) k: usize,
}

impl Packed {
    /// Packs a right operand stored `[n, k]`.
    #[must_use]
    pub fn columns(data: &[f32], n: usize, k: usize) -> Self {
        let panel = panel_width(n);
        let stride = n.div_ceil(panel) * panel;
        let mut packed = vec![0.0; stride * k];
        let source = Source { rhs: Rhs::Columns(data), n, k };
        for from in (0..k).step_by(DEPTH) {
            let depth = DEPTH.min(k - from);
            let block = &mut packed[from * stride..(from + depth) * stride];
            source.pack(block, from, depth, 0, n, panel);
        }
        Self { data: packed, n, k }
    }
}

/// Packs with the threads of the pool.
pub(super) fn pack_parallel(rhs: Rhs<'_>, n: usize, k: usize) -> Packed {
    let panel = panel_width(n);
    let stride = n.div_ceil(panel) * panel;
    let mut data = vec![0.0; stride * k];
    let source = Source { rhs, n, k };
    data.par_chunks_mut(stride * DEPTH).enumerate().for_each(|(block, data)| {
        let depth = data.len() / stride;
        data.par_chunks_mut(depth * panel * 8).enumerate().for_each(|(group, data)| {
            let from = group * panel * 8;
            let width = (panel * 8).min(n - from);
            source.pack(data, block * DEPTH, depth, from, width, panel);
        });
    });
    Packed { data, n, k }
}

/// Width of a panel on this machine: one vector for narrow products, else two.
fn panel_width(n: usize) -> usize {
    struct LaneCount;
    impl WithSimd for LaneCount {
        type Output = usize;
        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
    let lanes = Arch::new().dispatch(LaneCount).min(LANES_AT_MOST);
    if n <= lanes { lanes } else { 2 * lanes }
}

const LANES_AT_MOST: usize = MAX_PANEL / 2;

/// An unpacked or packed right operand that can be copied into panels.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) rhs: Rhs<'a>,
    pub(super) n: usize,
    pub(super) k: usize,
}

impl Source<'_> {
    /// Copies rows `from..from+depth` and columns `first..first+width` into panels `[depth, panel]`.
    #[inline(always)]
    pub(super) fn pack(
        &self,
        out: &mut [f32],
        from: usize,
        depth: usize,
        first: usize,
        width: usize,
        panel: usize,
    ) {
        for (p, out) in out.chunks_exact_mut(depth * panel).enumerate() {
            let column = first + p * panel;
            let used = panel.min(first + width - column);
            match self.rhs {
                Rhs::Rows(b) => pack_rows(out, &b[from * self.n + column..], self.n, used, panel),
                Rhs::Columns(b) => {
                    pack_columns(out, &b[column * self.k + from..], self.k, used, panel)
                }
                Rhs::Packed(_) => {}
            }
        }
    }
}

#[inline(always)]
fn pack_rows(out: &mut [f32], b: &[f32], stride: usize, used: usize, panel: usize) {
    for (row, out) in out.chunks_exact_mut(panel).enumerate() {
        out[..used].copy_from_slice(&b[row * stride..][..used]);
        out[used..].fill(0.0);
    }
}

#[inline(always)]
fn pack_columns(out: &mut [f32], b: &[f32], stride: usize, used: usize, panel: usize) {
    let depth = out.len() / panel;
    for column in 0..panel {
        if column < used {
            let b = &b[column * stride..][..depth];
            for (row, &x) in b.iter().enumerate() {
                out[row * panel + column] = x;
            }
        } else {
            for row in 0..depth {
                out[row * panel + column] = 0.0;
            }
        }
    }
}
