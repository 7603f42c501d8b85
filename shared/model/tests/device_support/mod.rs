//! Where the engine for GPUs runs in a test.

use candle_core::Device;
use seal_model::DeviceChoice;
use std::sync::OnceLock;

/// The CPU, unless `SEAL_TEST_DEVICE` names another device (`cuda`, on a build with that feature).
pub(crate) fn device() -> &'static Device {
    static CHOSEN: OnceLock<Device> = OnceLock::new();
    CHOSEN.get_or_init(|| match std::env::var("SEAL_TEST_DEVICE") {
        Ok(name) => {
            let choice: DeviceChoice = name.parse().expect("SEAL_TEST_DEVICE");
            let opened = choice.open().expect("the device that SEAL_TEST_DEVICE names");
            // The tests ask what the engine computes; a GPU's quicker f32 products are a setting.
            candle_core::cuda::set_gemm_reduced_precision_f32(false);
            opened.device
        }
        Err(_) => Device::Cpu,
    })
}
