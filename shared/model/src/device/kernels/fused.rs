//! Launches the kernels of `kernels.cu`.
#![allow(unsafe_code)]

use crate::error::{ModelError, Result};
use candle_core::backend::BackendStorage;
use candle_core::cuda::cudarc::driver::{CudaView, LaunchConfig, PushKernelArg};
use candle_core::cuda::{CudaDType, CudaStorage, WrapErr};
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Shape, Storage, Tensor};
use half::bf16;

const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.ptx"));
/// Threads of a block, and its warps: WARPS there.
const THREADS: u64 = 256;
const WARPS: u64 = THREADS / 32;
/// Blocks from which a thread takes more than one number.
const MOST_BLOCKS: u64 = 1 << 16;

/// How threads are laid over the numbers.
#[derive(Clone, Copy)]
pub(super) enum Grid {
    /// Each number by itself.
    Numbers,
    /// A block for each row of this many.
    Rows(u64),
    /// A warp for each row of this many.
    Warps(u64),
}

/// One of the kernels, with everything it is told.
pub(super) struct Fused {
    kernel: &'static str,
    /// How many numbers there are.
    count: usize,
    grid: Grid,
    width: usize,
    groups: usize,
    scalars: [f32; 6],
    /// What is written.
    out: (Shape, DType),
    operands: Vec<Tensor>,
}

impl Fused {
    /// Writes a tensor like `like`, f32.
    pub(super) fn like(kernel: &'static str, like: &Tensor, width: usize) -> Self {
        Self {
            kernel,
            count: like.elem_count(),
            grid: Grid::Numbers,
            width,
            groups: 1,
            scalars: [0.0; 6],
            out: (like.shape().clone(), DType::F32),
            operands: Vec::new(),
        }
    }

    pub(super) fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    pub(super) fn scalars<const N: usize>(mut self, scalars: [f32; N]) -> Self {
        self.scalars[..N].copy_from_slice(&scalars);
        self
    }

    pub(super) fn grid(self, grid: Grid) -> Self {
        Self { grid, ..self }
    }

    /// Writes something else.
    pub(super) fn out(self, shape: impl Into<Shape>, dtype: DType) -> Self {
        Self { out: (shape.into(), dtype), ..self }
    }

    /// The result on operands of which each has as many numbers as the kernel reads.
    ///
    /// # Errors
    /// Operands of other sizes.
    pub(super) fn run(mut self, operands: &[(&Tensor, usize)]) -> Result<Tensor> {
        for (operand, numbers) in operands {
            if operand.elem_count() != *numbers || *numbers == 0 {
                let (kernel, shape) = (self.kernel, operand.shape());
                let problem = format!("{kernel}: an operand {shape:?}, expected {numbers} numbers");
                return Err(ModelError::Input(problem));
            }
            self.operands.push(operand.contiguous()?);
        }
        let first = self.operands[0].clone();
        Ok(first.apply_op1_no_bwd(&self)?)
    }

    fn config(&self) -> LaunchConfig {
        let count = self.count as u64;
        let blocks = match self.grid {
            Grid::Numbers => count.div_ceil(THREADS).min(MOST_BLOCKS),
            Grid::Rows(len) => count / len.max(1),
            Grid::Warps(len) => (count / len.max(1)).div_ceil(WARPS),
        };
        let blocks = u32::try_from(blocks).unwrap_or(u32::MAX).max(1);
        let threads = THREADS as u32;
        LaunchConfig { grid_dim: (blocks, 1, 1), block_dim: (threads, 1, 1), shared_mem_bytes: 0 }
    }

    fn launch<T: CudaDType + candle_core::cuda::cudarc::driver::DeviceRepr>(
        &self,
        first: &CudaStorage,
    ) -> candle_core::Result<(CudaStorage, Shape)> {
        let device = first.device.clone();
        let function = device.get_or_load_custom_func(self.kernel, "seal", PTX)?;
        // SAFETY: the kernel writes every one of them.
        let out = unsafe { device.alloc::<T>(self.out.0.elem_count()) }?;
        let held: Vec<_> = self.operands.iter().map(Tensor::storage_and_layout).collect();
        let mut views = Vec::with_capacity(held.len());
        for (storage, layout) in &held {
            let Storage::Cuda(storage) = &**storage else {
                candle_core::bail!("{}: an operand is not on the GPU", self.kernel)
            };
            views.push(View::of(storage, layout)?);
        }
        let (count, width, groups) = (self.count as u64, as_u32(self.width), as_u32(self.groups));
        let mut launch = function.builder();
        for view in &views {
            match view {
                View::F32(numbers) => launch.arg(numbers),
                View::Bf16(numbers) => launch.arg(numbers),
                View::U32(numbers) => launch.arg(numbers),
            };
        }
        launch.arg(&out).arg(&count).arg(&width).arg(&groups);
        for scalar in &self.scalars {
            launch.arg(scalar);
        }
        // SAFETY: the parameters are the kernel's operands, of the sizes that `run` checked, and
        // then TAIL of kernels.cu.
        unsafe { launch.launch(self.config()) }.w()?;
        Ok((CudaStorage::wrap_cuda_slice(out, device), self.out.0.clone()))
    }
}

/// The numbers of an operand.
enum View<'a> {
    F32(CudaView<'a, f32>),
    Bf16(CudaView<'a, bf16>),
    U32(CudaView<'a, u32>),
}

impl<'a> View<'a> {
    fn of(storage: &'a CudaStorage, layout: &Layout) -> candle_core::Result<Self> {
        let from = layout.start_offset()..;
        Ok(match storage.dtype() {
            DType::BF16 => Self::Bf16(storage.as_cuda_slice()?.slice(from)),
            DType::U32 => Self::U32(storage.as_cuda_slice()?.slice(from)),
            _ => Self::F32(storage.as_cuda_slice()?.slice(from)),
        })
    }
}

impl CustomOp1 for Fused {
    fn name(&self) -> &'static str {
        self.kernel
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        candle_core::bail!("{} is a kernel for GPUs", self.kernel)
    }

    fn cuda_fwd(
        &self,
        first: &CudaStorage,
        _: &Layout,
    ) -> candle_core::Result<(CudaStorage, Shape)> {
        match self.out.1 {
            DType::BF16 => self.launch::<bf16>(first),
            _ => self.launch::<f32>(first),
        }
    }
}

fn as_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
