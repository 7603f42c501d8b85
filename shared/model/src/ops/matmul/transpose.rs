//! Transposing into panels, sixteen by sixteen where AVX-512 can.
//!
//! Only moves numbers, so the result is the same on every machine.

use pulp::Arch;

/// Columns `0..used`, stored one after another with `stride` between them, become the columns of
/// `out` `[depth, panel]`; columns past `used` become 0.
pub(super) fn columns_to_panel(
    out: &mut [f32],
    columns: &[f32],
    stride: usize,
    used: usize,
    panel: usize,
) {
    let depth = out.len() / panel;
    let done = match Arch::new() {
        #[cfg(target_arch = "x86_64")]
        Arch::V4(simd) if used.is_multiple_of(SIDE) => {
            use pulp::Simd;
            Simd::vectorize(simd, Blocks { simd, out: &mut *out, columns, stride, used, panel });
            depth - depth % SIDE
        }
        _ => 0,
    };
    for column in 0..used {
        for (row, &x) in columns[column * stride..][..depth].iter().enumerate().skip(done) {
            out[row * panel + column] = x;
        }
    }
    if used < panel {
        out.chunks_exact_mut(panel).for_each(|row| row[used..].fill(0.0));
    }
}

/// Side of a block held in registers.
const SIDE: usize = 16;

#[cfg(target_arch = "x86_64")]
use avx512::Blocks;

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::SIDE;
    use pulp::x86::V4;
    use pulp::{Simd, WithSimd, cast};
    use std::arch::x86_64::{__m512, __m512i};

    /// Every whole block of the panel.
    pub(super) struct Blocks<'a> {
        pub(super) simd: V4,
        pub(super) out: &'a mut [f32],
        pub(super) columns: &'a [f32],
        pub(super) stride: usize,
        pub(super) used: usize,
        pub(super) panel: usize,
    }

    impl WithSimd for Blocks<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) {
            let Self { simd, out, columns, stride, used, panel } = self;
            let depth = out.len() / panel;
            for column in (0..used).step_by(SIDE) {
                let from: [&[[f32; SIDE]]; SIDE] = std::array::from_fn(|i| {
                    columns[(column + i) * stride..][..depth].as_chunks().0
                });
                for block in 0..depth / SIDE {
                    let rows = transposed(simd, std::array::from_fn(|i| cast(from[i][block])));
                    for (i, &row) in rows.iter().enumerate() {
                        let row: [f32; SIDE] = cast(row);
                        out[(block * SIDE + i) * panel + column..][..SIDE].copy_from_slice(&row);
                    }
                }
            }
        }
    }

    /// Four perfect shuffles of the sixteen vectors are a transposition.
    #[inline(always)]
    fn transposed(simd: V4, mut x: [__m512; SIDE]) -> [__m512; SIDE] {
        let low: __m512i = cast([0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23i32]);
        let high: __m512i = cast([8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31i32]);
        for _ in 0..4 {
            x = std::array::from_fn(|i| {
                let half = if i % 2 == 0 { low } else { high };
                simd.avx512f._mm512_permutex2var_ps(x[i / 2], half, x[i / 2 + SIDE / 2])
            });
        }
        x
    }
}
