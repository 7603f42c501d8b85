//! Adapters one after another: several as one of a higher rank, and a base with one in its weights.
//!
//! `W + s·B₁A₁ + s·B₂A₂ = W + s·[B₁ B₂]·[A₁; A₂]`, so a stack is an adapter like any other: it is stored,
//! measured and served over the base that it was begun on. Merging serves training alone, which sees what
//! was learned before as part of frozen weights.
//!
//! **Invariant:** on the CPU the same factors give the same bits, whatever the threads.
//! Source: the continual runs of arXiv:2506.10943 merge each adapter into bf16 weights and go on from
//! there. A stack rounds nothing away, and the base stays the one that everyone hashed.

use crate::decoder::{Decoder, DecoderConfig};
use crate::error::{ModelError, Result};
use crate::lora::{Adapter, FactorShape, Factors, LoraSpec, Projection};
use crate::ops::matmul::{Lhs, Rhs, matmul};
use candle_core::{DType, Tensor};

impl Adapter {
    /// What this adapter and `next` do together, `next` having been trained with this one merged into
    /// the base.
    ///
    /// The stack has the scale of this one; where `next` has another, its B takes up the difference.
    ///
    /// # Shapes
    /// A: `[r, in]` above `[r', in]`; B: `[out, r]` beside `[out, r']`.
    ///
    /// # Errors
    /// Other targets or another number of layers; a rank that no adapter has; a scale that depends on
    /// the rank.
    pub fn stacked(&self, config: &DecoderConfig, next: &Self) -> Result<Self> {
        let spec = of_rank(self.spec(), self.spec().r + next.spec().r)?;
        let sorted = |spec: &LoraSpec| {
            let mut targets = spec.targets.clone();
            targets.sort_unstable();
            targets
        };
        if sorted(self.spec()) != sorted(next.spec()) {
            return refuse("adapters stack where both have the same targets");
        }
        let share = next.scale() / self.scale();
        Self::from_factors(config, &spec, |shape| {
            let (first, second) = (of(self, shape)?, of(next, shape)?);
            let b = match share.to_bits() == 1f32.to_bits() {
                true => second.b.clone(),
                false => second.b.affine(f64::from(share), 0.0)?,
            };
            Ok(Factors {
                a: Tensor::cat(&[&first.a, &second.a], 0)?.contiguous()?,
                b: Tensor::cat(&[&first.b, &b], 1)?.contiguous()?,
            })
        })
    }

    /// The adapter of rank `rank` that a stack began with, and what was stacked on it.
    ///
    /// # Errors
    /// A rank that leaves one of the two without any.
    pub fn split_at(&self, config: &DecoderConfig, rank: usize) -> Result<(Self, Self)> {
        let rest = self.spec().r.saturating_sub(rank);
        let part = |from: usize, rank: usize| {
            Self::from_factors(config, &of_rank(self.spec(), rank)?, |shape| {
                let whole = of(self, shape)?;
                Ok(Factors {
                    a: whole.a.narrow(0, from, rank)?.contiguous()?,
                    b: whole.b.narrow(1, from, rank)?.contiguous()?,
                })
            })
        };
        Ok((part(0, rank)?, part(rank, rest)?))
    }
}

impl Decoder {
    /// This decoder with an adapter in its weights: `W + s·B·A`. It holds a copy of every matrix that
    /// is adapted and shares the others.
    ///
    /// # Errors
    /// An adapter for another shape, a device without the memory.
    pub fn merged(&self, adapter: &Adapter) -> Result<Self> {
        let mut tensors = self.tensors();
        for layer in 0..adapter.layer_count() {
            for projection in Projection::ALL {
                let Some(factors) = adapter.factors(layer, projection) else { continue };
                let name = format!("{}.weight", projection.module(layer));
                let Some(weight) = tensors.get(&name) else {
                    return refuse("the adapter has more layers than the base");
                };
                let sum = match self.is_composed() {
                    true => on_device(weight, factors, adapter.scale())?,
                    false => exact(weight, factors, adapter.scale())?,
                };
                tensors.insert(name, sum);
            }
        }
        // These weights stay, as those of a base do.
        Ok(self.with_tensors(tensors)?.computing(self.products()))
    }
}

/// `spec` with another rank and the same scale.
#[allow(clippy::cast_precision_loss)]
fn of_rank(spec: &LoraSpec, rank: usize) -> Result<LoraSpec> {
    if spec.use_rslora {
        return refuse("a rank-stabilised adapter does not stack: its scale depends on its rank");
    }
    let alpha = spec.alpha * rank as f64 / spec.r as f64;
    let of_rank = LoraSpec { r: rank, alpha, ..spec.clone() };
    of_rank.check()?;
    match of_rank.scale().to_bits() == spec.scale().to_bits() {
        true => Ok(of_rank),
        false => refuse("the scale is no whole multiple of the rank's share"),
    }
}

fn of<'a>(adapter: &'a Adapter, shape: &FactorShape) -> Result<&'a Factors> {
    let missing = || ModelError::Input("an adapter has fewer layers than the base".into());
    adapter.factors(shape.layer, shape.projection).ok_or_else(missing)
}

/// One chain of fused multiply-adds per weight, as everywhere on the CPU.
fn exact(weight: &Tensor, factors: &Factors, scale: f32) -> Result<Tensor> {
    let (out, inner) = weight.dims2()?;
    let (rank, width) = factors.a.dims2()?;
    if width != inner || factors.b.dims2()? != (out, rank) {
        return refuse("the adapter is for weights of another shape");
    }
    let numbers = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f32>();
    let (a, b, weights) = (numbers(&factors.a)?, numbers(&factors.b)?, numbers(weight)?);
    let mut sum = vec![0.0; out * inner];
    matmul(&mut sum, Lhs::Rows(&b), Rhs::Rows(&a), (out, inner, rank), false);
    sum.iter_mut().zip(&weights).for_each(|(sum, weight)| *sum = scale.mul_add(*sum, *weight));
    Ok(Tensor::from_vec(sum, (out, inner), weight.device())?)
}

/// The same where the device computes, summed in f32; the decoder rounds it to its dtype.
fn on_device(weight: &Tensor, factors: &Factors, scale: f32) -> Result<Tensor> {
    let here = |factor: &Tensor| factor.to_device(weight.device())?.to_dtype(DType::F32);
    let learned = here(&factors.b)?.matmul(&here(&factors.a)?)?.affine(f64::from(scale), 0.0)?;
    Ok((weight.to_dtype(DType::F32)? + learned)?)
}

fn refuse<T>(problem: &str) -> Result<T> {
    Err(ModelError::Input(problem.to_owned()))
}
