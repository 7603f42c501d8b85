//! Vectorised loops whose results do not depend on the vector unit.
//!
//! [`vectorised!`](crate::vectorised) compiles a function for this machine's best instruction set.
//! The helpers below use only operations that IEEE 754 defines exactly, and reduce over [`LANES`]
//! fixed lanes.

/// Number of partial sums of every reduction; element `i` belongs to partial sum `i % LANES`.
pub const LANES: usize = 16;

/// Defines a function whose body is compiled for the best instruction set at hand.
///
/// Every function the body calls must be `#[inline(always)]`, else it keeps the plain instruction
/// set. Closures are such calls too: the body uses loops.
#[macro_export]
macro_rules! vectorised {
    (
        $(#[$meta:meta])*
        $vis:vis fn $name:ident<$life:lifetime>($($arg:ident: $type:ty),* $(,)?) $body:block
    ) => {
        $crate::vectorised! { $(#[$meta])* $vis fn $name<$life>($($arg: $type),*) -> () $body }
    };
    (
        $(#[$meta:meta])*
        $vis:vis fn $name:ident<$life:lifetime>($($arg:ident: $type:ty),* $(,)?) -> $out:ty
        $body:block
    ) => {
        $(#[$meta])*
        $vis fn $name<$life>($($arg: $type),*) -> $out {
            struct Arguments<$life> {
                $($arg: $type,)*
            }
            impl<$life> $crate::ops::lanes::WithSimd for Arguments<$life> {
                type Output = $out;

                #[inline(always)]
                fn with_simd<S: $crate::ops::lanes::Simd>(self, _: S) -> $out {
                    let Self { $($arg),* } = self;
                    $body
                }
            }
            $crate::ops::lanes::Arch::new().dispatch(Arguments { $($arg),* })
        }
    };
}
pub use crate::vectorised;
#[doc(hidden)]
pub use pulp::{Arch, Simd, WithSimd};

/// The instruction set the kernels use on this machine.
#[must_use]
pub fn instruction_set() -> &'static str {
    match Arch::new() {
        #[cfg(target_arch = "x86_64")]
        Arch::V4(_) => "avx512",
        #[cfg(target_arch = "x86_64")]
        Arch::V3(_) => "avx2+fma",
        #[cfg(target_arch = "aarch64")]
        Arch::Neon(_) => "neon",
        _ => "scalar",
    }
}

/// `e^x` to about one unit in the last place; 0 below −87.
#[inline(always)]
#[must_use]
pub fn exp(x: f32) -> f32 {
    // Adding and subtracting 1.5·2²³ rounds to the nearest integer without a library call.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.0, 88.0);
    let n = clamped.mul_add(std::f32::consts::LOG2_E, ROUND) - ROUND;
    let r = n.mul_add(-0.693_359_4, clamped);
    let r = n.mul_add(2.121_944_4e-4, r);
    let p = r.mul_add(1.987_569_1e-4, 1.398_199_9e-3);
    let p = r.mul_add(p, 8.333_452e-3);
    let p = r.mul_add(p, 4.166_579_6e-2);
    let p = r.mul_add(p, 1.666_666_5e-1);
    let p = r.mul_add(p, 0.500_000_06);
    let p = (r * r).mul_add(p, r) + 1.0;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let scale = f32::from_bits(((n as i32 + 127) as u32) << 23);
    if x < -87.0 { 0.0 } else { p * scale }
}

/// The logistic function.
#[inline(always)]
#[must_use]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[inline(always)]
fn fold(lanes: [f32; LANES]) -> f32 {
    let mut lanes = lanes;
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// `Σ a·b`.
#[inline(always)]
#[must_use]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] = a[i].mul_add(b[i], lanes[i]);
        }
    }
    for (i, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
        lanes[i] = a.mul_add(*b, lanes[i]);
    }
    fold(lanes)
}

/// `Σ a`.
#[inline(always)]
#[must_use]
pub fn sum(a: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let (chunks, rest) = a.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] += chunk[i];
        }
    }
    for (lane, a) in lanes.iter_mut().zip(rest) {
        *lane += a;
    }
    fold(lanes)
}

/// The largest element; −∞ for none.
#[inline(always)]
#[must_use]
pub fn max(a: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = a.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] = if chunk[i] > lanes[i] { chunk[i] } else { lanes[i] };
        }
    }
    for (lane, &a) in lanes.iter_mut().zip(rest) {
        *lane = if a > *lane { a } else { *lane };
    }
    lanes.iter().fold(f32::NEG_INFINITY, |best, &x| if x > best { x } else { best })
}

/// `y += a·x`.
#[inline(always)]
pub fn add_scaled(y: &mut [f32], a: f32, x: &[f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = a.mul_add(*x, *y);
    }
}

/// Turns `row` into its softmax and returns the largest logit and the sum of exponentials.
#[inline(always)]
pub fn softmax(row: &mut [f32]) -> (f32, f32) {
    let top = max(row);
    for x in row.iter_mut() {
        *x = exp(*x - top);
    }
    let total = sum(row);
    let inverse = 1.0 / total;
    for x in row.iter_mut() {
        *x *= inverse;
    }
    (top, total)
}

vectorised! {
    /// [`dot`] of whole vectors.
    #[must_use]
    pub fn dot_product<'a>(a: &'a [f32], b: &'a [f32]) -> f32 {
        dot(a, b)
    }
}

vectorised! {
    /// [`softmax`] of a whole row.
    pub fn softmax_row<'a>(row: &'a mut [f32]) -> (f32, f32) {
        softmax(row)
    }
}

vectorised! {
    /// [`max`] of a whole row.
    #[must_use]
    pub fn largest<'a>(row: &'a [f32]) -> f32 {
        max(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_exact_to_two_units_in_the_last_place() {
        let worst = (-8600..8700).map(|i| i as f32 / 100.0).fold(0f64, |worst, x| {
            let exact = f64::from(x).exp();
            worst.max((f64::from(exp(x)) - exact).abs() / exact)
        });
        assert!(worst < 2.4e-7, "worst relative error {worst}");
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert!(sigmoid(-200.0).abs() < 1e-30 && (sigmoid(200.0) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn vectorised_sums_equal_plain_ones_bit_for_bit() {
        let a: Vec<f32> = (0..1003).map(|i| ((i * 37) % 101) as f32 * 0.013 - 0.5).collect();
        assert_eq!(dot_product(&a, &a).to_bits(), dot(&a, &a).to_bits());
        assert_eq!(largest(&a), a.iter().copied().fold(f32::MIN, f32::max));
        let (mut fast, mut plain) = (a.clone(), a);
        assert_eq!(softmax_row(&mut fast), softmax(&mut plain));
        assert_eq!(fast, plain);
    }
}
