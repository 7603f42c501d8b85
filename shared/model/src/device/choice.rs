//! Which device a process computes on, as its config says it.

use crate::error::{ModelError, Result};
use crate::ops::bf16x3::is_accelerated;
use crate::ops::linear::Products;
use candle_core::Device;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// `device` in a config file: `"cpu"`, `"cpu-bf16x3"`, `"auto"`, `"cuda"` or `"cuda:N"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceChoice {
    /// The exact engine, in f32.
    #[default]
    Cpu,
    /// The exact engine with products of bf16 parts, [`crate::ops::bf16x3`].
    CpuBf16x3,
    /// The first GPU if there is one, otherwise the CPU.
    Auto,
    /// This GPU, in bf16.
    Cuda(usize),
}

/// What to know of `cpu-bf16x3` on a processor without a matrix engine.
const SLOWER: &str = "this processor has no AMX with bf16, or the system keeps it from this process: \
                      `cpu-bf16x3` gives the same bits here, ten times slower than `cpu` or more";

/// A device that is ready.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The device.
    pub device: Device,
    /// How the exact engine computes products there.
    pub products: Products,
    /// Why it is not the one that was hoped for; to be told once.
    pub note: Option<String>,
}

impl DeviceChoice {
    /// True if a GPU may be used.
    #[must_use]
    pub fn may_use_cuda(self) -> bool {
        matches!(self, Self::Auto | Self::Cuda(_))
    }

    /// Opens the device. A GPU's driver starts threads, so a process confines itself first.
    ///
    /// # Errors
    /// A GPU that was asked for and cannot be used.
    pub fn open(self) -> Result<Opened> {
        let opened = |device| Opened { device, products: Products::F32, note: None };
        match self {
            Self::Cpu => Ok(opened(Device::Cpu)),
            Self::CpuBf16x3 => {
                let note = (!is_accelerated()).then(|| SLOWER.to_owned());
                Ok(Opened { products: Products::Bf16x3, note, ..opened(Device::Cpu) })
            }
            Self::Cuda(index) => Ok(opened(open_cuda(index)?)),
            Self::Auto => Ok(match open_cuda(0) {
                Ok(device) => opened(device),
                Err(error) => {
                    let note = Some(format!("computing on the CPU: {error}"));
                    Opened { note, ..opened(Device::Cpu) }
                }
            }),
        }
    }
}

fn open_cuda(index: usize) -> Result<Device> {
    #[cfg(feature = "cuda")]
    let opened = super::cuda::open(index);
    #[cfg(not(feature = "cuda"))]
    let opened = Device::new_cuda(index);
    opened.map_err(|error| ModelError::Cuda {
        index,
        // The tensor library may append a backtrace.
        reason: error.to_string().lines().next().unwrap_or_default().to_owned(),
    })
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let index = |digits: &str| digits.parse().ok();
        match text {
            "cpu" => Some(Self::Cpu),
            "cpu-bf16x3" => Some(Self::CpuBf16x3),
            "auto" => Some(Self::Auto),
            "cuda" => Some(Self::Cuda(0)),
            _ => text.strip_prefix("cuda:").and_then(index).map(Self::Cuda),
        }
        .ok_or_else(|| {
            format!(
                "device `{text}` is not one of `cpu`, `cpu-bf16x3`, `auto`, `cuda` and `cuda:N`"
            )
        })
    }
}

impl TryFrom<String> for DeviceChoice {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<DeviceChoice> for String {
    fn from(choice: DeviceChoice) -> Self {
        choice.to_string()
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::CpuBf16x3 => f.write_str("cpu-bf16x3"),
            Self::Auto => f.write_str("auto"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_device_is_written_as_it_is_read() {
        for (text, choice, written) in [
            ("cpu", DeviceChoice::Cpu, "cpu"),
            ("cpu-bf16x3", DeviceChoice::CpuBf16x3, "cpu-bf16x3"),
            ("auto", DeviceChoice::Auto, "auto"),
            ("cuda", DeviceChoice::Cuda(0), "cuda:0"),
            ("cuda:3", DeviceChoice::Cuda(3), "cuda:3"),
        ] {
            assert_eq!(text.parse(), Ok(choice));
            assert_eq!(choice.to_string(), written);
        }
    }

    #[test]
    fn an_unknown_device_is_refused_with_the_known_ones() {
        for text in ["", "gpu", "cpu-bf16", "cuda:", "cuda:x", "cuda:-1", "CPU", "mps"] {
            let refused = text.parse::<DeviceChoice>().unwrap_err();
            assert!(refused.contains("`cuda:N`"), "{refused}");
        }
    }

    #[test]
    fn a_gpu_that_is_not_there_is_an_error_and_auto_says_what_it_took_instead() {
        // No machine has this one.
        let refused = DeviceChoice::Cuda(4095).open().unwrap_err().to_string();
        assert!(refused.contains("4095") && refused.contains("device = \"cpu\""), "{refused}");
        let opened = DeviceChoice::Auto.open().unwrap();
        assert_eq!(opened.device.is_cpu(), opened.note.is_some());
        assert!(DeviceChoice::Cpu.open().unwrap().note.is_none());
    }
}
