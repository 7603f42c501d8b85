//! The factors of all candidates of a group on the device, or whatever else is shaped like them.

use super::gradients::Gradients;
use crate::error::Result;
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use seal_model::device::{LoraStack, StackedFactors};
use seal_model::lora::{FactorShape, Factors, LoraSpec, factor_shapes};
use seal_model::{Adapter, DecoderConfig, ModelError, Projection};
use std::collections::BTreeMap;

/// One of a projection's two factors.
type Factor = for<'x> fn((&'x [f32], &'x [f32])) -> &'x [f32];

/// Numbers in the shape of stacked factors.
#[derive(Clone)]
pub struct Stack {
    shapes: Vec<FactorShape>,
    targets: Vec<Projection>,
    layers: usize,
    scale: f32,
    /// Of each target A `[layers, groups, r, in]`, then B `[layers, groups, out, r]`.
    pub tensors: Vec<Tensor>,
}

impl Stack {
    /// From flat vectors in the order of [`factor_shapes`], one for each group; `b_is_zero` spares
    /// sending every B where all of them are.
    ///
    /// # Errors
    /// A device without the memory.
    pub fn upload(
        config: &DecoderConfig,
        spec: &LoraSpec,
        flats: &[&[f32]],
        b_is_zero: bool,
        device: &Device,
    ) -> Result<Self> {
        let mut targets = spec.targets.clone();
        targets.sort_unstable();
        let (layers, shapes) = (config.num_hidden_layers, factor_shapes(config, spec));
        // Gigabytes for a large model: every thread copies its part, projection by projection.
        let both = targets.par_iter().map(|&which| {
            let own: Vec<&FactorShape> = shapes.iter().filter(|s| s.projection == which).collect();
            let first = own.first().ok_or_else(|| ModelError::Input("no layers".into()))?;
            let shape = |(rows, columns)| (layers, flats.len(), rows, columns);
            let send = |size: (usize, usize), of: Factor| {
                let each = (size.0 * size.1).max(1);
                let mut numbers = vec![0.0; layers * flats.len() * each];
                numbers.par_chunks_mut(each).enumerate().for_each(|(at, to)| {
                    let (layer, group) = (at / flats.len(), at % flats.len());
                    to.copy_from_slice(of(factors(flats[group], own[layer])));
                });
                Tensor::from_vec(numbers, shape(size), device)
            };
            let b = match b_is_zero {
                true => Tensor::zeros(shape(first.b), DType::F32, device)?,
                false => send(first.b, |(_, b)| b)?,
            };
            Ok([send(first.a, |(a, _)| a)?, b])
        });
        let tensors = both.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        Ok(Self { layers, scale: spec.scale(), tensors, targets, shapes })
    }

    /// Other numbers of the same shape.
    pub fn like(&self, tensors: &[Tensor]) -> Self {
        Self { tensors: tensors.to_vec(), ..self.clone() }
    }

    /// One flat vector for each group: the inverse of [`Stack::upload`].
    ///
    /// # Errors
    /// A device that fails.
    pub fn download(&self) -> Result<Vec<Vec<f32>>> {
        let groups = self.tensors.first().map_or(Ok(0), |tensor| tensor.dim(1))?;
        let len = self.shapes.last().map_or(0, |shape| shape.offset + shape.len());
        let both = self.targets.par_iter().zip(self.tensors.par_chunks_exact(2));
        let numbers = both.map(|(&which, both)| {
            let own = self.shapes.iter().filter(|shape| shape.projection == which);
            let numbers = |tensor: &Tensor| tensor.force_contiguous()?.flatten_all()?.to_vec1();
            let (a, b) = (numbers(&both[0])?, numbers(&both[1])?);
            Ok((own.collect::<Vec<_>>(), a, b))
        });
        let numbers: Vec<(Vec<&FactorShape>, Vec<f32>, Vec<f32>)> =
            numbers.collect::<Result<_>>()?;
        let flat = |group: usize| {
            let mut flat = vec![0.0; len];
            for (own, a, b) in &numbers {
                for (layer, shape) in own.iter().enumerate() {
                    let at = layer * groups + group;
                    let to = &mut flat[shape.offset..shape.offset + shape.len()];
                    let (to_a, to_b) = to.split_at_mut(shape.a.0 * shape.a.1);
                    let (sizes_a, sizes_b) = (to_a.len(), to_b.len());
                    to_a.copy_from_slice(&a[at * sizes_a..][..sizes_a]);
                    to_b.copy_from_slice(&b[at * sizes_b..][..sizes_b]);
                }
            }
            flat
        };
        Ok((0..groups).into_par_iter().map(flat).collect())
    }

    /// The adapter of one group.
    ///
    /// # Errors
    /// A device that fails.
    pub(crate) fn adapter(
        &self,
        config: &DecoderConfig,
        spec: &LoraSpec,
        group: usize,
    ) -> Result<Adapter> {
        // A device sends all that a tensor lies in, and what it sent is kept: so first a copy of
        // this part alone.
        let own = |tensor: &Tensor, layer: usize| {
            tensor.get(layer)?.get(group)?.force_contiguous()?.to_device(&Device::Cpu)
        };
        let both = self.targets.iter().zip(self.tensors.chunks_exact(2));
        let tensors: BTreeMap<Projection, &[Tensor]> = both.map(|(&w, both)| (w, both)).collect();
        Ok(Adapter::from_factors(config, spec, |shape| {
            let both = tensors.get(&shape.projection);
            let both = both.ok_or_else(|| ModelError::Input("no such factors".into()))?;
            Ok(Factors { a: own(&both[0], shape.layer)?, b: own(&both[1], shape.layer)? })
        })?)
    }

    /// The groups numbered in `groups` alone.
    ///
    /// # Errors
    /// A number without a group.
    pub(crate) fn select(&self, groups: &Tensor) -> Result<Self> {
        let select = self.tensors.iter().map(|tensor| tensor.index_select(groups, 1));
        Ok(Self { tensors: select.collect::<Result<_, _>>()?, ..self.clone() })
    }

    /// As a forward reads it, whose `tiles` `[tiles]` are of these groups, or of one group each.
    ///
    /// # Errors
    /// A device without the memory.
    pub fn lora(&self, tiles: Option<&Tensor>) -> Result<LoraStack> {
        let mut layers: Vec<[Option<StackedFactors>; Projection::COUNT]> =
            vec![Default::default(); self.layers];
        let of_tiles = |x: &Tensor| -> Result<Tensor> {
            Ok(tiles.map_or_else(|| Ok(x.clone()), |tiles| x.index_select(tiles, 1))?)
        };
        for (which, both) in self.targets.iter().zip(self.tensors.chunks_exact(2)) {
            let (a, b) = ((of_tiles(&both[0])? * f64::from(self.scale))?, of_tiles(&both[1])?);
            for (index, layer) in layers.iter_mut().enumerate() {
                let factors = StackedFactors { a: a.get(index)?, b: b.get(index)? };
                layer[*which as usize] = Some(factors);
            }
        }
        Ok(LoraStack::new(layers))
    }

    /// The gradient of each tensor, from those of the `tiles`.
    ///
    /// # Errors
    /// A projection without gradient.
    pub fn gradient(&self, gradients: Gradients, tiles: Option<&Tensor>) -> Result<Vec<Tensor>> {
        let Gradients::Adapters(mut adapters) = gradients else { return Ok(Vec::new()) };
        let both = self.targets.iter().map(|&which| adapters.stacked(which, self.scale));
        let found = both.collect::<Result<Vec<_>>>()?.into_iter().flatten();
        let of_groups = |(found, like): (Tensor, &Tensor)| match tiles {
            Some(tiles) => Ok(like.zeros_like()?.index_add(tiles, &found, 1)?),
            None => Ok(found),
        };
        found.zip(&self.tensors).map(of_groups).collect()
    }
}

fn factors<'a>(flat: &'a [f32], shape: &FactorShape) -> (&'a [f32], &'a [f32]) {
    flat[shape.offset..shape.offset + shape.len()].split_at(shape.a.0 * shape.a.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use seal_model::{Family, RopeScaling};

    #[test]
    fn what_was_uploaded_is_downloaded_by_group() {
        let config = DecoderConfig {
            family: Family::Llama,
            vocab_size: 5,
            hidden_size: 4,
            intermediate_size: 6,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            num_key_value_heads: 1,
            head_dim: 2,
            max_position_embeddings: 8,
            rms_norm_eps: 1e-5,
            rope_theta: 1e4,
            rope_scaling: RopeScaling::None,
            attention_bias: false,
            mlp_bias: false,
            sliding_window: None,
            tie_word_embeddings: true,
            bos_token_id: None,
            eos_token_ids: vec![],
        };
        let targets = vec![Projection::Down, Projection::K];
        let spec = LoraSpec { targets, ..LoraSpec::all(3) };
        let len = factor_shapes(&config, &spec).last().map(|s| s.offset + s.len()).unwrap();
        let flats: Vec<Vec<f32>> =
            (0..3).map(|group| (0..len).map(|i| (group * 1000 + i) as f32).collect()).collect();
        let slices: Vec<&[f32]> = flats.iter().map(Vec::as_slice).collect();
        let stack = Stack::upload(&config, &spec, &slices, false, &Device::Cpu).unwrap();
        assert_eq!(stack.download().unwrap(), flats);
        let kept = Tensor::new(&[2u32, 0], &Device::Cpu).unwrap();
        let kept = stack.select(&kept).unwrap().download().unwrap();
        assert_eq!(kept, [flats[2].clone(), flats[0].clone()]);
    }
}
