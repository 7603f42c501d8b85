//! The factors of all candidates of a group on the device, or whatever else is shaped like them.

use super::gradients::Gradients;
use crate::error::Result;
use candle_core::{Device, Tensor};
use seal_model::device::{LoraStack, StackedFactors};
use seal_model::lora::{FactorShape, LoraSpec, factor_shapes};
use seal_model::{DecoderConfig, Projection};

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
    /// From flat vectors in the order of [`factor_shapes`], one for each group.
    ///
    /// # Errors
    /// A device without the memory.
    pub fn upload(
        config: &DecoderConfig,
        spec: &LoraSpec,
        flats: &[&[f32]],
        device: &Device,
    ) -> Result<Self> {
        let mut targets = spec.targets.clone();
        targets.sort_unstable();
        let shapes = factor_shapes(config, spec);
        let mut stack = Self {
            layers: config.num_hidden_layers,
            scale: spec.scale(),
            tensors: Vec::with_capacity(2 * targets.len()),
            targets,
            shapes,
        };
        for which in stack.targets.clone() {
            let (mut a, mut b, mut dims) = (Vec::new(), Vec::new(), ((0, 0), (0, 0)));
            for shape in stack.shapes.iter().filter(|shape| shape.projection == which) {
                dims = (shape.a, shape.b);
                for flat in flats {
                    let (own_a, own_b) = factors(flat, shape);
                    a.extend_from_slice(own_a);
                    b.extend_from_slice(own_b);
                }
            }
            for (numbers, (rows, columns)) in [(a, dims.0), (b, dims.1)] {
                let shape = (stack.layers, flats.len(), rows, columns);
                stack.tensors.push(Tensor::from_vec(numbers, shape, device)?);
            }
        }
        Ok(stack)
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
        let mut flats = vec![vec![0.0; len]; groups];
        for (which, both) in self.targets.iter().zip(self.tensors.chunks_exact(2)) {
            let a = both[0].flatten_all()?.to_vec1::<f32>()?;
            let b = both[1].flatten_all()?.to_vec1::<f32>()?;
            let mine = self.shapes.iter().filter(|shape| shape.projection == *which);
            for (layer, shape) in mine.enumerate() {
                let sizes = (shape.a.0 * shape.a.1, shape.b.0 * shape.b.1);
                for (group, flat) in flats.iter_mut().enumerate() {
                    let at = layer * groups + group;
                    let to = &mut flat[shape.offset..shape.offset + shape.len()];
                    let (to_a, to_b) = to.split_at_mut(sizes.0);
                    to_a.copy_from_slice(&a[at * sizes.0..][..sizes.0]);
                    to_b.copy_from_slice(&b[at * sizes.1..][..sizes.1]);
                }
            }
        }
        Ok(flats)
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
    pub fn gradient(&self, gradients: &Gradients, tiles: Option<&Tensor>) -> Result<Vec<Tensor>> {
        let Gradients::Adapters(adapters) = gradients else { return Ok(Vec::new()) };
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
        let stack = Stack::upload(&config, &spec, &slices, &Device::Cpu).unwrap();
        assert_eq!(stack.download().unwrap(), flats);
        let kept = Tensor::new(&[2u32, 0], &Device::Cpu).unwrap();
        let kept = stack.select(&kept).unwrap().download().unwrap();
        assert_eq!(kept, [flats[2].clone(), flats[0].clone()]);
    }
}
