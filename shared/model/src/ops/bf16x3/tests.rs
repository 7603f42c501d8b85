use super::*;
use crate::ops::matmul::{Lhs, Rhs};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn numbers(len: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn in_bf16(numbers: &[f32]) -> Vec<f32> {
    numbers.iter().map(|x| f32::from_bits(x.to_bits() & 0xFFFF_0000)).collect()
}

/// By the definition of the module, one element after another.
fn defined(c: &mut [f32], x: &[f32], weight: &[f32], (m, n, k): (usize, usize, usize)) {
    let value = |bits: u16| parts::normal_or_zero(f32::from_bits(u32::from(bits) << 16));
    let of = |x: &[f32], at: usize, part: usize| {
        x.get(at).map_or(0.0, |&x| value(parts::parts(x)[part]))
    };
    let shared = parts::count(weight);
    for (i, c) in c.chunks_exact_mut(n).enumerate().take(m) {
        let x = &x[i * k..(i + 1) * k];
        for (j, c) in c.iter_mut().enumerate() {
            let w = &weight[j * k..(j + 1) * k];
            for from in (0..k).step_by(TILE_DEPTH) {
                for (a, b) in PAIRS.into_iter().filter(|&(_, b)| b < shared) {
                    let mut sums = [0.0f32; 2];
                    for at in 0..TILE_DEPTH {
                        let sum = &mut sums[at % 2];
                        let fused = of(x, from + at, a).mul_add(of(w, from + at, b), *sum);
                        *sum = parts::normal_or_zero(fused);
                    }
                    let both = parts::normal_or_zero(sums[0] + sums[1]);
                    *c = parts::normal_or_zero(parts::normal_or_zero(*c) + both);
                }
            }
        }
    }
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|x| x.to_bits()).collect()
}

/// Every engine of this machine, in one piece and over threads.
fn each_way(x: &[f32], weight: &Weight, m: usize, start: &[f32]) -> Vec<(&'static str, Vec<f32>)> {
    let mut all = Vec::new();
    let whole = |c: &mut [f32], compute: &dyn Fn(&Product<'_>, Piece)| {
        let product = Product { c: Shared(c.as_mut_ptr()), x, weight, accumulate: true };
        compute(&product, Piece { rows: 0..m, columns: 0..weight.n });
    };
    let mut c = start.to_vec();
    whole(&mut c, &|product, piece| product.compute(&emulated::Emulated, piece));
    all.push(("emulated", c));
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    if let Some(amx) = amx::Amx::get() {
        let mut c = start.to_vec();
        whole(&mut c, &|product, piece| amx.with_tiles(|engine| product.compute(engine, piece)));
        all.push(("AMX", c));
    } else {
        println!("skipped: this machine has no AMX");
    }
    let mut c = start.to_vec();
    matmul(&mut c, x, weight, m, true);
    all.push(("over threads", c));
    all
}

#[test]
fn every_engine_gives_the_bits_of_the_definition() {
    for (m, n, k) in
        [(1, 1, 1), (3, 40, 33), (17, 31, 64), (33, 70, 129), (50, 130, 1100), (250, 270, 140)]
    {
        let (x, wide) = (numbers(m * k, 1), numbers(n * k, 2));
        for weights in [in_bf16(&wide), wide] {
            let start = numbers(m * n, 3);
            let mut expected = start.clone();
            defined(&mut expected, &x, &weights, (m, n, k));
            let weight = Weight::columns(&weights, n, k);
            for (way, c) in each_way(&x, &weight, m, &start) {
                assert_eq!(bits(&c), bits(&expected), "{way}, {m}x{n}x{k}");
            }
        }
    }
}

#[test]
fn both_layouts_of_a_weight_are_the_same_weight() {
    let (m, n, k) = (5, 45, 70);
    let (x, columns) = (numbers(m * k, 1), numbers(n * k, 2));
    let rows: Vec<f32> = (0..n * k).map(|i| columns[(i % n) * k + i / n]).collect();
    let product = |weight: &Weight| {
        let mut c = vec![7.0; m * n];
        matmul(&mut c, &x, weight, m, false);
        bits(&c)
    };
    assert_eq!(product(&Weight::columns(&columns, n, k)), product(&Weight::rows(&rows, n, k)));
}

#[test]
fn tiny_huge_and_no_numbers_are_the_same_on_every_engine() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let mut anything = |len: usize, spread: f32| -> Vec<f32> {
        (0..len)
            .map(|_| rng.random_range(-1.0..1.0f32) * 10f32.powf(rng.random_range(-spread..0.0)))
            .collect()
    };
    let (m, n, k) = (20, 40, 200);
    for _ in 0..50 {
        let (mut x, w) = (anything(m * k, 44.0), anything(n * k, 12.0));
        (x[3], x[700], x[1500]) = (f32::INFINITY, f32::NAN, f32::MAX);
        let start = anything(m * n, 44.0);
        let all = each_way(&x, &Weight::columns(&w, n, k), m, &start);
        let same = |a: f32, b: f32| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
        for (way, c) in &all[1..] {
            let other = c.iter().zip(&all[0].1).position(|(&a, &b)| !same(a, b));
            assert_eq!(other, None, "{way}: {:?}", other.map(|at| (c[at], all[0].1[at])));
        }
    }
}

#[test]
fn a_row_has_the_same_bits_alone_and_in_any_batch() {
    let (m, n, k) = (70, 50, 96);
    let (x, weight) = (numbers(m * k, 1), Weight::columns(&numbers(n * k, 2), n, k));
    let mut together = vec![0.0; m * n];
    matmul(&mut together, &x, &weight, m, false);
    for row in [0, 15, 16, 40, 69] {
        let mut alone = vec![0.0; n];
        matmul(&mut alone, &x[row * k..(row + 1) * k], &weight, 1, false);
        assert_eq!(bits(&alone), bits(&together[row * n..(row + 1) * n]), "row {row}");
    }
}

/// Root of the mean square distance from the product in f64.
fn distance(c: &[f32], x: &[f32], w: &[f32], (n, k): (usize, usize)) -> f64 {
    let squares = c.iter().enumerate().map(|(at, &c)| {
        let (x, w) = (&x[at / n * k..][..k], &w[at % n * k..][..k]);
        let exact: f64 = x.iter().zip(w).map(|(&x, &w)| f64::from(x) * f64::from(w)).sum();
        (f64::from(c) - exact).powi(2)
    });
    (squares.sum::<f64>() / c.len() as f64).sqrt()
}

#[test]
fn results_are_as_near_to_the_truth_as_those_in_f32() {
    for (k, wide) in [(200, false), (200, true), (3000, false), (3000, true)] {
        let (m, n) = (20, 40);
        let (x, w) = (numbers(m * k, 5), numbers(n * k, 6));
        let w = if wide { w } else { in_bf16(&w) };
        let (mut split, mut chain) = (vec![0.0; m * n], vec![0.0; m * n]);
        matmul(&mut split, &x, &Weight::columns(&w, n, k), m, false);
        crate::ops::matmul::matmul(&mut chain, Lhs::Rows(&x), Rhs::Columns(&w), (m, n, k), false);
        let of = |c: &[f32]| distance(c, &x, &w, (n, k));
        assert!(of(&split) <= of(&chain), "k {k}: {:e} against {:e}", of(&split), of(&chain));
    }
}

#[test]
fn every_thread_has_a_piece_and_long_weights_are_read_once() {
    let pieces = |m: usize, n: usize, threads| {
        let (height, width) = piece_size(m, n, threads);
        assert!(height <= BLOCK_ROWS && height.is_multiple_of(TILE) && width.is_multiple_of(SIDE));
        (m.div_ceil(height), n.div_ceil(width))
    };
    assert_eq!(pieces(392, 4864, 1), (2, 1));
    assert_eq!(pieces(392, 896, 2), (2, 1));
    assert_eq!(pieces(110, 151_936, 2), (1, 6));
    assert_eq!(pieces(49, 896, 2), (2, 1));
    for (m, n) in [(392, 896), (392, 4864), (2000, 512), (110, 151_936)] {
        let (rows, columns) = pieces(m, n, 16);
        assert!(rows * columns >= 16, "{m}x{n}: {rows} by {columns}");
    }
}
