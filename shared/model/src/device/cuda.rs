//! What the engine asks of NVIDIA's driver beside tensor operations.
#![allow(unsafe_code)]

use candle_core::cuda::cudarc::driver::DriverError;
use candle_core::cuda::cudarc::driver::result::{device, mem_pool};
use candle_core::cuda::cudarc::driver::sys::{CUmemPool_attribute, CUmemoryPool};
use candle_core::{CudaDevice, Device, Result};
use std::ptr::from_mut;

/// Opens a GPU for use by any thread of this process.
///
/// # Errors
/// A machine without a driver, or without this GPU.
pub(super) fn open(index: usize) -> Result<Device> {
    // The tensor library's own choice, the "per-thread" stream, is another one in each thread:
    // nothing would order what one thread writes and another reads. This one is the same in all.
    let opened = Device::new_cuda_with_stream(index)?;
    let cuda = opened.as_cuda_device()?;
    // SAFETY: no tensor exists yet, and all that will are used on this one stream alone, which runs
    // what it is given in order.
    unsafe { cuda.disable_event_tracking() };
    keep_freed_memory(cuda).map_err(|error| candle_core::Error::Cuda(error.into()))?;
    // Adapters and attention are f32 beside bf16 weights: ten bits of fraction suffice there.
    candle_core::cuda::set_gemm_reduced_precision_f32(true);
    Ok(opened)
}

/// Bytes that new tensors find: what nobody holds, and what this process holds but does not use.
pub(super) fn free_bytes(cuda: &CudaDevice) -> Option<u64> {
    let (free, _) = cuda.cuda_stream().context().mem_get_info().ok()?;
    let pool = pool(cuda).ok()?;
    let held = amount(pool, CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT).ok()?;
    let used = amount(pool, CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT).ok()?;
    Some(free as u64 + held.saturating_sub(used))
}

/// Memory of tensors that ended stays with this process. The driver's default is to give all of it
/// back whenever the host waits for the device, which generation does for every token.
fn keep_freed_memory(cuda: &CudaDevice) -> std::result::Result<(), DriverError> {
    let pool = pool(cuda)?;
    let mut most = u64::MAX;
    // SAFETY: the pool is the driver's own, and this attribute is a u64.
    unsafe {
        let attribute = CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        mem_pool::set_attribute(pool, attribute, from_mut(&mut most).cast())
    }
}

/// The pool that tensors of this device come from.
fn pool(cuda: &CudaDevice) -> std::result::Result<CUmemoryPool, DriverError> {
    // SAFETY: the context's device is one that the driver named.
    unsafe { device::get_default_mem_pool(cuda.cuda_stream().context().cu_device()) }
}

fn amount(
    pool: CUmemoryPool,
    attribute: CUmemPool_attribute,
) -> std::result::Result<u64, DriverError> {
    let mut bytes = 0u64;
    // SAFETY: the pool is the driver's own, and the attributes asked for are u64.
    unsafe { mem_pool::get_attribute(pool, attribute, from_mut(&mut bytes).cast()) }?;
    Ok(bytes)
}
