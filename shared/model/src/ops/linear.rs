//! Frozen and adapted linear layers, forward and backward.

use super::bf16x3::{self, Weight};
use super::dropout::Mask;
use super::elementwise::add_into;
use super::matmul::{Lhs, Packed, Rhs, matmul};
use super::{tensor, values};
use crate::error::Result;
use crate::memory;
use candle_core::Tensor;
use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

/// Weights up to this many elements are always packed once and kept; larger ones where memory
/// allows.
pub(crate) const KEEP_PACKED: usize = 1 << 20;

/// How the exact engine computes products with frozen weights. Everything else stays f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Products {
    /// By [`super::matmul`].
    #[default]
    F32,
    /// By [`super::bf16x3`]: f32 results, faster where the processor multiplies bf16 matrices.
    Bf16x3,
}

/// A weight `[out, in]` with an optional bias `[out]`.
#[derive(Clone)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Tensor,
    /// `[out]`.
    pub bias: Option<Tensor>,
    /// Once it was asked for: the packed weight, or that there is no memory for it.
    packed: Arc<OnceLock<Option<Packed>>>,
    /// There where products are [`Products::Bf16x3`].
    split: Option<Arc<Split>>,
}

/// A weight prepared for both directions, once it was asked for; none where there is no memory.
#[derive(Default)]
struct Split {
    forward: OnceLock<Option<Weight>>,
    backward: OnceLock<Option<Weight>>,
}

/// One candidate's LoRA factors on one layer and the rows they apply to.
#[derive(Clone)]
pub struct LoraRows {
    /// Index of the candidate's adapter.
    pub adapter: usize,
    /// First row.
    pub start: usize,
    /// Number of rows.
    pub len: usize,
    /// `[r, in]`.
    pub a: Tensor,
    /// `[out, r]`.
    pub b: Tensor,
    /// What the output is multiplied by.
    pub scale: f32,
    /// What this step leaves out of A's input, if training does.
    pub mask: Option<Mask>,
}

impl Linear {
    /// A layer over `weight` `[out, in]`.
    #[must_use]
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight, bias, packed: Arc::default(), split: None }
    }

    /// The same layer with its products computed this way.
    #[must_use]
    pub fn computing(&self, products: Products) -> Self {
        let split = (products == Products::Bf16x3).then(Arc::default);
        Self { split, ..self.clone() }
    }

    /// `(out, in)`.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        self.weight.dims2().unwrap_or((0, 0))
    }

    /// `x·Wᵀ + bias`.
    ///
    /// # Shapes
    /// `x` `[rows, in]` → `[rows, out]`.
    ///
    /// # Errors
    /// Shapes that disagree.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let rows = x.dim(0)?;
        let (out, _) = self.shape();
        let mut y = vec![0.0; rows * out];
        self.forward_into(&mut y, &values(x)?, rows)?;
        tensor(y, (rows, out))
    }

    /// Like [`Linear::forward`], over slices.
    ///
    /// # Errors
    /// A weight that is not f32 on the CPU.
    pub fn forward_into(&self, y: &mut [f32], x: &[f32], rows: usize) -> Result<()> {
        let (out, inner) = self.shape();
        let weight = values(&self.weight)?;
        if let Some(bias) = &self.bias {
            let bias = values(bias)?;
            y.chunks_exact_mut(out).for_each(|row| row.copy_from_slice(&bias));
        }
        if let Some(split) = &self.split {
            split_product((y, x, rows, self.bias.is_some()), &split.forward, weight.len(), || {
                Weight::columns(&weight, out, inner)
            });
            return Ok(());
        }
        let packed = self.packed.get_or_init(|| {
            let size = out * inner;
            keeps(size, size * size_of::<f32>()).then(|| Packed::columns(&weight, out, inner))
        });
        let rhs = packed.as_ref().map_or(Rhs::Columns(&weight), Rhs::Packed);
        matmul(y, Lhs::Rows(x), rhs, (rows, out, inner), self.bias.is_some());
        Ok(())
    }

    /// [`Linear::forward`] plus each candidate's `scale · (x·Aᵀ)·Bᵀ` on its own rows.
    ///
    /// A mask takes its part of `x` out of `x·Aᵀ`. Also returns each candidate's `scale · x·Aᵀ`,
    /// `[len, r]`, for the backward.
    ///
    /// # Errors
    /// Shapes that disagree.
    pub fn forward_lora(&self, x: &Tensor, loras: &[LoraRows]) -> Result<(Tensor, Vec<Tensor>)> {
        let rows = x.dim(0)?;
        let (out, inner) = self.shape();
        let mut y = vec![0.0; rows * out];
        let x = values(x)?;
        self.forward_into(&mut y, &x, rows)?;
        let mut inners = Vec::with_capacity(loras.len());
        for lora in loras {
            let rank = lora.a.dim(0)?;
            let x = lora.kept(&x[lora.start * inner..(lora.start + lora.len) * inner], inner);
            let y = &mut y[lora.start * out..(lora.start + lora.len) * out];
            let mut u = vec![0.0; lora.len * rank];
            matmul(
                &mut u,
                Lhs::Rows(&x),
                Rhs::Columns(&values(&lora.a)?),
                (lora.len, rank, inner),
                false,
            );
            u.iter_mut().for_each(|u| *u *= lora.scale);
            matmul(y, Lhs::Rows(&u), Rhs::Columns(&values(&lora.b)?), (lora.len, out, rank), true);
            inners.push(tensor(u, (lora.len, rank))?);
        }
        Ok((tensor(y, (rows, out))?, inners))
    }

    /// `dx (+)= dy·W`.
    ///
    /// # Shapes
    /// `dy` `[rows, out]`, `dx` `[rows, in]`.
    ///
    /// # Errors
    /// A weight that is not f32 on the CPU.
    pub fn backward_input(
        &self,
        dx: &mut [f32],
        dy: &[f32],
        rows: usize,
        accumulate: bool,
    ) -> Result<()> {
        let (out, inner) = self.shape();
        let weight = values(&self.weight)?;
        match &self.split {
            Some(split) => {
                split_product((dx, dy, rows, accumulate), &split.backward, weight.len(), || {
                    Weight::rows(&weight, inner, out)
                })
            }
            None => {
                matmul(dx, Lhs::Rows(dy), Rhs::Rows(&weight), (rows, inner, out), accumulate);
            }
        }
        Ok(())
    }

    /// `dW += dyᵀ·x`.
    pub fn backward_weight(&self, dw: &mut [f32], dy: &[f32], x: &[f32], rows: usize) {
        let (out, inner) = self.shape();
        matmul(dw, Lhs::Columns(dy), Rhs::Rows(x), (out, inner, rows), true);
    }

    /// `dbias += Σ dy`.
    pub fn backward_bias(&self, dbias: &mut [f32], dy: &[f32]) {
        for row in dy.chunks_exact(dbias.len()) {
            dbias.iter_mut().zip(row).for_each(|(sum, dy)| *sum += dy);
        }
    }
}

/// Whether a copy of a weight of `len` numbers is kept that takes so many bytes.
fn keeps(len: usize, bytes: usize) -> bool {
    len <= KEEP_PACKED || memory::spares(bytes)
}

/// `c (+)= x · weight` with a weight of `len` numbers that is prepared once, or each time where
/// there is no memory to keep it.
fn split_product(
    (c, x, rows, accumulate): (&mut [f32], &[f32], usize, bool),
    kept: &OnceLock<Option<Weight>>,
    len: usize,
    prepare: impl Fn() -> Weight,
) {
    match kept.get_or_init(|| keeps(len, Weight::bytes(len)).then(&prepare)) {
        Some(weight) => bf16x3::matmul(c, x, weight, rows, accumulate),
        None => bf16x3::matmul(c, x, &prepare(), rows, accumulate),
    }
}

impl LoraRows {
    /// What A reads of `x` `[len, in]`.
    fn kept<'x>(&self, x: &'x [f32], inner: usize) -> Cow<'x, [f32]> {
        self.mask.map_or(Cow::Borrowed(x), |mask| Cow::Owned(mask.applied(x, inner)))
    }

    /// Adds this candidate's part of the backward: `dA`, `dB` and its share of `dx`.
    ///
    /// # Shapes
    /// `x`, `dx`: this candidate's rows `[len, in]`; `dy` `[len, out]`; `u` = `scale·x·Aᵀ`
    /// `[len, r]`; `da` `[r, in]`; `db` `[out, r]`.
    ///
    /// # Errors
    /// Factors that are not f32 on the CPU.
    pub fn backward(
        &self,
        (da, db): (&mut [f32], &mut [f32]),
        dx: Option<&mut [f32]>,
        dy: &[f32],
        x: &[f32],
        u: &[f32],
    ) -> Result<()> {
        let (rank, inner) = self.a.dims2()?;
        let out = self.b.dim(0)?;
        let mut du = vec![0.0; self.len * rank];
        matmul(&mut du, Lhs::Rows(dy), Rhs::Rows(&values(&self.b)?), (self.len, rank, out), false);
        du.iter_mut().for_each(|du| *du *= self.scale);
        let kept = self.kept(x, inner);
        matmul(da, Lhs::Columns(&du), Rhs::Rows(&kept), (rank, inner, self.len), true);
        matmul(db, Lhs::Columns(dy), Rhs::Rows(u), (out, rank, self.len), true);
        let Some(dx) = dx else { return Ok(()) };
        let (a, shape) = (values(&self.a)?, (self.len, inner, rank));
        match &self.mask {
            None => matmul(dx, Lhs::Rows(&du), Rhs::Rows(&a), shape, true),
            Some(mask) => {
                let mut share = vec![0.0; self.len * inner];
                matmul(&mut share, Lhs::Rows(&du), Rhs::Rows(&a), shape, false);
                mask.apply(&mut share, inner);
                add_into(dx, &share);
            }
        }
        Ok(())
    }
}
