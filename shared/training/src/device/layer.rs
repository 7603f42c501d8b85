//! The backward of one decoder layer.

use super::batch::Batch;
use super::gradients::Gradients;
use super::{attention, rows};
use crate::error::Result;
use candle_core::{DType, Tensor};
use seal_model::Projection;
use seal_model::decoder::Layer;
use seal_model::device::kernels::{swiglu_backward, widen_add};
use seal_model::device::{LayerTrace, Pass, Turned, by_group};

/// Gradient of the layer's input from `dy`, that of its output, both `[rows, d]`.
///
/// Below the first layer nothing of an adapter is left to train; there is none.
pub(super) fn backward(
    pass: &Pass<'_>,
    batch: &Batch,
    index: usize,
    trace: &LayerTrace,
    dy: Tensor,
    gradients: &mut Gradients,
) -> Result<Option<Tensor>> {
    let layer = &pass.decoder.weights().layers[index];
    let mut step = Step { pass, layer, index, trace, gradients };
    let dmiddle = step.mlp(&dy)?;
    drop(dy);
    let dattended = step.projection(Projection::O, &trace.attended, &dmiddle)?;
    let heads = pass.decoder.config().heads(index);
    let saved = (&trace.q, &trace.k, &trace.v);
    let [dq, dk, dv] = attention::backward(&batch.packed, heads, &dattended, saved)?;
    let dq = pass.rotation.turn_back(&dq, Turned::Queries)?;
    let dk = pass.rotation.turn_back(&dk, Turned::Keys)?;
    let dq = step.head_norm("q_norm", dq, trace.q_raw.as_ref(), layer.q_norm.as_ref())?;
    let dk = step.head_norm("k_norm", dk, trace.k_raw.as_ref(), layer.k_norm.as_ref())?;
    step.attention_input([dq, dk, dv], dmiddle)
}

/// The layer, what its forward left, and where gradients go.
struct Step<'a> {
    pass: &'a Pass<'a>,
    layer: &'a Layer,
    index: usize,
    trace: &'a LayerTrace,
    gradients: &'a mut Gradients,
}

impl Step<'_> {
    /// Through SwiGLU and its norm: the gradient of `middle`.
    fn mlp(&mut self, dy: &Tensor) -> Result<Tensor> {
        let trace = self.trace;
        let dactivated = self.projection(Projection::Down, &trace.activated, dy)?;
        let (dgate, dup) = swiglu_backward(&dactivated, &trace.gate, &trace.up)?;
        let dinput = self.projection(Projection::Gate, &trace.mlp_in, &dgate)?;
        let dinput = (dinput + self.projection(Projection::Up, &trace.mlp_in, &dup)?)?;
        let layer = self.layer;
        let through =
            self.norm("post_attention_layernorm", &dinput, &trace.middle, &layer.mlp_norm)?;
        Ok((dy + through)?)
    }

    /// Through q, k, v and their norm: the gradient of the layer's input.
    fn attention_input(
        &mut self,
        [dq, dk, dv]: [Tensor; 3],
        dmiddle: Tensor,
    ) -> Result<Option<Tensor>> {
        let trace = self.trace;
        let all = [(Projection::Q, dq), (Projection::K, dk), (Projection::V, dv)];
        if self.index == 0 && self.gradients.only_adapters() {
            for (which, dy) in all {
                self.factors(which, &trace.attn_in, &dy)?;
            }
            return Ok(None);
        }
        let mut dinput: Option<Tensor> = None;
        for (which, dy) in all {
            let more = self.projection(which, &trace.attn_in, &dy)?;
            dinput = Some(match dinput {
                Some(sum) => (sum + more)?,
                None => more,
            });
        }
        let Some(dinput) = dinput else { return Ok(None) };
        let layer = self.layer;
        let through = self.norm("input_layernorm", &dinput, &trace.input, &layer.input_norm)?;
        Ok(Some((dmiddle + through)?))
    }

    /// Through the norm of query or key heads, if there is one.
    fn head_norm(
        &mut self,
        name: &str,
        dy: Tensor,
        x: Option<&Tensor>,
        gain: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (Some(x), Some(gain)) = (x, gain) else { return Ok(dy) };
        let heads = |t: &Tensor| t.reshape(((), gain.elem_count()));
        let dx = self.norm(&format!("self_attn.{name}"), &heads(&dy)?, &heads(x)?, gain)?;
        Ok(dx.reshape(x.shape())?)
    }

    fn norm(&mut self, name: &str, dy: &Tensor, x: &Tensor, gain: &Tensor) -> Result<Tensor> {
        let epsilon = self.pass.decoder.config().rms_norm_eps;
        let wants_gain = !self.gradients.only_adapters();
        let (dx, dgain) = rows::rms_norm(dy, x, gain, epsilon, wants_gain)?;
        if let Some(dgain) = dgain {
            let name = || format!("model.layers.{}.{name}.weight", self.index);
            self.gradients.weight(name, || Ok(dgain))?;
        }
        Ok(dx)
    }

    /// Through one projection: the gradient of its input.
    fn projection(&mut self, which: Projection, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
        let linear = self.layer.projection(which);
        let narrow = dy.to_dtype(linear.weight.dtype())?;
        let dx = narrow.matmul(&linear.weight)?;
        let module = || which.module(self.index);
        self.gradients.weight(
            || format!("{}.weight", module()),
            || Ok(narrow.t()?.matmul(&x.to_dtype(narrow.dtype())?)?),
        )?;
        if linear.bias.is_some() {
            self.gradients.weight(|| format!("{}.bias", module()), || Ok(dy.sum(0)?))?;
        }
        Ok(match self.factors(which, x, dy)? {
            Some(through) => widen_add(&dx, &through, None)?,
            None => dx.to_dtype(DType::F32)?,
        })
    }

    /// Gradients of the factors on one projection, and what of `dy` goes through them.
    fn factors(&mut self, which: Projection, x: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let factors = self.pass.adapters.and_then(|all| all.factors(self.index, which));
        let inner = self.trace.inners[which as usize].as_ref();
        let (Some(factors), Some(inner)) = (factors, inner) else { return Ok(None) };
        let mask = self.pass.masks.map(|masks| masks(self.index, which)).transpose()?;
        let masked = |x: Tensor| -> Result<Tensor> {
            Ok(mask.as_ref().map(|mask| &x * mask).transpose()?.unwrap_or(x))
        };
        let groups = factors.a.dim(0)?;
        let x = masked(x.to_dtype(DType::F32)?)?;
        let dy = by_group(dy, groups)?;
        let dinner = dy.matmul(&factors.b)?;
        let da = dinner.transpose(1, 2)?.matmul(&by_group(&x, groups)?)?;
        let db = dy.transpose(1, 2)?.matmul(inner)?;
        self.gradients.factors(self.index, which, [da, db]);
        // The inputs of the first layer's attention are nobody's to change.
        let is_first =
            self.index == 0 && matches!(which, Projection::Q | Projection::K | Projection::V);
        if is_first && self.gradients.only_adapters() {
            return Ok(None);
        }
        Ok(Some(masked(dinner.matmul(&factors.a)?.reshape(x.shape())?)?))
    }
}
