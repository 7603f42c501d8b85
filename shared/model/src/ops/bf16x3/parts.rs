//! An f32 number as a sum of three bf16 numbers.

/// The parts of `x` from large to small, as the bits of bf16 numbers: `x` is their sum.
///
/// Infinity and NaN stay what they are in the first part, and their other parts are NaN.
#[inline(always)]
#[allow(clippy::cast_possible_truncation)]
pub(super) fn parts(x: f32) -> [u16; 3] {
    let first = leading(x);
    let rest = x - first;
    let second = leading(rest);
    [first, second, rest - second].map(|part| (part.to_bits() >> 16) as u16)
}

/// The leading eight bits of the significand.
#[inline(always)]
fn leading(x: f32) -> f32 {
    f32::from_bits(x.to_bits() & 0xFFFF_0000)
}

/// `x`, or a zero of its sign if it is below the smallest normal number.
#[inline(always)]
pub(super) fn normal_or_zero(x: f32) -> f32 {
    const SIGN: u32 = 1 << 31;
    let is_tiny = x.to_bits() & !SIGN < f32::MIN_POSITIVE.to_bits();
    // No branch, which would keep a loop from being vectorised.
    f32::from_bits(x.to_bits() & (u32::from(is_tiny).wrapping_sub(1) | SIGN))
}

/// How many parts these numbers have: one if bf16 holds them all, else three.
#[must_use]
pub(super) fn count(numbers: &[f32]) -> usize {
    let is_whole = |x: &f32| x.to_bits() & 0xFFFF == 0;
    if numbers.iter().all(is_whole) { 1 } else { 3 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(part: u16) -> f32 {
        f32::from_bits(u32::from(part) << 16)
    }

    #[test]
    fn parts_sum_to_the_number_they_are_of() {
        let mut bits = 0x1234_5678u32;
        for _ in 0..100_000 {
            bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let x = f32::from_bits(bits);
            // Below, the last part would be no normal number.
            if !x.is_finite() || x.abs() < 1e-30 {
                continue;
            }
            let [a, b, c] = parts(x).map(value);
            assert_eq!((c + b) + a, x, "{x:e}: {a:e} {b:e} {c:e}");
            assert!(b.abs() <= a.abs() / 128.0 && c.abs() <= b.abs() / 128.0 || b == 0.0);
        }
    }

    #[test]
    fn what_is_no_finite_number_stays_so() {
        assert_eq!(value(parts(f32::INFINITY)[0]), f32::INFINITY);
        assert!(value(parts(f32::NAN)[0]).is_nan());
        assert_eq!(parts(-0.0), [0x8000, 0, 0]);
    }

    #[test]
    fn numbers_of_bf16_have_one_part() {
        assert_eq!(count(&[1.0, -0.5, 3.0e-20f32.floor()]), 1);
        assert_eq!(count(&[1.0, 0.1]), 3);
    }
}
