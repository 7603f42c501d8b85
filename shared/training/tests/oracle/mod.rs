//! A second, plainly written forward for candle's autograd to differentiate.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::f64::consts::TAU;

use candle_core::{D, DType, Device, Tensor};
use candle_nn::ops::{log_softmax, softmax};
use seal_model::ops::dropout::Dropout;
use seal_model::{DecoderConfig, Projection, RopeScaling};
use seal_training::{TrainSequence, part_norms};

/// Names tensors, so that frozen and trained ones are looked up alike.
pub(crate) type Named = BTreeMap<String, Tensor>;

fn rms_norm(x: &Tensor, gain: &Tensor, epsilon: f64) -> Tensor {
    let mean = x.sqr().unwrap().mean_keepdim(D::Minus1).unwrap();
    let scale = (mean + epsilon).unwrap().sqrt().unwrap();
    x.broadcast_div(&scale).unwrap().broadcast_mul(gain).unwrap()
}

/// Radians per position of each pair, and the factor of cos and sin, from the papers' formulas.
fn angles(config: &DecoderConfig) -> (Vec<f64>, f64) {
    let (theta, dim) = (config.rope_theta, config.head_dim as f64);
    let plain = |i: usize| theta.powf(-2.0 * i as f64 / dim);
    let pairs = 0..config.head_dim / 2;
    match config.rope_scaling {
        RopeScaling::None => (pairs.map(plain).collect(), 1.0),
        RopeScaling::Linear { factor } => (pairs.map(|i| plain(i) / factor).collect(), 1.0),
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings: length,
        } => {
            let scaled = |i| {
                let turns = length as f64 * plain(i) / TAU;
                let kept = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                let kept = kept.clamp(0.0, 1.0);
                plain(i) * (kept + (1.0 - kept) / factor)
            };
            (pairs.map(scaled).collect(), 1.0)
        }
        RopeScaling::Yarn {
            factor,
            attention_factor,
            beta_fast,
            beta_slow,
            original_max_position_embeddings: length,
            ..
        } => {
            let pair = |turns: f64| dim * (length as f64 / (turns * TAU)).ln() / theta.ln() / 2.0;
            let first = pair(beta_fast).floor().max(0.0);
            let last = pair(beta_slow).ceil().min(dim - 1.0);
            let scaled = |i| {
                let divided = ((i as f64 - first) / (last - first)).clamp(0.0, 1.0);
                plain(i) * (1.0 - divided + divided / factor)
            };
            (pairs.map(scaled).collect(), attention_factor)
        }
    }
}

/// `x` `[heads, len, dim]`, the rotation of positions 0, 1, …
fn rope(x: &Tensor, config: &DecoderConfig) -> Tensor {
    let (_, len, dim) = x.dims3().unwrap();
    let half = dim / 2;
    let (frequencies, magnitude) = angles(config);
    let table = |f: fn(f64) -> f64| {
        let angle = |n: usize| (n / half) as f64 * frequencies[n % half];
        let data: Vec<f32> = (0..len * half).map(|n| (magnitude * f(angle(n))) as f32).collect();
        Tensor::from_vec(data, (1, len, half), &Device::Cpu).unwrap()
    };
    let (cos, sin) = (table(f64::cos), table(f64::sin));
    let (a, b) = (x.narrow(2, 0, half).unwrap(), x.narrow(2, half, half).unwrap());
    let low = (a.broadcast_mul(&cos).unwrap() - b.broadcast_mul(&sin).unwrap()).unwrap();
    let high = (b.broadcast_mul(&cos).unwrap() + a.broadcast_mul(&sin).unwrap()).unwrap();
    Tensor::cat(&[low, high], 2).unwrap()
}

pub(crate) struct Oracle<'a> {
    pub(crate) config: &'a DecoderConfig,
    pub(crate) weights: &'a Named,
    /// `<module>.A` and `<module>.B`.
    pub(crate) factors: &'a Named,
    pub(crate) scale: f64,
    pub(crate) dropout: Option<Dropout>,
    /// Rows of the sequences before this one.
    pub(crate) first_row: Cell<usize>,
}

impl Oracle<'_> {
    /// What A reads of `x` `[len, in]`.
    fn kept(&self, x: &Tensor, module: &str) -> Tensor {
        let Some(dropout) = self.dropout else { return x.clone() };
        let places = (0..self.config.num_hidden_layers)
            .flat_map(|layer| Projection::ALL.map(|which| (layer, which)));
        let (layer, which) = places.into_iter().find(|(l, p)| p.module(*l) == module).unwrap();
        let (len, inner) = x.dims2().unwrap();
        let dropout = Dropout { first_row: self.first_row.get() as u64, ..dropout };
        let factors = dropout.mask(layer, which).applied(&vec![1.0; len * inner], inner);
        assert!(factors.contains(&0.0) && factors.iter().any(|f| *f > 1.0));
        (x * Tensor::from_vec(factors, (len, inner), &Device::Cpu).unwrap()).unwrap()
    }

    fn linear(&self, x: &Tensor, module: &str) -> Tensor {
        let product = |x: &Tensor, w: &Tensor| x.matmul(&w.t().unwrap()).unwrap();
        let mut y = product(x, &self.weights[&format!("{module}.weight")]);
        if let Some(bias) = self.weights.get(&format!("{module}.bias")) {
            y = y.broadcast_add(bias).unwrap();
        }
        if let Some(a) = self.factors.get(&format!("{module}.A")) {
            let b = &self.factors[&format!("{module}.B")];
            let u = product(&self.kept(x, module), a);
            y = (y + (product(&u, b) * self.scale).unwrap()).unwrap();
        }
        y
    }

    fn heads(&self, x: &Tensor, count: usize) -> Tensor {
        let len = x.dim(0).unwrap();
        let split = x.reshape((len, count, self.config.head_dim)).unwrap();
        let repeated: Vec<Tensor> = (0..self.config.num_attention_heads)
            .map(|h| split.narrow(1, h * count / self.config.num_attention_heads, 1).unwrap())
            .collect();
        Tensor::cat(&repeated, 1).unwrap().transpose(0, 1).unwrap().contiguous().unwrap()
    }

    fn layer(&self, x: &Tensor, layer: usize) -> Tensor {
        let c = self.config;
        let name = |p: Projection| p.module(layer);
        let gain = |which: &str| &self.weights[&format!("model.layers.{layer}.{which}.weight")];
        let len = x.dim(0).unwrap();
        let h = rms_norm(x, gain("input_layernorm"), c.rms_norm_eps);
        let head = |p: Projection, count, norm: &str| {
            let x = self.heads(&self.linear(&h, &name(p)), count);
            match self.weights.get(&format!("model.layers.{layer}.self_attn.{norm}.weight")) {
                Some(gain) => rope(&rms_norm(&x, gain, c.rms_norm_eps), c),
                None => rope(&x, c),
            }
        };
        let q = head(Projection::Q, c.num_attention_heads, "q_norm");
        let k = head(Projection::K, c.num_key_value_heads, "k_norm");
        let v = self.heads(&self.linear(&h, &name(Projection::V)), c.num_key_value_heads);
        let scores = q.matmul(&k.transpose(1, 2).unwrap().contiguous().unwrap()).unwrap();
        let scores = (scores / (c.head_dim as f64).sqrt()).unwrap();
        let window = c.window(layer).unwrap_or(len);
        let hidden = |query: usize, key: usize| key > query || key + window <= query;
        let mask: Vec<f32> =
            (0..len * len).map(|n| if hidden(n / len, n % len) { -1e30 } else { 0.0 }).collect();
        let mask = Tensor::from_vec(mask, (1, len, len), &Device::Cpu).unwrap();
        let attended =
            softmax(&scores.broadcast_add(&mask).unwrap(), D::Minus1).unwrap().matmul(&v).unwrap();
        let attended =
            attended.transpose(0, 1).unwrap().contiguous().unwrap().flatten_from(1).unwrap();
        let x = (x + self.linear(&attended, &name(Projection::O))).unwrap();
        let h = rms_norm(&x, gain("post_attention_layernorm"), c.rms_norm_eps);
        let gate = self.linear(&h, &name(Projection::Gate));
        let act = (gate.silu().unwrap() * self.linear(&h, &name(Projection::Up))).unwrap();
        (x + self.linear(&act, &name(Projection::Down))).unwrap()
    }

    /// The loss of all sequences, in nats.
    pub(crate) fn loss(&self, sequences: &[TrainSequence]) -> Tensor {
        let norms = part_norms(sequences);
        let embedding = &self.weights["model.embed_tokens.weight"];
        let head = self.weights.get("lm_head.weight").unwrap_or(embedding);
        let mut total = Tensor::zeros((), DType::F32, &Device::Cpu).unwrap();
        for sequence in sequences {
            let len = sequence.tokens.len() - 1;
            let ids = Tensor::from_slice(&sequence.tokens[..len], len, &Device::Cpu).unwrap();
            let mut x = embedding.index_select(&ids, 0).unwrap();
            for layer in 0..self.config.num_hidden_layers {
                x = self.layer(&x, layer);
            }
            self.first_row.set(self.first_row.get() + len);
            let x = rms_norm(&x, &self.weights["model.norm.weight"], self.config.rms_norm_eps);
            let logits = x.matmul(&head.t().unwrap()).unwrap();
            let targets =
                Tensor::from_slice(&sequence.tokens[1..], (len, 1), &Device::Cpu).unwrap();
            let picked = log_softmax(&logits, D::Minus1)
                .unwrap()
                .gather(&targets, 1)
                .unwrap()
                .squeeze(1)
                .unwrap();
            let weights: Vec<f32> =
                sequence.weights[1..].iter().map(|w| w / norms[&sequence.part] as f32).collect();
            let weights = Tensor::from_vec(weights, len, &Device::Cpu).unwrap();
            total = (total - (picked * weights).unwrap().sum_all().unwrap()).unwrap();
        }
        total
    }
}
