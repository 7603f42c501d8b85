//! LoRA adapters in memory: which projections, which factors, how they begin.
//!
//! Source: Hu et al., arXiv:2106.09685; initialisation as PEFT does it.

use crate::decoder::{DecoderConfig, gaussian};
use crate::error::{ModelError, Result};
use candle_core::{Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Deserializer, Serialize};

/// A linear layer inside a decoder layer. The order is that of the flat parameter vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Projection {
    /// Queries.
    #[serde(rename = "q_proj")]
    Q,
    /// Keys.
    #[serde(rename = "k_proj")]
    K,
    /// Values.
    #[serde(rename = "v_proj")]
    V,
    /// Attention output.
    #[serde(rename = "o_proj")]
    O,
    /// SwiGLU gate.
    #[serde(rename = "gate_proj")]
    Gate,
    /// SwiGLU up.
    #[serde(rename = "up_proj")]
    Up,
    /// SwiGLU down.
    #[serde(rename = "down_proj")]
    Down,
}

impl Projection {
    /// How many there are.
    pub const COUNT: usize = 7;
    /// All of them, in order.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Q, Self::K, Self::V, Self::O, Self::Gate, Self::Up, Self::Down];

    /// Hugging Face's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"][self as usize]
    }

    /// The projection of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name() == name)
    }

    /// The module path of a checkpoint, without `.weight`.
    #[must_use]
    pub fn module(self, layer: usize) -> String {
        let block = if self >= Self::Gate { "mlp" } else { "self_attn" };
        format!("model.layers.{layer}.{block}.{}", self.name())
    }

    /// `(out, in)`.
    #[must_use]
    pub fn shape(self, config: &DecoderConfig) -> (usize, usize) {
        let (d, ffn) = (config.hidden_size, config.intermediate_size);
        let (query, key_value) = (
            config.num_attention_heads * config.head_dim,
            config.num_key_value_heads * config.head_dim,
        );
        match self {
            Self::Q => (query, d),
            Self::K | Self::V => (key_value, d),
            Self::O => (d, query),
            Self::Gate | Self::Up => (ffn, d),
            Self::Down => (d, ffn),
        }
    }

    /// True if this projection has a bias in a model of this config.
    #[must_use]
    pub fn has_bias(self, config: &DecoderConfig) -> bool {
        match self {
            Self::Q | Self::K | Self::V => config.attention_bias || config.family.qkv_bias(),
            Self::O => config.attention_bias,
            Self::Gate | Self::Up | Self::Down => config.mlp_bias,
        }
    }
}

/// How the A factor begins. B always begins at zero, so a fresh adapter changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoraInit {
    /// Uniform in ±1/√in: PEFT's Kaiming uniform with a = √5.
    #[default]
    KaimingUniform,
    /// Normal with variance 1/in.
    Gaussian,
}

/// The shape of an adapter. On disk its fields have PEFT's names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraSpec {
    /// Rank.
    pub r: usize,
    /// Scale numerator: the output is multiplied by `alpha / r`.
    #[serde(rename = "lora_alpha")]
    pub alpha: f64,
    /// Adapted projections, in every layer.
    #[serde(rename = "target_modules", deserialize_with = "target_modules")]
    pub targets: Vec<Projection>,
    /// How A begins.
    #[serde(rename = "init_lora_weights", default)]
    pub init: LoraInit,
    /// Share of the inputs of A that training sets to zero in each step; the others grow by
    /// `1 / (1 − dropout)`. An adapter in use has none.
    #[serde(rename = "lora_dropout", default, skip_serializing_if = "is_zero")]
    pub dropout: f64,
    /// Rank-stabilised: the output is multiplied by `alpha / √r` instead.
    #[serde(default, skip_serializing_if = "is_off")]
    pub use_rslora: bool,
}

/// `target_modules` as PEFT takes it: a list of names, or `"all-linear"`.
///
/// # Errors
/// An unknown name.
pub fn target_modules<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Projection>, D::Error> {
    #[derive(Deserialize)]
    #[serde(
        untagged,
        expecting = "expected \"all-linear\" or a list of q_proj, k_proj, v_proj, o_proj, \
                     gate_proj, up_proj, down_proj"
    )]
    enum Targets {
        All(AllLinear),
        Listed(Vec<Projection>),
    }
    #[derive(Deserialize)]
    enum AllLinear {
        #[serde(rename = "all-linear")]
        AllLinear,
    }
    Ok(match Targets::deserialize(from)? {
        Targets::All(AllLinear::AllLinear) => Projection::ALL.to_vec(),
        Targets::Listed(listed) => listed,
    })
}

/// For fields that are left out of a file where they change nothing.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(dropout: &f64) -> bool {
    *dropout == 0.0
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_off(flag: &bool) -> bool {
    !flag
}

impl LoraSpec {
    /// Rank `r`, α = 2r, all seven projections.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn all(r: usize) -> Self {
        Self {
            r,
            alpha: 2.0 * r as f64,
            targets: Projection::ALL.to_vec(),
            init: LoraInit::default(),
            dropout: 0.0,
            use_rslora: false,
        }
    }

    /// Refuses a spec no adapter can have.
    ///
    /// # Errors
    /// Rank 0 or over 1024, a scale that is not positive, a dropout that leaves nothing, no target
    /// or a target twice.
    pub fn check(&self) -> Result<()> {
        let refuse = |problem: &str| Err(ModelError::Input(format!("LoRA {problem}")));
        if self.r == 0 || self.r > 1024 {
            return refuse("rank must be 1 to 1024");
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return refuse("alpha must be positive");
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return refuse("dropout must be at least 0 and below 1");
        }
        let mut targets = self.targets.clone();
        targets.sort_unstable();
        targets.dedup();
        if targets.is_empty() || targets.len() != self.targets.len() {
            return refuse("targets must name at least one projection, each once");
        }
        Ok(())
    }

    /// α / r, or α / √r if rank-stabilised.
    ///
    /// Source: Kalajdzievski, arXiv:2312.03732.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
    pub fn scale(&self) -> f32 {
        let rank = self.r as f64;
        (self.alpha / if self.use_rslora { rank.sqrt() } else { rank }) as f32
    }
}

/// The factors of one projection of one layer.
#[derive(Clone, Debug)]
pub struct Factors {
    /// `[r, in]`.
    pub a: Tensor,
    /// `[out, r]`.
    pub b: Tensor,
}

/// A LoRA adapter in memory. Cloning shares the factors.
#[derive(Clone, Debug)]
pub struct Adapter {
    spec: LoraSpec,
    layers: Vec<[Option<Factors>; Projection::COUNT]>,
}

/// One factor matrix of an adapter, in the order of its flat vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FactorShape {
    /// Layer index.
    pub layer: usize,
    /// Projection.
    pub projection: Projection,
    /// `[r, in]`.
    pub a: (usize, usize),
    /// `[out, r]`.
    pub b: (usize, usize),
    /// Where A begins in the flat vector; B follows it.
    pub offset: usize,
}

impl FactorShape {
    /// Elements of A and B.
    #[must_use]
    pub fn len(&self) -> usize {
        self.a.0 * self.a.1 + self.b.0 * self.b.1
    }

    /// Never: both factors have elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Every factor pair of an adapter with `spec` on `config`.
#[must_use]
pub fn factor_shapes(config: &DecoderConfig, spec: &LoraSpec) -> Vec<FactorShape> {
    let mut targets = spec.targets.clone();
    targets.sort_unstable();
    let mut offset = 0;
    let mut shapes = Vec::new();
    for layer in 0..config.num_hidden_layers {
        for &projection in &targets {
            let (out, inner) = projection.shape(config);
            let shape =
                FactorShape { layer, projection, a: (spec.r, inner), b: (out, spec.r), offset };
            offset += shape.len();
            shapes.push(shape);
        }
    }
    shapes
}

impl Adapter {
    /// A fresh adapter; config, spec and seed fix its bytes.
    ///
    /// # Errors
    /// A spec no adapter can have.
    pub fn init(config: &DecoderConfig, spec: &LoraSpec, seed: u64) -> Result<Self> {
        Self::from_flat(config, spec, &Self::init_flat(config, spec, seed)?)
    }

    /// [`Adapter::init`] as one flat vector in the order of [`factor_shapes`].
    ///
    /// # Errors
    /// A spec no adapter can have.
    pub fn init_flat(config: &DecoderConfig, spec: &LoraSpec, seed: u64) -> Result<Vec<f32>> {
        spec.check()?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let shapes = factor_shapes(config, spec);
        // B is zero, and memory that begins as zero costs nothing until it is written.
        let mut flat = vec![0.0; shapes.last().map_or(0, |s| s.offset + s.len())];
        for shape in shapes {
            let (rank, inner) = shape.a;
            let a = &mut flat[shape.offset..shape.offset + rank * inner];
            a.fill_with(|| initial(spec.init, inner, &mut rng));
        }
        Ok(flat)
    }

    /// An adapter from one flat vector in the order of [`factor_shapes`].
    ///
    /// # Errors
    /// A vector of another length.
    pub fn from_flat(config: &DecoderConfig, spec: &LoraSpec, flat: &[f32]) -> Result<Self> {
        spec.check()?;
        let shapes = factor_shapes(config, spec);
        let len = shapes.last().map_or(0, |s| s.offset + s.len());
        if flat.len() != len {
            return Err(ModelError::Input(format!(
                "{} adapter parameters, expected {len}",
                flat.len()
            )));
        }
        Self::from_factors(config, spec, |shape| {
            let (a, b) =
                flat[shape.offset..shape.offset + shape.len()].split_at(shape.a.0 * shape.a.1);
            Ok(Factors {
                a: Tensor::from_slice(a, shape.a, &Device::Cpu)?,
                b: Tensor::from_slice(b, shape.b, &Device::Cpu)?,
            })
        })
    }

    /// An adapter from factors on the CPU: those of each layer and projection of [`factor_shapes`].
    ///
    /// # Errors
    /// A factor that is missing or has another shape.
    pub fn from_factors(
        config: &DecoderConfig,
        spec: &LoraSpec,
        mut of: impl FnMut(&FactorShape) -> Result<Factors>,
    ) -> Result<Self> {
        spec.check()?;
        let mut layers: Vec<[Option<Factors>; Projection::COUNT]> =
            vec![Default::default(); config.num_hidden_layers];
        for shape in factor_shapes(config, spec) {
            let factors = of(&shape)?;
            if factors.a.dims2()? != shape.a || factors.b.dims2()? != shape.b {
                let (a, b) = (factors.a.shape(), factors.b.shape());
                return Err(ModelError::Input(format!("factors {a:?} and {b:?} for {shape:?}")));
            }
            layers[shape.layer][shape.projection as usize] = Some(factors);
        }
        Ok(Self { spec: spec.clone(), layers })
    }

    /// All factors as one flat vector: per layer and projection, A then B.
    ///
    /// # Errors
    /// Factors that are not f32.
    pub fn flat(&self) -> Result<Vec<f32>> {
        let mut flat = Vec::new();
        for factors in self.layers.iter().flatten().flatten() {
            flat.extend(factors.a.flatten_all()?.to_vec1::<f32>()?);
            flat.extend(factors.b.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(flat)
    }

    /// The shape.
    #[must_use]
    pub fn spec(&self) -> &LoraSpec {
        &self.spec
    }

    /// [`LoraSpec::scale`].
    #[must_use]
    pub fn scale(&self) -> f32 {
        self.spec.scale()
    }

    /// The factors of a projection, if it is adapted.
    #[must_use]
    pub fn factors(&self, layer: usize, projection: Projection) -> Option<&Factors> {
        self.layers.get(layer)?[projection as usize].as_ref()
    }

    /// Number of decoder layers it is for.
    #[must_use]
    pub fn layer_count(&self) -> usize {
        self.layers.len()
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
fn initial(init: LoraInit, inner: usize, rng: &mut ChaCha8Rng) -> f32 {
    let bound = 1.0 / (inner as f64).sqrt();
    match init {
        LoraInit::KaimingUniform => ((2.0 * rng.random::<f64>() - 1.0) * bound) as f32,
        LoraInit::Gaussian => gaussian(rng) * bound as f32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projections_are_found_by_the_name_they_give() {
        for p in Projection::ALL {
            assert_eq!(Projection::from_name(p.name()), Some(p));
            assert_eq!(serde_json::to_value(p).unwrap(), p.name());
        }
        assert_eq!(Projection::Down.module(3), "model.layers.3.mlp.down_proj");
    }

    #[test]
    fn specs_no_adapter_can_have_are_refused() {
        let good = LoraSpec::all(4);
        assert!(good.check().is_ok());
        assert!(LoraSpec { r: 0, ..good.clone() }.check().is_err());
        assert!(LoraSpec { alpha: f64::NAN, ..good.clone() }.check().is_err());
        assert!(LoraSpec { dropout: 1.0, ..good.clone() }.check().is_err());
        assert!(LoraSpec { dropout: f64::NAN, ..good.clone() }.check().is_err());
        assert!(LoraSpec { targets: vec![Projection::Q, Projection::Q], ..good }.check().is_err());
    }

    #[test]
    fn rank_stabilised_adapters_scale_with_the_root_of_the_rank() {
        let spec = LoraSpec { alpha: 6.0, ..LoraSpec::all(4) };
        assert_eq!((spec.scale() * 2.0).to_bits(), 3f32.to_bits());
        let stabilised = LoraSpec { use_rslora: true, ..spec };
        assert_eq!(stabilised.scale().to_bits(), 3f32.to_bits());
    }

    #[test]
    fn a_spec_is_written_as_peft_writes_it_and_fields_that_change_nothing_are_left_out() {
        let plain = LoraSpec { targets: vec![Projection::Q], ..LoraSpec::all(2) };
        let text = r#"{"r":2,"lora_alpha":4.0,"target_modules":["q_proj"],"init_lora_weights":"kaiming_uniform"}"#;
        assert_eq!(serde_json::to_string(&plain).unwrap(), text);
        assert_eq!(serde_json::from_str::<LoraSpec>(text).unwrap(), plain);
        let all = r#"{"r":2,"lora_alpha":4,"target_modules":"all-linear","lora_dropout":0.1,"use_rslora":true}"#;
        let spec = serde_json::from_str::<LoraSpec>(all).unwrap();
        assert_eq!(spec, LoraSpec { dropout: 0.1, use_rslora: true, ..LoraSpec::all(2) });
        let other = all.replace("all-linear", "all");
        let error = serde_json::from_str::<LoraSpec>(&other).unwrap_err().to_string();
        assert!(error.contains("\"all-linear\" or a list of q_proj"), "{error}");
    }
}
