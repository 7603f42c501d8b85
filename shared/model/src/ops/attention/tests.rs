use super::*;

const HEADS: Heads = Heads { query: 4, key_value: 2, dim: 6, window: None };
const WINDOWS: [Option<usize>; 6] = [None, Some(1), Some(5), Some(16), Some(17), Some(100)];

fn rows(len: usize, width: usize, salt: usize) -> Tensor {
    let number = |i: usize| ((i + 13 * salt) * 7919 % 1009) as f32 / 250.0 - 2.0;
    tensor((0..len * width).map(number).collect(), (len, width)).unwrap()
}

/// q, k and v of one sequence.
fn sequence(len: usize) -> [Tensor; 3] {
    let (query, key_value) = (HEADS.query * HEADS.dim, HEADS.key_value * HEADS.dim);
    [rows(len, query, 1), rows(len, key_value, 2), rows(len, key_value, 3)]
}

fn attend([q, k, v]: &[Tensor; 3], heads: Heads) -> Vec<Vec<f32>> {
    let span = Span { start: 0, len: q.dim(0).unwrap() };
    forward((q, k, v), &[span], heads).unwrap().to_vec2().unwrap()
}

#[test]
fn a_window_is_full_attention_over_the_latest_keys() {
    let all = sequence(53);
    for window in WINDOWS {
        let windowed = attend(&all, Heads { window, ..HEADS });
        for (i, row) in windowed.iter().enumerate() {
            let first = (i + 1).saturating_sub(window.unwrap_or(usize::MAX));
            let seen = [0, 1, 2].map(|t: usize| all[t].narrow(0, first, i + 1 - first).unwrap());
            let seen = seen.map(|t| t.force_contiguous().unwrap());
            let alone = attend(&seen, HEADS).pop().unwrap();
            let worst = row.iter().zip(&alone).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(worst < 1e-5, "window {window:?}, query {i}: {worst}");
        }
    }
}

#[test]
fn a_query_gets_the_same_bits_from_a_longer_sequence_and_from_a_longer_cache() {
    let (long, len) = (sequence(53), 41);
    let short = [0, 1, 2].map(|t: usize| long[t].narrow(0, 0, len).unwrap());
    let short = short.map(|t| t.force_contiguous().unwrap());
    let width = HEADS.key_value * HEADS.dim;
    let (k, v) = (values(&long[1]).unwrap(), values(&long[2]).unwrap());
    for window in WINDOWS {
        let heads = Heads { window, ..HEADS };
        let (in_long, in_short) = (attend(&long, heads), attend(&short, heads));
        assert_eq!(in_long[..len], in_short);
        let q = long[0].to_vec2::<f32>().unwrap();
        for head in 0..HEADS.query {
            let shared = head / heads.group();
            let at = shared * HEADS.dim;
            // All keys are there, as in a cache that has grown past this query.
            let (keys, stride) = transpose_head(&k, width, at, HEADS.dim);
            let keys = HeadKeys { keys: &keys, stride, values: &v[at..], value_stride: width };
            for i in 0..len {
                let columns = head * HEADS.dim..(head + 1) * HEADS.dim;
                let (mut out, mut row) = ([0.0; HEADS.dim], vec![9.0; 64]);
                let q = &q[i][columns.clone()];
                attend_one(&mut out, &mut row, q, &keys, heads.seen(i), heads.scale());
                assert_eq!(out, in_long[i][columns], "window {window:?}, query {i}");
            }
        }
    }
}

#[test]
fn windowed_gradients_are_the_slopes_of_the_forward() {
    let all = sequence(23);
    let heads = Heads { window: Some(4), ..HEADS };
    let dout = rows(23, HEADS.query * HEADS.dim, 4).flatten_all().unwrap().to_vec1().unwrap();
    let loss = |all: &[Tensor; 3]| -> f64 {
        let out = attend(all, heads).concat();
        out.iter().zip(&dout).map(|(o, d): (&f32, &f32)| f64::from(*o) * f64::from(*d)).sum()
    };
    let span = Span { start: 0, len: 23 };
    let (dq, dk, dv) = backward(&dout, (&all[0], &all[1], &all[2]), &[span], heads).unwrap();
    for (which, gradient) in [dq, dk, dv].iter().enumerate() {
        for at in (0..gradient.len()).step_by(17) {
            let moved = |by: f32| {
                let mut data = all[which].flatten_all().unwrap().to_vec1::<f32>().unwrap();
                data[at] += by;
                let mut moved = all.clone();
                moved[which] = tensor(data, all[which].shape()).unwrap();
                loss(&moved)
            };
            let slope = (moved(5e-3) - moved(-5e-3)) / 1e-2;
            let found = f64::from(gradient[at]);
            assert!((slope - found).abs() < 2e-3 * (1.0 + slope.abs()), "{found}, slope {slope}");
        }
    }
}
