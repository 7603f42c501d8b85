//! The forward of a rectangle of rows through the layers.

use super::attention::{attend, join_heads, split_heads};
use super::kernels;
use super::linear::{Activation, project};
use super::lora::LoraStack;
use super::packed::Packed;
use super::rotation::{Rotation, Turned};
use crate::decoder::Decoder;
use crate::error::Result;
use crate::lora::Projection;
use crate::ops::attention::Heads;
use candle_core::{DType, Tensor};
use candle_nn::ops::{rms_norm, silu};

/// Where queries find their keys and values.
pub trait Attend {
    /// Attention of layer `layer`, whose heads and window are `heads`, over rotated rows, f32:
    /// `q` `[rows, query · dim]`, scaled, `k`, `v` `[rows, key_value · dim]` → as `q`.
    ///
    /// # Errors
    /// Tensors of other shapes.
    fn attend(
        &mut self,
        layer: usize,
        heads: Heads,
        qkv: (&Tensor, &Tensor, &Tensor),
    ) -> Result<Tensor>;
}

/// Each sequence of a packed batch attends to itself.
pub struct Fresh<'a> {
    /// The batch.
    pub packed: &'a Packed,
}

impl Attend for Fresh<'_> {
    fn attend(
        &mut self,
        _: usize,
        heads: Heads,
        (q, k, v): (&Tensor, &Tensor, &Tensor),
    ) -> Result<Tensor> {
        let packed = self.packed;
        if let Some(attended) = kernels::attend(&packed.places, heads, (q, k, v))? {
            return Ok(attended);
        }
        let [q, k, v] = [packed.to_buckets(q)?, packed.to_buckets(k)?, packed.to_buckets(v)?];
        let mut attended = Vec::with_capacity(q.len() + 1);
        for (bucket, ((q, k), v)) in packed.buckets.iter().zip(q.iter().zip(&k).zip(&v)) {
            let split = |x, count| split_heads(x, bucket.sequences, count, heads.key_value);
            let (q, k, v) =
                (split(q, heads.query)?, split(k, heads.key_value)?, split(v, heads.key_value)?);
            let out = attend(&q, &k, &v, bucket.mask(heads), heads)?;
            attended.push(join_heads(&out, bucket.sequences, heads.query)?);
        }
        packed.from_buckets(attended)
    }
}

/// What one layer computed. `[rows, …]`; f32 unless said otherwise.
pub struct LayerTrace {
    /// Residual stream before the layer.
    pub input: Tensor,
    /// Input of q, k, v, in the weights' dtype.
    pub attn_in: Tensor,
    /// Queries before their norm, if they have one.
    pub q_raw: Option<Tensor>,
    /// Keys before their norm, if they have one.
    pub k_raw: Option<Tensor>,
    /// Rotated, scaled queries.
    pub q: Tensor,
    /// Rotated keys.
    pub k: Tensor,
    /// Values.
    pub v: Tensor,
    /// Input of o.
    pub attended: Tensor,
    /// Residual stream between attention and SwiGLU.
    pub middle: Tensor,
    /// Input of gate and up, in the weights' dtype.
    pub mlp_in: Tensor,
    /// Output of gate.
    pub gate: Tensor,
    /// Output of up.
    pub up: Tensor,
    /// Input of down, in the weights' dtype.
    pub activated: Tensor,
    /// By projection: each group's `x·Aᵀ`, `[groups, rows / groups, r]`.
    pub inners: [Option<Tensor>; Projection::COUNT],
}

/// What training leaves out of the input of each A: `[rows, in]` factors for a layer and projection.
pub type Masks<'a> = dyn Fn(usize, Projection) -> Result<Tensor> + 'a;

/// One forward: a decoder with the adapters and positions of a batch.
pub struct Pass<'a> {
    /// A decoder of this engine.
    pub decoder: &'a Decoder,
    /// The adapters of the batch's groups.
    pub adapters: Option<&'a LoraStack>,
    /// The positions of its rows.
    pub rotation: &'a Rotation,
    /// The dropout of a training step.
    pub masks: Option<&'a Masks<'a>>,
}

impl Pass<'_> {
    /// The residual stream `[rows, d]` of `tokens` `[rows]` before the first layer.
    ///
    /// # Errors
    /// A token without an embedding.
    pub fn embed(&self, tokens: &Tensor) -> Result<Tensor> {
        let rows = self.decoder.weights().embedding.index_select(tokens, 0)?;
        Ok(rows.to_dtype(DType::F32)?)
    }

    /// The residual stream after all layers, before the final norm; `keep` receives each trace.
    ///
    /// # Errors
    /// Shapes that disagree; the decoder's time is over.
    pub fn forward(
        &self,
        tokens: &Tensor,
        attend: &mut dyn Attend,
        keep: &mut dyn FnMut(LayerTrace),
    ) -> Result<Tensor> {
        let mut x = self.embed(tokens)?;
        for index in 0..self.decoder.config().num_hidden_layers {
            self.decoder.check_time()?;
            let (output, trace) = self.layer(index, &x, attend)?;
            keep(trace);
            x = output;
        }
        Ok(x)
    }

    /// One layer: its output and what it computed on the way.
    ///
    /// # Errors
    /// Shapes that disagree.
    pub fn layer(
        &self,
        index: usize,
        input: &Tensor,
        attend: &mut dyn Attend,
    ) -> Result<(Tensor, LayerTrace)> {
        let layer = &self.decoder.weights().layers[index];
        let mut inners: [Option<Tensor>; Projection::COUNT] = Default::default();
        let mut project = |which: Projection, x: &Activation| -> Result<Tensor> {
            let factors = self.adapters.and_then(|a| a.factors(index, which));
            let masks = self.masks.filter(|_| factors.is_some());
            let mask = masks.map(|masks| masks(index, which)).transpose()?;
            let (y, inner) = project(layer.projection(which), factors, x, mask.as_ref())?;
            inners[which as usize] = inner;
            Ok(y)
        };
        let attn_in = normed(self.decoder, input, &layer.input_norm)?;
        let q_raw = project(Projection::Q, &attn_in)?;
        let k_raw = project(Projection::K, &attn_in)?;
        let v = project(Projection::V, &attn_in)?;
        let q = self.head_norm(&q_raw, layer.q_norm.as_ref())?;
        let k = self.head_norm(&k_raw, layer.k_norm.as_ref())?;
        let q = self.rotation.turn(&q, Turned::Queries)?;
        let k = self.rotation.turn(&k, Turned::Keys)?;
        let attended = attend.attend(index, self.decoder.config().heads(index), (&q, &k, &v))?;
        let attended = Activation::new(attended, self.dtype())?;
        let middle = (input + project(Projection::O, &attended)?)?;
        let mlp_in = normed(self.decoder, &middle, &layer.mlp_norm)?;
        let gate = project(Projection::Gate, &mlp_in)?;
        let up = project(Projection::Up, &mlp_in)?;
        let activated = Activation::new((silu(&gate)? * &up)?, self.dtype())?;
        let output = (&middle + project(Projection::Down, &activated)?)?;
        let kept = |raw: Tensor, norm: &Option<Tensor>| norm.as_ref().map(|_| raw);
        let trace = LayerTrace {
            input: input.clone(),
            attn_in: attn_in.narrow,
            q_raw: kept(q_raw, &layer.q_norm),
            k_raw: kept(k_raw, &layer.k_norm),
            q,
            k,
            v,
            attended: attended.wide,
            middle,
            mlp_in: mlp_in.narrow,
            gate,
            up,
            activated: activated.narrow,
            inners,
        };
        Ok((output, trace))
    }

    /// The norm of each head of `x` `[rows, heads · dim]`, where the family has one.
    fn head_norm(&self, x: &Tensor, gain: Option<&Tensor>) -> Result<Tensor> {
        let Some(gain) = gain else { return Ok(x.clone()) };
        let heads = x.reshape(((), gain.elem_count()))?;
        Ok(rms_norm(&heads, gain, epsilon(self.decoder))?.reshape(x.shape())?)
    }

    fn dtype(&self) -> DType {
        dtype(self.decoder)
    }
}

/// The norm of `x` `[rows, d]`, once more in the weights' dtype.
pub(super) fn normed(decoder: &Decoder, x: &Tensor, gain: &Tensor) -> Result<Activation> {
    Activation::new(rms_norm(x, gain, epsilon(decoder))?, dtype(decoder))
}

fn dtype(decoder: &Decoder) -> DType {
    decoder.weights().embedding.dtype()
}

#[allow(clippy::cast_possible_truncation)]
fn epsilon(decoder: &Decoder) -> f32 {
    decoder.config().rms_norm_eps as f32
}
