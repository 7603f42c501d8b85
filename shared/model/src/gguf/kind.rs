//! How GGUF stores numbers: the types of ggml that are read, and the names of those that are not.
//!
//! Source: `enum ggml_type` of ggml.

use candle_core::quantized::GgmlDType;

/// A type that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) dtype: GgmlDType,
}

impl Kind {
    /// The type of a number in the file, or its name where it is not read.
    pub(super) fn of(number: u32) -> Result<Self, String> {
        let (name, dtype) = match number {
            0 => ("F32", GgmlDType::F32),
            1 => ("F16", GgmlDType::F16),
            2 => ("Q4_0", GgmlDType::Q4_0),
            3 => ("Q4_1", GgmlDType::Q4_1),
            6 => ("Q5_0", GgmlDType::Q5_0),
            7 => ("Q5_1", GgmlDType::Q5_1),
            8 => ("Q8_0", GgmlDType::Q8_0),
            10 => ("Q2_K", GgmlDType::Q2K),
            11 => ("Q3_K", GgmlDType::Q3K),
            12 => ("Q4_K", GgmlDType::Q4K),
            13 => ("Q5_K", GgmlDType::Q5K),
            14 => ("Q6_K", GgmlDType::Q6K),
            30 => ("BF16", GgmlDType::BF16),
            other => return Err(unread(other)),
        };
        Ok(Self { name, dtype })
    }

    /// Numbers in one block.
    pub(super) fn block(self) -> u64 {
        self.dtype.block_size() as u64
    }

    /// Bytes of one block.
    pub(super) fn block_bytes(self) -> u64 {
        self.dtype.type_size() as u64
    }
}

/// The name of a type that is not read.
fn unread(number: u32) -> String {
    let name = match number {
        9 => "Q8_1",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        _ => return format!("type {number}"),
    };
    name.to_owned()
}
