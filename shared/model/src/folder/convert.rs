//! Stored floats to the dtype that is computed in, refusing what is no number.

use safetensors::Dtype;

/// True for the dtypes a decoder's weights may have.
pub(crate) fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16)
}

/// Appends the little-endian floats of `bytes` to `into`. Other dtypes add nothing: see [`is_float`].
pub(crate) fn append_f32(dtype: Dtype, bytes: &[u8], into: &mut Vec<f32>) {
    let pairs = || bytes.as_chunks::<2>().0.iter().map(|b| u16::from_le_bytes(*b));
    match dtype {
        Dtype::F32 => into.extend(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b))),
        Dtype::BF16 => into.extend(pairs().map(|bits| f32::from_bits(u32::from(bits) << 16))),
        Dtype::F16 => into.extend(pairs().map(half_to_f32)),
        _ => {}
    }
}

/// True if one of the stored numbers is NaN or infinite.
pub(crate) fn has_non_finite(dtype: Dtype, bytes: &[u8]) -> bool {
    let pairs = |exponent: u16| {
        let bits = |b: &[u8; 2]| u16::from_le_bytes(*b) & exponent == exponent;
        bytes.as_chunks::<2>().0.iter().any(bits)
    };
    match dtype {
        Dtype::F32 => bytes.as_chunks::<4>().0.iter().any(|b| !f32::from_le_bytes(*b).is_finite()),
        Dtype::BF16 => pairs(0x7f80),
        Dtype::F16 => pairs(0x7c00),
        _ => false,
    }
}

fn half_to_f32(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f32::from(bits & 0x3ff));
    match exponent {
        0 => sign * fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => sign * f32::INFINITY,
        31 => f32::NAN,
        _ => sign * (1.0 + fraction / 1024.0) * 2f32.powi(exponent - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
        let mut floats = Vec::new();
        append_f32(dtype, bytes, &mut floats);
        floats
    }

    #[test]
    fn half_precision_numbers_are_read_exactly() {
        let bytes: Vec<u8> = [0x3c00u16, 0xc000, 0x0001, 0x7c00, 0x3555]
            .iter()
            .flat_map(|b| b.to_le_bytes())
            .collect();
        let expected = [1.0, -2.0, 5.960_464_5e-8, f32::INFINITY, 0.333_251_95];
        assert_eq!(read(Dtype::F16, &bytes), expected);
        assert_eq!(read(Dtype::BF16, &[0x80, 0x3f]), [1.0]);
        assert!(read(Dtype::I32, &[0; 4]).is_empty() && !is_float(Dtype::I32));
    }

    #[test]
    fn what_is_no_number_is_found_in_every_dtype() {
        for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, -0.0, 1e-40] {
            let bytes = [1f32.to_le_bytes(), x.to_le_bytes()].concat();
            assert_eq!(has_non_finite(Dtype::F32, &bytes), !x.is_finite(), "{x}");
        }
        // Every bit pattern, against the conversion.
        for bits in 0..=u16::MAX {
            for dtype in [Dtype::F16, Dtype::BF16] {
                let finite = read(dtype, &bits.to_le_bytes())[0].is_finite();
                assert_eq!(has_non_finite(dtype, &bits.to_le_bytes()), !finite, "{dtype} {bits:x}");
            }
        }
    }
}
