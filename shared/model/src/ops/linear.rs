//! Frozen and adapted linear layers, forward and backward.

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

/// A weight `[out, in]` with an optional bias `[out]`.
#[derive(Clone)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Tensor,
    /// `[out]`.
    pub bias: Option<Tensor>,
    /// Once it was asked for: the packed weight, or that there is no memory for it.
    packed: Arc<OnceLock<Option<Packed>>>,
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
        Self { weight, bias, packed: Arc::default() }
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
        let packed = self.packed.get_or_init(|| {
            let size = out * inner;
            let keep = size <= KEEP_PACKED || memory::spares(size * size_of::<f32>());
            keep.then(|| Packed::columns(&weight, out, inner))
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
        matmul(
            dx,
            Lhs::Rows(dy),
            Rhs::Rows(&values(&self.weight)?),
            (rows, inner, out),
            accumulate,
        );
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
