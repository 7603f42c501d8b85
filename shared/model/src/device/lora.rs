//! The adapters of a batch, one for each of its groups, stacked.

use crate::decoder::DecoderConfig;
use crate::error::{ModelError, Result};
use crate::lora::{Adapter, Projection};
use candle_core::{DType, Device, Tensor};

/// The factors of one projection of one layer, for every group, f32.
#[derive(Clone)]
pub struct StackedFactors {
    /// `[groups, r, in]`, times the adapter's scale.
    pub a: Tensor,
    /// `[groups, out, r]`.
    pub b: Tensor,
}

/// Stacked adapters of all layers.
#[derive(Clone)]
pub struct LoraStack {
    layers: Vec<[Option<StackedFactors>; Projection::COUNT]>,
}

impl LoraStack {
    /// A stack from its factors by layer and projection.
    #[must_use]
    pub fn new(layers: Vec<[Option<StackedFactors>; Projection::COUNT]>) -> Self {
        Self { layers }
    }

    /// One adapter, or none, for each group.
    ///
    /// Adapters of different rank or targets are filled up with zeros, which change nothing.
    /// Returns `None` if no group has an adapter.
    ///
    /// # Errors
    /// An adapter made for another decoder.
    pub fn of(
        config: &DecoderConfig,
        adapters: &[Option<&Adapter>],
        device: &Device,
    ) -> Result<Option<Self>> {
        if adapters.iter().all(Option::is_none) {
            return Ok(None);
        }
        let layers = config.num_hidden_layers;
        if let Some(wrong) = adapters.iter().flatten().position(|a| a.layer_count() != layers) {
            return Err(ModelError::Input(format!(
                "adapter {wrong} was made for another number of layers"
            )));
        }
        let layer = |index: usize| {
            let mut found: [Option<StackedFactors>; Projection::COUNT] = Default::default();
            for which in Projection::ALL {
                found[which as usize] = stack(config, adapters, index, which, device)?;
            }
            Ok(found)
        };
        Ok(Some(Self::new((0..layers).map(layer).collect::<Result<_>>()?)))
    }

    /// The factors of a projection, if any group adapts it.
    #[must_use]
    pub fn factors(&self, layer: usize, which: Projection) -> Option<&StackedFactors> {
        self.layers.get(layer)?[which as usize].as_ref()
    }

    /// The stack of the groups numbered in `groups`.
    ///
    /// # Errors
    /// A number without a group.
    pub fn select(&self, groups: &Tensor) -> Result<Self> {
        let select = |f: &Option<StackedFactors>| -> Result<Option<StackedFactors>> {
            let Some(f) = f else { return Ok(None) };
            let (a, b) = (f.a.index_select(groups, 0)?, f.b.index_select(groups, 0)?);
            Ok(Some(StackedFactors { a, b }))
        };
        let mut layers = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let mut selected: [Option<StackedFactors>; Projection::COUNT] = Default::default();
            for (to, from) in selected.iter_mut().zip(layer) {
                *to = select(from)?;
            }
            layers.push(selected);
        }
        Ok(Self::new(layers))
    }
}

/// The factors of every group for one projection; `None` if no group has any.
fn stack(
    config: &DecoderConfig,
    adapters: &[Option<&Adapter>],
    layer: usize,
    which: Projection,
    device: &Device,
) -> Result<Option<StackedFactors>> {
    let of = |adapter: &Option<&Adapter>| adapter.and_then(|a| a.factors(layer, which)).is_some();
    let Some(rank) = adapters.iter().filter(|a| of(a)).flatten().map(|a| a.spec().r).max() else {
        return Ok(None);
    };
    let (out, inner) = which.shape(config);
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for adapter in adapters {
        let Some((adapter, factors)) =
            adapter.and_then(|adapter| Some((adapter, adapter.factors(layer, which)?)))
        else {
            a.push(Tensor::zeros((rank, inner), DType::F32, device)?);
            b.push(Tensor::zeros((out, rank), DType::F32, device)?);
            continue;
        };
        let missing = rank - factors.a.dim(0)?;
        let scaled = (factors.a.to_device(device)? * f64::from(adapter.scale()))?;
        a.push(scaled.pad_with_zeros(0, 0, missing)?);
        b.push(factors.b.to_device(device)?.pad_with_zeros(1, 0, missing)?);
    }
    Ok(Some(StackedFactors { a: Tensor::stack(&a, 0)?, b: Tensor::stack(&b, 0)? }))
}
