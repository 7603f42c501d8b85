//! Compiles the kernels for GPUs where the feature `cuda` is on.

use std::env;
use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = "src/device/kernels/kernels.cu";

fn main() {
    println!("cargo:rerun-if-changed={SOURCE}");
    println!("cargo:rerun-if-env-changed=NVCC");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    let nvcc = env::var_os("NVCC").unwrap_or_else(|| "nvcc".into());
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("kernels.ptx");
    // Text that the driver compiles for the GPU it finds, from this generation on.
    let arguments = ["-ptx", "-O3", "-gencode=arch=compute_80,code=compute_80", SOURCE, "-o"];
    let status = Command::new(&nvcc).args(arguments).arg(&out).status();
    assert!(
        status.as_ref().is_ok_and(std::process::ExitStatus::success),
        "`{}` did not compile {SOURCE} ({status:?}); docs/CUDA.md says what the feature `cuda` needs",
        nvcc.to_string_lossy()
    );
}
