//! `C = A·B` and `C += A·B` in f32.
//!
//! **Invariant:** each element of C is one chain of fused multiply-adds over k in ascending order,
//! beginning at 0 (or at C when accumulating). Blocking, batching, threads and vector width change
//! only which elements are computed together, so never a bit of the result.
//! Absent: `alpha`, `beta` and any dtype but f32.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use std::cell::RefCell;

/// Rows of B packed at once: a panel of this depth stays in the first-level cache.
const DEPTH: usize = 256;
/// Columns of C computed per packed block, so that the packed block stays in a cache.
const WIDTH: usize = 2048;
/// Multiply-adds from which one product is spread over the threads of the pool.
const PARALLEL_FROM: usize = 96 << 20;
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

/// A right operand rearranged once for many products.
pub struct Packed {
    /// For each block of [`DEPTH`] rows, for each panel: `[rows, panel]`, zero padded.
    data: Vec<f32>,
    n: usize,
    k: usize,
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
    let rows = m.div_ceil(4 * rayon::current_num_threads()).clamp(24, 192);
    if m < 2 * rows {
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

/// Few rows: each thread computes some columns into a buffer of its own.
fn by_columns(
    c: &mut [f32],
    lhs: Lhs<'_>,
    rhs: Rhs<'_>,
    (m, n, k): (usize, usize, usize),
    accumulate: bool,
) {
    let width = n.div_ceil(4 * rayon::current_num_threads()).next_multiple_of(MAX_PANEL);
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

fn pack_parallel(rhs: Rhs<'_>, n: usize, k: usize) -> Packed {
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

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// An unpacked or packed right operand that can be copied into panels.
#[derive(Clone, Copy)]
struct Source<'a> {
    rhs: Rhs<'a>,
    n: usize,
    k: usize,
}

impl Source<'_> {
    /// Copies rows `from..from+depth` and columns `first..first+width` into panels `[depth, panel]`.
    #[inline(always)]
    fn pack(
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

/// Rows `first_row..first_row+rows` of a product.
struct Product<'a> {
    c: &'a mut [f32],
    first_row: usize,
    rows: usize,
    lhs: Lhs<'a>,
    rhs: Rhs<'a>,
    m: usize,
    n: usize,
    k: usize,
    accumulate: bool,
    scratch: &'a mut Vec<f32>,
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
struct Columns<'a> {
    c: &'a mut [f32],
    lhs: Lhs<'a>,
    source: Source<'a>,
    m: usize,
    from: usize,
    width: usize,
    accumulate: bool,
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

/// Where in C a block goes: rows of length `n`, columns from `first`.
#[derive(Clone, Copy)]
struct Target {
    n: usize,
    first: usize,
    width: usize,
    load: bool,
}

#[derive(Clone, Copy)]
struct Left<'a> {
    lhs: Lhs<'a>,
    first_row: usize,
    m: usize,
    k: usize,
}

impl<'a> Left<'a> {
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn times_panels<S: Simd>(
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

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(len: usize, salt: usize) -> Vec<f32> {
        (0..len).map(|i| (((i + salt) * 7919) % 1009) as f32 / 504.0 - 1.0).collect()
    }

    fn transposed(data: &[f32], rows: usize, columns: usize) -> Vec<f32> {
        (0..columns * rows).map(|i| data[(i % rows) * columns + i / rows]).collect()
    }

    fn reference(c: &mut [f32], a: &[f32], b: &[f32], (m, n, k): (usize, usize, usize)) {
        for i in 0..m {
            for j in 0..n {
                c[i * n + j] =
                    (0..k).fold(c[i * n + j], |sum, d| a[i * k + d].mul_add(b[d * n + j], sum));
            }
        }
    }

    #[track_caller]
    fn check(m: usize, n: usize, k: usize) {
        let (a, b, start) = (numbers(m * k, 1), numbers(k * n, 2), numbers(m * n, 3));
        let (at, bt) = (transposed(&a, m, k), transposed(&b, k, n));
        let packed = Packed::columns(&bt, n, k);
        for accumulate in [false, true] {
            let mut expected = if accumulate { start.clone() } else { vec![0.0; m * n] };
            reference(&mut expected, &a, &b, (m, n, k));
            for lhs in [Lhs::Rows(&a), Lhs::Columns(&at)] {
                for rhs in [Rhs::Rows(&b), Rhs::Columns(&bt), Rhs::Packed(&packed)] {
                    let mut serial = start.clone();
                    matmul(&mut serial, lhs, rhs, (m, n, k), accumulate);
                    assert_eq!(serial, expected, "{m}x{n}x{k}");
                    let mut parallel = start.clone();
                    matmul_parallel(&mut parallel, lhs, rhs, (m, n, k), accumulate);
                    assert_eq!(parallel, expected, "{m}x{n}x{k} over threads");
                }
            }
        }
    }

    #[test]
    fn every_shape_and_layout_gives_the_bits_of_the_plain_loop() {
        for (m, n, k) in [
            (1, 1, 1),
            (1, 40, 7),
            (13, 16, 300),
            (5, 33, 2),
            (25, 70, 513),
            (60, 2100, 20),
            (2, 3, 0),
        ] {
            check(m, n, k);
        }
    }
}
