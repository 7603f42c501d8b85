//! The forward of a batch through all layers, keeping what a backward needs.

use super::Decoder;
use super::weights::Layer;
use crate::batch::{Batch, Span};
use crate::error::{ModelError, Result};
use crate::lora::{Adapter, Projection};
use crate::ops::attention::{self, Heads};
use crate::ops::linear::LoraRows;
use crate::ops::{elementwise, embedding, norm, swiglu, tensor, values};
use candle_core::Tensor;

/// Where a batch's queries find their keys and values.
pub trait Attend {
    /// Attention of layer `layer`, whose heads and window are `heads`: `q` `[n, query · dim]`, `k`,
    /// `v` `[n, key_value · dim]`, q and k rotated → `[n, query · dim]`.
    ///
    /// # Errors
    /// Tensors the kernel refuses.
    fn attend(
        &mut self,
        layer: usize,
        heads: Heads,
        qkv: (&Tensor, &Tensor, &Tensor),
    ) -> Result<Tensor>;
}

/// Each sequence attends to itself: training, scoring and the reading of a prompt.
pub struct Fresh<'a> {
    /// The sequences.
    pub spans: &'a [Span],
}

impl Attend for Fresh<'_> {
    fn attend(
        &mut self,
        _: usize,
        heads: Heads,
        qkv: (&Tensor, &Tensor, &Tensor),
    ) -> Result<Tensor> {
        attention::forward(qkv, self.spans, heads)
    }
}

/// What the norm of a layer's query or key heads computed.
pub struct HeadNormTrace {
    /// Its input `[n · heads, dim]`.
    pub input: Tensor,
    /// 1 / rms of each row of `input`.
    pub inverses: Vec<f32>,
}

/// What one layer computed. All `[n, …]`; tensors are shared, not copied.
pub struct LayerTrace {
    /// Residual stream before the layer.
    pub input: Tensor,
    /// Input of q, k, v.
    pub attn_in: Tensor,
    /// 1 / rms of each row of `input`.
    pub attn_inverses: Vec<f32>,
    /// Of the query heads, if the model normalises them.
    pub q_norm: Option<HeadNormTrace>,
    /// Of the key heads, if the model normalises them.
    pub k_norm: Option<HeadNormTrace>,
    /// Rotated queries.
    pub q: Tensor,
    /// Rotated keys.
    pub k: Tensor,
    /// Values.
    pub v: Tensor,
    /// Input of o.
    pub attended: Tensor,
    /// Residual stream between attention and SwiGLU.
    pub middle: Tensor,
    /// Input of gate and up.
    pub mlp_in: Tensor,
    /// 1 / rms of each row of `middle`.
    pub mlp_inverses: Vec<f32>,
    /// Output of gate.
    pub gate: Tensor,
    /// Output of up.
    pub up: Tensor,
    /// Input of down.
    pub activated: Tensor,
    /// By projection: the adapted rows and each one's `scale · x·Aᵀ`.
    pub loras: [Vec<(LoraRows, Tensor)>; Projection::COUNT],
}

impl Decoder {
    /// Runs `batch` through all layers; `keep` receives each layer's trace.
    ///
    /// Returns the residual stream `[n, d]` before the final norm.
    ///
    /// # Errors
    /// A token outside the vocabulary, an adapter index without an adapter; its time is over.
    pub fn forward(
        &self,
        batch: &Batch,
        adapters: &[&Adapter],
        attend: &mut dyn Attend,
        keep: &mut dyn FnMut(LayerTrace),
    ) -> Result<Tensor> {
        self.check_positions(batch)?;
        check_adapters(batch, adapters, self.config().num_hidden_layers)?;
        let mut x = embedding::forward(&self.weights().embedding, &batch.tokens)?;
        for (index, layer) in self.weights().layers.iter().enumerate() {
            self.check_time()?;
            let (output, trace) = self.layer(index, layer, x, batch, adapters, attend)?;
            keep(trace);
            x = output;
        }
        Ok(x)
    }

    /// What layer `index` computes from `input` `[n, d]` in a forward of whole sequences, once more.
    ///
    /// # Errors
    /// As [`Decoder::forward`], and a layer that does not exist.
    pub fn trace_layer(
        &self,
        index: usize,
        input: Tensor,
        batch: &Batch,
        adapters: &[&Adapter],
    ) -> Result<LayerTrace> {
        let missing = || ModelError::Input(format!("layer {index} does not exist"));
        let layer = self.weights().layers.get(index).ok_or_else(missing)?;
        let mut fresh = Fresh { spans: &batch.spans };
        Ok(self.layer(index, layer, input, batch, adapters, &mut fresh)?.1)
    }

    /// Logits `[n, vocab]` of every row of `batch`; for tests and small models.
    ///
    /// # Errors
    /// As [`Decoder::forward`].
    pub fn logits(&self, batch: &Batch, adapters: &[&Adapter]) -> Result<Tensor> {
        let mut fresh = Fresh { spans: &batch.spans };
        let x = self.forward(batch, adapters, &mut fresh, &mut drop)?;
        self.weights().head.forward(&self.final_norm(&x)?.0)
    }

    /// The final norm of `x` `[rows, d]`, and each row's 1 / rms.
    ///
    /// # Errors
    /// Tensors that are not f32 on the CPU.
    pub fn final_norm(&self, x: &Tensor) -> Result<(Tensor, Vec<f32>)> {
        norm::forward(x, &self.weights().norm, self.config().rms_norm_eps)
    }

    fn layer(
        &self,
        index: usize,
        layer: &Layer,
        input: Tensor,
        batch: &Batch,
        adapters: &[&Adapter],
        attend: &mut dyn Attend,
    ) -> Result<(Tensor, LayerTrace)> {
        let epsilon = self.config().rms_norm_eps;
        let mut loras: [Vec<(LoraRows, Tensor)>; Projection::COUNT] = Default::default();
        let mut project = |which: Projection, x: &Tensor| -> Result<Tensor> {
            let rows = lora_rows(batch, adapters, index, which);
            let (y, inners) = layer.projection(which).forward_lora(x, &rows)?;
            loras[which as usize] = rows.into_iter().zip(inners).collect();
            Ok(y)
        };
        let (attn_in, attn_inverses) = norm::forward(&input, &layer.input_norm, epsilon)?;
        let (q, k) = (project(Projection::Q, &attn_in)?, project(Projection::K, &attn_in)?);
        let v = project(Projection::V, &attn_in)?;
        let (q, q_norm) = self.head_norm(q, layer.q_norm.as_ref())?;
        let (k, k_norm) = self.head_norm(k, layer.k_norm.as_ref())?;
        let (q, k) = (self.rotated(&q, &batch.positions)?, self.rotated(&k, &batch.positions)?);
        let attended = attend.attend(index, self.config().heads(index), (&q, &k, &v))?;
        let middle = elementwise::add(&input, &project(Projection::O, &attended)?)?;
        let (mlp_in, mlp_inverses) = norm::forward(&middle, &layer.mlp_norm, epsilon)?;
        let gate = project(Projection::Gate, &mlp_in)?;
        let up = project(Projection::Up, &mlp_in)?;
        let activated = swiglu::forward(&gate, &up)?;
        let output = elementwise::add(&middle, &project(Projection::Down, &activated)?)?;
        let trace = LayerTrace {
            input,
            attn_in,
            attn_inverses,
            q_norm,
            k_norm,
            q,
            k,
            v,
            attended,
            middle,
            mlp_in,
            mlp_inverses,
            gate,
            up,
            activated,
            loras,
        };
        Ok((output, trace))
    }

    /// Refuses positions the rotary table does not have.
    fn check_positions(&self, batch: &Batch) -> Result<()> {
        let max = self.config().max_position_embeddings;
        match batch.positions.iter().max() {
            Some(&last) if last as usize >= max => {
                Err(ModelError::TooLong { tokens: last as usize + 1, max })
            }
            _ => Ok(()),
        }
    }

    /// Normalises every head of `x` `[n, heads · dim]`, if there is a gain for it.
    fn head_norm(
        &self,
        x: Tensor,
        gain: Option<&Tensor>,
    ) -> Result<(Tensor, Option<HeadNormTrace>)> {
        let Some(gain) = gain else { return Ok((x, None)) };
        let input = x.reshape(((), self.config().head_dim))?;
        let (y, inverses) = norm::forward(&input, gain, self.config().rms_norm_eps)?;
        Ok((y.reshape(x.shape())?, Some(HeadNormTrace { input, inverses })))
    }

    fn rotated(&self, x: &Tensor, positions: &[u32]) -> Result<Tensor> {
        let mut rotated = values(x)?.to_vec();
        self.rope().rotate(&mut rotated, positions, false);
        tensor(rotated, x.shape())
    }
}

/// The adapted rows of one projection of one layer.
fn lora_rows(
    batch: &Batch,
    adapters: &[&Adapter],
    layer: usize,
    which: Projection,
) -> Vec<LoraRows> {
    let segments = batch.segments.iter();
    segments
        .filter_map(|segment| {
            let adapter = segment.adapter?;
            let factors = adapters[adapter].factors(layer, which)?;
            let (a, b, scale) = (factors.a.clone(), factors.b.clone(), adapters[adapter].scale());
            let mask = batch.dropouts.get(adapter).map(|dropout| dropout.mask(layer, which));
            Some(LoraRows { adapter, start: segment.start, len: segment.len, a, b, scale, mask })
        })
        .collect()
}

fn check_adapters(batch: &Batch, adapters: &[&Adapter], layers: usize) -> Result<()> {
    for index in batch.segments.iter().filter_map(|s| s.adapter) {
        let Some(adapter) = adapters.get(index) else {
            return Err(ModelError::Input(format!(
                "adapter {index} of {} does not exist",
                adapters.len()
            )));
        };
        if adapter.layer_count() != layers {
            return Err(ModelError::Input(format!(
                "adapter {index} was made for another number of layers"
            )));
        }
    }
    Ok(())
}
