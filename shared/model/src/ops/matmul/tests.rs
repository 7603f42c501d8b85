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
                let product = (Left { lhs, m, k }, Source { rhs, n, k });
                // Without a depth there is nothing to spread.
                for spread in [by_columns, by_rows].into_iter().filter(|_| k > 0) {
                    let mut parallel = start.clone();
                    spread(&mut parallel, product, accumulate);
                    assert_eq!(parallel, expected, "{m}x{n}x{k} over threads");
                }
            }
        }
    }
}

#[test]
fn every_shape_and_layout_gives_the_bits_of_the_plain_loop() {
    for (m, n, k) in
        [(1, 1, 1), (1, 40, 7), (13, 16, 300), (5, 33, 2), (25, 70, 513), (60, 2100, 20), (2, 3, 0)]
    {
        check(m, n, k);
    }
}
