//! One tile of C, held in registers over a whole panel.

use super::{Lhs, MAX_PANEL};
use pulp::Simd;

/// Where in C a block goes: rows of length `n`, columns from `first`.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub(super) n: usize,
    pub(super) first: usize,
    pub(super) width: usize,
    pub(super) load: bool,
}

#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    pub(super) lhs: Lhs<'a>,
    pub(super) first_row: usize,
    pub(super) m: usize,
    pub(super) k: usize,
}

impl<'a> Left<'a> {
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    pub(super) fn times_panels<S: Simd>(
        self,
        simd: S,
        c: &mut [f32],
        rows: usize,
        panels: &[f32],
        from: usize,
        depth: usize,
        panel: usize,
        to: Target,
    ) {
        for (p, data) in panels.chunks_exact(depth * panel).enumerate() {
            let column = to.first + p * panel;
            let to = Target { first: column, width: panel.min(to.first + to.width - column), ..to };
            if panel == S::F32_LANES {
                self.times_panel::<S, 1>(simd, c, rows, data, from, depth, to);
            } else {
                self.times_panel::<S, 2>(simd, c, rows, data, from, depth, to);
            }
        }
    }

    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn times_panel<S: Simd, const V: usize>(
        self,
        simd: S,
        c: &mut [f32],
        rows: usize,
        panel: &[f32],
        from: usize,
        depth: usize,
        to: Target,
    ) {
        let mut row = 0;
        while row < rows {
            let c = &mut c[row * to.n + to.first..];
            // 12 rows fill the 32 registers of AVX-512, 6 rows the 16 of AVX2.
            row += match (rows - row, S::F32_LANES >= 16) {
                (12.., true) => self.tile::<S, 12, V>(simd, c, row, panel, from, depth, to),
                (6.., _) => self.tile::<S, 6, V>(simd, c, row, panel, from, depth, to),
                (4.., _) => self.tile::<S, 4, V>(simd, c, row, panel, from, depth, to),
                (2.., _) => self.tile::<S, 2, V>(simd, c, row, panel, from, depth, to),
                _ => self.tile::<S, 1, V>(simd, c, row, panel, from, depth, to),
            };
        }
    }

    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn tile<S: Simd, const R: usize, const V: usize>(
        self,
        simd: S,
        c: &mut [f32],
        row: usize,
        panel: &[f32],
        from: usize,
        depth: usize,
        to: Target,
    ) -> usize {
        let row = self.first_row + row;
        match self.lhs {
            Lhs::Rows(a) => {
                let rows: [&'a [f32]; R] =
                    std::array::from_fn(|i| &a[(row + i) * self.k + from..][..depth]);
                tile::<S, R, V>(simd, |k| std::array::from_fn(|i| rows[i][k]), c, panel, depth, to);
            }
            Lhs::Columns(a) => {
                let m = self.m;
                let a = &a[from * m + row..];
                let column = |k: usize| -> [f32; R] {
                    let a = &a[k * m..][..R];
                    std::array::from_fn(|i| a[i])
                };
                tile::<S, R, V>(simd, column, c, panel, depth, to);
            }
        }
        R
    }
}

/// `R` rows by `V` vectors of C, held in registers over the whole depth.
#[inline(always)]
fn tile<S: Simd, const R: usize, const V: usize>(
    simd: S,
    left: impl Fn(usize) -> [f32; R],
    c: &mut [f32],
    panel: &[f32],
    depth: usize,
    to: Target,
) {
    let wide = V * S::F32_LANES;
    let mut sums = [[simd.splat_f32s(0.0); V]; R];
    let mut edge = [0f32; 2 * MAX_PANEL];
    if to.load {
        for (i, sums) in sums.iter_mut().enumerate() {
            let row = &c[i * to.n..][..to.width];
            let full = if to.width == wide {
                row
            } else {
                edge[..to.width].copy_from_slice(row);
                &edge[..wide]
            };
            sums.copy_from_slice(&S::as_simd_f32s(full).0[..V]);
        }
    }
    let panel = &S::as_simd_f32s(panel).0[..depth * V];
    for (k, b) in panel.chunks_exact(V).enumerate() {
        let a = left(k);
        for i in 0..R {
            let x = simd.splat_f32s(a[i]);
            for v in 0..V {
                sums[i][v] = simd.mul_add_f32s(x, b[v], sums[i][v]);
            }
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        if to.width == wide {
            S::as_mut_simd_f32s(&mut c[i * to.n..][..wide]).0.copy_from_slice(sums);
        } else {
            S::as_mut_simd_f32s(&mut edge[..wide]).0.copy_from_slice(sums);
            c[i * to.n..][..to.width].copy_from_slice(&edge[..to.width]);
        }
    }
}
