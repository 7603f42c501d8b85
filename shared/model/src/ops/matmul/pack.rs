//! Rearranging the right operand into panels that a tile reads front to back.

use super::transpose::columns_to_panel;
use super::{DEPTH, Rhs};
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
    /// Packs a right operand stored `[n, k]`, with the threads of the pool.
    #[must_use]
    pub fn columns(data: &[f32], n: usize, k: usize) -> Self {
        Self::new(Rhs::Columns(data), n, k)
    }

    pub(super) fn new(rhs: Rhs<'_>, n: usize, k: usize) -> Self {
        let panel = panel_width(n);
        let mut data = vec![0.0; n.next_multiple_of(panel) * k];
        let stride = n.next_multiple_of(panel);
        let source = Source { rhs, n, k };
        data.par_chunks_mut(stride * DEPTH).enumerate().for_each(|(block, data)| {
            let (from, depth) = (block * DEPTH, data.len() / stride);
            data.par_chunks_mut(depth * panel).with_min_len(8).enumerate().for_each(|(p, data)| {
                let column = p * panel;
                Arch::new().dispatch(Pack {
                    source,
                    data,
                    from,
                    column,
                    width: panel.min(n - column),
                    panel,
                });
            });
        });
        Self { data, n, k }
    }
}

struct Pack<'a> {
    source: Source<'a>,
    data: &'a mut [f32],
    from: usize,
    column: usize,
    width: usize,
    panel: usize,
}
impl WithSimd for Pack<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.source.pack(self.data, self.from, self.column, self.width, self.panel);
    }
}

/// Width of a panel: one vector for narrow products, else two.
pub(super) fn panel_of(n: usize, lanes: usize) -> usize {
    if n <= lanes { lanes } else { 2 * lanes }
}

/// [`panel_of`] on this machine.
pub(super) fn panel_width(n: usize) -> usize {
    struct LaneCount;
    impl WithSimd for LaneCount {
        type Output = usize;
        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
    panel_of(n, Arch::new().dispatch(LaneCount))
}

/// An unpacked or packed right operand that can be copied into panels.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) rhs: Rhs<'a>,
    pub(super) n: usize,
    pub(super) k: usize,
}

impl Source<'_> {
    /// Copies rows from `from` and columns `column..column+width` into one panel `[depth, panel]`.
    #[inline(always)]
    pub(super) fn pack(
        &self,
        out: &mut [f32],
        from: usize,
        column: usize,
        width: usize,
        panel: usize,
    ) {
        match self.rhs {
            Rhs::Rows(b) => pack_rows(out, &b[from * self.n + column..], self.n, width, panel),
            Rhs::Columns(b) => {
                columns_to_panel(out, &b[column * self.k + from..], self.k, width, panel)
            }
            Rhs::Packed(_) => {}
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
