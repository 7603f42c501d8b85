//! The backward of one decoder layer.

use super::gradients::{Gradients, Places, weights};
use crate::error::Result;
use candle_core::Tensor;
use seal_model::batch::Batch;
use seal_model::decoder::{HeadNormTrace, Layer, LayerTrace};
use seal_model::ops::{attention, norm, swiglu, values};
use seal_model::{Decoder, Projection};
use std::ops::Range;

/// Gradient of the layer's input from `dy`, that of its output.
///
/// Below the first layer nothing of an adapter is left to train; there the result is empty.
pub(super) fn backward(
    decoder: &Decoder,
    index: usize,
    trace: &LayerTrace,
    batch: &Batch,
    dy: Vec<f32>,
    gradients: &mut Gradients<'_>,
) -> Result<Vec<f32>> {
    let layer = &decoder.weights().layers[index];
    let mut step = Step { layer, index, trace, rows: batch.rows(), gradients };
    let dmiddle = step.mlp(dy)?;
    let dattended = step.projection(Projection::O, &trace.attended, &dmiddle, None)?;
    let heads = decoder.config().heads(index);
    let saved = (&trace.q, &trace.k, &trace.v);
    let (mut dq, mut dk, dv) = attention::backward(&dattended, saved, &batch.spans, heads)?;
    decoder.rope().rotate(&mut dq, &batch.positions, true);
    decoder.rope().rotate(&mut dk, &batch.positions, true);
    let (dq, dk) = step.head_norms(dq, dk)?;
    step.attention_input([dq, dk, dv], dmiddle)
}

/// The layer, what its forward left, and where gradients go.
struct Step<'a, 'g> {
    layer: &'a Layer,
    index: usize,
    trace: &'a LayerTrace,
    rows: usize,
    gradients: &'a mut Gradients<'g>,
}

impl Step<'_, '_> {
    /// Through SwiGLU and its norm: the gradient of `middle`.
    fn mlp(&mut self, dy: Vec<f32>) -> Result<Vec<f32>> {
        let trace = self.trace;
        let dactivated = self.projection(Projection::Down, &trace.activated, &dy, None)?;
        let (dgate, dup) = swiglu::backward(&dactivated, &trace.gate, &trace.up)?;
        let dinput = self.projection(Projection::Gate, &trace.mlp_in, &dgate, None)?;
        let dinput = self.projection(Projection::Up, &trace.mlp_in, &dup, Some(dinput))?;
        let mut dmiddle = dy;
        let dgain = weights(self.gradients)
            .map(|(all, at)| &mut all[at.layers[self.index].mlp_norm.clone()]);
        norm::backward(
            &mut dmiddle,
            dgain,
            &dinput,
            &trace.middle,
            &self.layer.mlp_norm,
            &trace.mlp_inverses,
        )?;
        Ok(dmiddle)
    }

    /// Through the norms of query and key heads, if there are any.
    fn head_norms(&mut self, dq: Vec<f32>, dk: Vec<f32>) -> Result<(Vec<f32>, Vec<f32>)> {
        let (layer, trace, index) = (self.layer, self.trace, self.index);
        let place = |at: &Places| at.layers[index].q_norm.clone();
        let dq = self.head_norm(dq, trace.q_norm.as_ref(), layer.q_norm.as_ref(), place)?;
        let place = |at: &Places| at.layers[index].k_norm.clone();
        let dk = self.head_norm(dk, trace.k_norm.as_ref(), layer.k_norm.as_ref(), place)?;
        Ok((dq, dk))
    }

    fn head_norm(
        &mut self,
        dy: Vec<f32>,
        trace: Option<&HeadNormTrace>,
        gain: Option<&Tensor>,
        place: impl Fn(&Places) -> Range<usize>,
    ) -> Result<Vec<f32>> {
        let (Some(trace), Some(gain)) = (trace, gain) else { return Ok(dy) };
        let mut dx = vec![0.0; dy.len()];
        let dgain = weights(self.gradients).map(|(all, at)| &mut all[place(at)]);
        norm::backward(&mut dx, dgain, &dy, &trace.input, gain, &trace.inverses)?;
        Ok(dx)
    }

    /// Through q, k, v and their norm: the gradient of the layer's input.
    fn attention_input(
        &mut self,
        [dq, dk, dv]: [Vec<f32>; 3],
        dmiddle: Vec<f32>,
    ) -> Result<Vec<f32>> {
        let trace = self.trace;
        if self.index == 0 && matches!(self.gradients, Gradients::Adapters(_)) {
            for (which, dy) in [(Projection::Q, dq), (Projection::K, dk), (Projection::V, dv)] {
                self.factors(which, &trace.attn_in, &dy, None)?;
            }
            return Ok(Vec::new());
        }
        let dinput = self.projection(Projection::Q, &trace.attn_in, &dq, None)?;
        let dinput = self.projection(Projection::K, &trace.attn_in, &dk, Some(dinput))?;
        let dinput = self.projection(Projection::V, &trace.attn_in, &dv, Some(dinput))?;
        let mut dx = dmiddle;
        let dgain = weights(self.gradients)
            .map(|(all, at)| &mut all[at.layers[self.index].input_norm.clone()]);
        norm::backward(
            &mut dx,
            dgain,
            &dinput,
            &trace.input,
            &self.layer.input_norm,
            &trace.attn_inverses,
        )?;
        Ok(dx)
    }

    /// Through one projection: the gradient of its input, added to `sum` if there is one.
    fn projection(
        &mut self,
        which: Projection,
        x: &Tensor,
        dy: &[f32],
        sum: Option<Vec<f32>>,
    ) -> Result<Vec<f32>> {
        let linear = self.layer.projection(which);
        let accumulate = sum.is_some();
        let mut dx = sum.unwrap_or_else(|| vec![0.0; self.rows * linear.shape().1]);
        linear.backward_input(&mut dx, dy, self.rows, accumulate)?;
        self.factors(which, x, dy, Some(&mut dx))?;
        self.weight(which, x, dy)?;
        Ok(dx)
    }

    /// Gradients of the adapters on one projection, and their share of `dx`.
    fn factors(
        &mut self,
        which: Projection,
        x: &Tensor,
        dy: &[f32],
        mut dx: Option<&mut Vec<f32>>,
    ) -> Result<()> {
        let Gradients::Adapters(adapters) = &mut *self.gradients else { return Ok(()) };
        let (out, inner) = self.layer.projection(which).shape();
        let x = values(x)?;
        for (lora, u) in &self.trace.loras[which as usize] {
            let Some(factors) = adapters.factors(lora.adapter, self.index, which) else { continue };
            let rows = lora.start..lora.start + lora.len;
            let inputs = rows.start * inner..rows.end * inner;
            let dx = dx.as_deref_mut().map(|dx| &mut dx[inputs.clone()]);
            lora.backward(
                factors,
                dx,
                &dy[rows.start * out..rows.end * out],
                &x[inputs],
                &values(u)?,
            )?;
        }
        Ok(())
    }

    /// Gradient of the weight and bias of one projection, if they are trained.
    fn weight(&mut self, which: Projection, x: &Tensor, dy: &[f32]) -> Result<()> {
        let Some((all, at)) = weights(self.gradients) else { return Ok(()) };
        let (places, linear) = (&at.layers[self.index], self.layer.projection(which));
        let x = values(x)?;
        linear.backward_weight(&mut all[places.weights[which as usize].clone()], dy, &x, self.rows);
        if let Some(bias) = &places.biases[which as usize] {
            linear.backward_bias(&mut all[bias.clone()], dy);
        }
        Ok(())
    }
}
