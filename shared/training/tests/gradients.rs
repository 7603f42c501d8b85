//! The explicit backward against candle's autograd over a second, plainly written forward.

#![allow(clippy::unwrap_used)]

use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::ops::{log_softmax, softmax};
use seal_model::decoder::parameters;
use seal_model::lora::factor_shapes;
use seal_model::{Adapter, Decoder, DecoderConfig, Family, LoraSpec, Projection, RopeScaling};
use seal_training::backward::{
    AdapterGradients, Gradients, Places, WeightGradients, loss_and_gradients,
};
use seal_training::{TrainBatch, TrainSequence, part_norms};
use std::collections::BTreeMap;

fn config(family: Family, tied: bool) -> DecoderConfig {
    DecoderConfig {
        family,
        vocab_size: 37,
        hidden_size: 24,
        intermediate_size: 40,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 6,
        max_position_embeddings: 64,
        rms_norm_eps: 1e-5,
        rope_theta: 100.0,
        rope_scaling: RopeScaling::None,
        attention_bias: false,
        mlp_bias: false,
        sliding_window: None,
        tie_word_embeddings: tied,
        bos_token_id: None,
        eos_token_ids: vec![],
    }
}

fn numbers(len: usize, salt: usize, size: f32) -> Vec<f32> {
    (0..len).map(|i| ((((i + 17 * salt) * 7919) % 1009) as f32 / 504.5 - 1.0) * size).collect()
}

/// A decoder without a zero or a one among its weights, so that no gradient is hidden.
fn decoder(config: &DecoderConfig) -> Decoder {
    let decoder = Decoder::init(config, 3, &Device::Cpu).unwrap();
    let len = decoder.parameter_count();
    let noise = numbers(len, 1, 0.2);
    let flat: Vec<f32> = decoder.flat().unwrap().iter().zip(noise).map(|(w, n)| w + n).collect();
    decoder.with_flat(&flat).unwrap()
}

fn adapter(config: &DecoderConfig, spec: &LoraSpec, salt: usize) -> Adapter {
    let len = factor_shapes(config, spec).last().map(|s| s.offset + s.len()).unwrap();
    Adapter::from_flat(config, spec, &numbers(len, salt, 0.3)).unwrap()
}

fn sequences(salt: u32) -> Vec<TrainSequence> {
    let tokens = |len: u32, step: u32| (0..len).map(|i| (i * step + salt) % 37).collect::<Vec<_>>();
    let mut weighted = TrainSequence::all(tokens(9, 5), 0);
    weighted.weights[4] = 0.25;
    weighted.weights[6] = 0.0;
    vec![
        TrainSequence::all(tokens(6, 7), 0),
        weighted,
        TrainSequence::completion(tokens(21, 11), 8, 1),
    ]
}

/// Names tensors, so that frozen and trained ones are looked up alike.
type Named = BTreeMap<String, Tensor>;

fn rms_norm(x: &Tensor, gain: &Tensor, epsilon: f64) -> Tensor {
    let mean = x.sqr().unwrap().mean_keepdim(D::Minus1).unwrap();
    let scale = (mean + epsilon).unwrap().sqrt().unwrap();
    x.broadcast_div(&scale).unwrap().broadcast_mul(gain).unwrap()
}

/// `x` `[heads, len, dim]`, the rotation of positions 0, 1, …
fn rope(x: &Tensor, theta: f64) -> Tensor {
    let (_, len, dim) = x.dims3().unwrap();
    let half = dim / 2;
    let angle = |p: usize, i: usize| p as f64 / theta.powf(2.0 * i as f64 / dim as f64);
    let table = |f: fn(f64) -> f64| {
        let data: Vec<f32> = (0..len * half).map(|n| f(angle(n / half, n % half)) as f32).collect();
        Tensor::from_vec(data, (1, len, half), &Device::Cpu).unwrap()
    };
    let (cos, sin) = (table(f64::cos), table(f64::sin));
    let (a, b) = (x.narrow(2, 0, half).unwrap(), x.narrow(2, half, half).unwrap());
    let low = (a.broadcast_mul(&cos).unwrap() - b.broadcast_mul(&sin).unwrap()).unwrap();
    let high = (b.broadcast_mul(&cos).unwrap() + a.broadcast_mul(&sin).unwrap()).unwrap();
    Tensor::cat(&[low, high], 2).unwrap()
}

struct Oracle<'a> {
    config: &'a DecoderConfig,
    weights: &'a Named,
    /// `<module>.A` and `<module>.B`.
    factors: &'a Named,
    scale: f64,
}

impl Oracle<'_> {
    fn linear(&self, x: &Tensor, module: &str) -> Tensor {
        let product = |x: &Tensor, w: &Tensor| x.matmul(&w.t().unwrap()).unwrap();
        let mut y = product(x, &self.weights[&format!("{module}.weight")]);
        if let Some(bias) = self.weights.get(&format!("{module}.bias")) {
            y = y.broadcast_add(bias).unwrap();
        }
        if let Some(a) = self.factors.get(&format!("{module}.A")) {
            let b = &self.factors[&format!("{module}.B")];
            y = (y + (product(&product(x, a), b) * self.scale).unwrap()).unwrap();
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
        let q = rope(
            &self.heads(&self.linear(&h, &name(Projection::Q)), c.num_attention_heads),
            c.rope_theta,
        );
        let k = rope(
            &self.heads(&self.linear(&h, &name(Projection::K)), c.num_key_value_heads),
            c.rope_theta,
        );
        let v = self.heads(&self.linear(&h, &name(Projection::V)), c.num_key_value_heads);
        let scores = q.matmul(&k.transpose(1, 2).unwrap().contiguous().unwrap()).unwrap();
        let scores = (scores / (c.head_dim as f64).sqrt()).unwrap();
        let mask: Vec<f32> =
            (0..len * len).map(|n| if n % len > n / len { -1e30 } else { 0.0 }).collect();
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

    fn loss(&self, sequences: &[TrainSequence]) -> Tensor {
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

fn numbers_of(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// Both gradients of one tensor are present and agree to 1e-5 of the tensor's largest.
#[track_caller]
fn check_tensor(name: &str, ours: &[f32], oracle: &[f32]) {
    let largest = oracle.iter().fold(0f32, |m, x| m.max(x.abs()));
    let worst = ours.iter().zip(oracle).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(largest > 0.0, "{name} received no gradient");
    assert_eq!(ours.len(), oracle.len(), "{name}");
    assert!(worst <= 1e-5 * largest.max(1e-3), "{name}: differs by {worst}, largest {largest}");
}

#[track_caller]
fn check_full(family: Family, tied: bool) {
    let config = config(family, tied);
    let decoder = decoder(&config);
    let sequences = sequences(2);
    let vars: BTreeMap<String, Var> =
        decoder.tensors().into_iter().map(|(n, t)| (n, Var::from_tensor(&t).unwrap())).collect();
    let weights: Named = vars.iter().map(|(n, v)| (n.clone(), v.as_tensor().clone())).collect();
    let oracle =
        Oracle { config: &config, weights: &weights, factors: &BTreeMap::new(), scale: 0.0 };
    let loss = oracle.loss(&sequences);
    let grads = loss.backward().unwrap();

    let mut batch = TrainBatch::default();
    batch.push(&sequences, 0, None, &part_norms(&sequences));
    let places = Places::new(&config);
    let mut flat = vec![0.0; places.len()];
    let mut sink = Gradients::Weights(WeightGradients { flat: &mut flat, places: &places });
    let ours = loss_and_gradients(&decoder, &batch, &[], 1, &mut sink).unwrap();
    let expected = f64::from(loss.to_scalar::<f32>().unwrap());
    assert!((ours[0] - expected).abs() < 1e-5 * expected, "loss {} instead of {expected}", ours[0]);
    let mut at = 0;
    for (name, shape) in parameters(&config) {
        let len: usize = shape.iter().product();
        check_tensor(&name, &flat[at..at + len], &numbers_of(grads.get(&vars[&name]).unwrap()));
        at += len;
    }
}

#[test]
fn full_gradients_of_llama_with_untied_head_agree_with_autograd() {
    check_full(Family::Llama, false);
}

#[test]
fn full_gradients_of_qwen2_with_biases_and_tied_head_agree_with_autograd() {
    check_full(Family::Qwen2, true);
}

#[test]
fn every_candidates_factors_in_a_batch_get_the_gradients_of_autograd() {
    let config = config(Family::Qwen2, true);
    let decoder = decoder(&config);
    let spec = LoraSpec {
        targets: vec![
            Projection::Q,
            Projection::V,
            Projection::Up,
            Projection::Down,
            Projection::O,
        ],
        ..LoraSpec::all(3)
    };
    let adapters = [adapter(&config, &spec, 5), adapter(&config, &spec, 6)];
    let jobs = [sequences(2), sequences(9)];

    let mut batch = TrainBatch::default();
    for (slot, job) in jobs.iter().enumerate() {
        batch.push(job, slot, Some(slot), &part_norms(job));
    }
    let mut flats = vec![vec![0.0; adapters[0].flat().unwrap().len()]; 2];
    let mut sink = Gradients::Adapters(AdapterGradients::new(&config, &spec, &mut flats));
    let losses =
        loss_and_gradients(&decoder, &batch, &[&adapters[0], &adapters[1]], 2, &mut sink).unwrap();

    for (slot, job) in jobs.iter().enumerate() {
        let mut vars = BTreeMap::new();
        for shape in factor_shapes(&config, &spec) {
            let factors = adapters[slot].factors(shape.layer, shape.projection).unwrap();
            let module = shape.projection.module(shape.layer);
            vars.insert(format!("{module}.A"), Var::from_tensor(&factors.a).unwrap());
            vars.insert(format!("{module}.B"), Var::from_tensor(&factors.b).unwrap());
        }
        let factors: Named = vars.iter().map(|(n, v)| (n.clone(), v.as_tensor().clone())).collect();
        let weights = decoder.tensors();
        let oracle = Oracle {
            config: &config,
            weights: &weights,
            factors: &factors,
            scale: f64::from(spec.scale()),
        };
        let loss = oracle.loss(job);
        let grads = loss.backward().unwrap();
        assert!((losses[slot] - f64::from(loss.to_scalar::<f32>().unwrap())).abs() < 1e-4);
        for shape in factor_shapes(&config, &spec) {
            let module = shape.projection.module(shape.layer);
            let (a, b) = flats[slot][shape.offset..shape.offset + shape.len()]
                .split_at(shape.a.0 * shape.a.1);
            check_tensor(
                &format!("{module}.A"),
                a,
                &numbers_of(grads.get(&vars[&format!("{module}.A")]).unwrap()),
            );
            check_tensor(
                &format!("{module}.B"),
                b,
                &numbers_of(grads.get(&vars[&format!("{module}.B")]).unwrap()),
            );
        }
    }
}
