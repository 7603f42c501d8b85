//! Bytes by what the engines hold: see `decoder::forward`, `device::forward`, `seal-training`.

use super::{Engine, Need, Work};
use crate::decoder::{DecoderConfig, parameters};
use crate::lora::{LoraSpec, Projection, factor_shapes};
use crate::ops::cross_entropy;
use crate::ops::linear::KEEP_PACKED;
use crate::past::BLOCK;
use crate::score::shard_tokens_of;

/// Bytes of an f32.
const F32: u64 = 4;
/// Bytes of a bf16.
const BF16: u64 = 2;
/// Logits that the device's engine holds at once, and how many such tensors.
const DEVICE_LOGITS: u64 = 3 << 26;
/// Widest panel of a rearranged weight, in numbers: two vectors of sixteen.
const PANEL: usize = 32;

/// The sizes of a model, as one engine holds it.
pub(super) struct Counts<'a> {
    config: &'a DecoderConfig,
    engine: Engine,
    /// Numbers of all matrices.
    matrices: u64,
    /// Numbers of all gains and biases.
    vectors: u64,
}

/// Numbers that a layer keeps for each token, and those it only needs on its way.
struct PerToken {
    kept: u64,
    passing: u64,
}

impl<'a> Counts<'a> {
    pub(super) fn new(config: &'a DecoderConfig, engine: Engine) -> Self {
        let (mut matrices, mut vectors) = (0u64, 0u64);
        for (_, shape) in parameters(config) {
            let numbers = shape.iter().map(|&size| size as u64).product();
            let sum = if shape.len() == 2 { &mut matrices } else { &mut vectors };
            *sum = sum.saturating_add(numbers);
        }
        Self { config, engine, matrices, vectors }
    }

    pub(super) fn need(&self, work: &Work) -> Need {
        let base = Need { parameters: self.weights(), working: self.packed(), ..Need::default() };
        match work {
            Work::Serve { texts, tokens } => self.serve(base, *texts, *tokens),
            Work::Score { tokens, adapters, lora } => self.score(base, *tokens, *adapters, lora),
            Work::InnerUpdate { candidates, step_tokens, lora, checkpointing } => {
                self.inner_update(base, *candidates, *step_tokens, lora, *checkpointing)
            }
            Work::FineTune { step_tokens, checkpointing } => {
                self.fine_tune(base, *step_tokens, *checkpointing)
            }
            Work::Merged { lora, work } => {
                let need = self.need(work);
                let parameters = need.parameters.saturating_add(self.adapted(lora));
                let working = need.working.saturating_add(self.packed_layers(&lora.targets));
                Need { parameters, working, ..need }
            }
        }
    }

    fn serve(&self, base: Need, texts: usize, tokens: usize) -> Need {
        let in_flight = self.in_flight(mul(&[texts as u64, tokens as u64]), tokens);
        let positions = mul(&[(tokens as u64).div_ceil(BLOCK as u64), BLOCK as u64]);
        let working = base.working.saturating_add(self.one_layer(in_flight, tokens, None));
        let cache = mul(&[texts as u64, positions, self.cache_per_position()]);
        Need { cache, working: working.saturating_add(self.logits(texts as u64)), ..base }
    }

    fn score(&self, base: Need, tokens: usize, adapters: usize, lora: &LoraSpec) -> Need {
        let in_flight = self.in_flight(u64::MAX, tokens);
        let working = base.working.saturating_add(self.one_layer(in_flight, tokens, Some(lora)));
        let adapters = mul(&[adapters as u64, self.factors(lora), F32]);
        Need { adapters, working: working.saturating_add(self.logits(in_flight)), ..base }
    }

    fn inner_update(
        &self,
        base: Need,
        candidates: usize,
        step_tokens: usize,
        lora: &LoraSpec,
        checkpointing: bool,
    ) -> Need {
        let factors = mul(&[candidates as u64, self.factors(lora), F32]);
        let tokens = mul(&[candidates as u64, step_tokens as u64]);
        let (in_flight, gradients) = match self.engine {
            Engine::Cpu { .. } => (self.in_flight(tokens, step_tokens), factors),
            // One forward for all; gradients by layer, and of one projection after the other stacked
            // and then replaced together with parameters and means.
            Engine::Cuda => (tokens, mul(&[2, factors])),
        };
        let working = base
            .working
            .saturating_add(self.backward(in_flight, step_tokens, Some(lora), checkpointing))
            .saturating_add(self.logits(in_flight));
        Need {
            // The vector that is trained, and its factors as a forward reads them.
            adapters: mul(&[2, factors]),
            gradients,
            optimizer: mul(&[2, factors]),
            activations: self.kept(in_flight, Some(lora), checkpointing),
            working,
            ..base
        }
    }

    fn fine_tune(&self, base: Need, step_tokens: usize, checkpointing: bool) -> Need {
        let all = mul(&[self.matrices.saturating_add(self.vectors), F32]);
        let in_flight = self.in_flight(step_tokens as u64, 0);
        // Each shard of a step sums into a gradient of its own.
        let gradients = match self.engine {
            Engine::Cpu { .. } => (step_tokens as u64).div_ceil(self.shard()).max(1),
            // The gradient and its squares.
            Engine::Cuda => 2,
        };
        let working = base
            .working
            .saturating_add(self.backward(in_flight, step_tokens, None, checkpointing))
            .saturating_add(self.logits(in_flight));
        Need {
            // The weights of this step and of the next, and the vector that is trained.
            parameters: base.parameters.saturating_mul(2).saturating_add(all),
            gradients: mul(&[gradients, all]),
            optimizer: mul(&[2, all]),
            activations: self.kept(in_flight, None, checkpointing),
            working,
            ..base
        }
    }

    /// The weights once.
    pub(super) fn weights(&self) -> u64 {
        mul(&[self.matrices, self.matrix_number()]).saturating_add(mul(&[self.vectors, F32]))
    }

    /// The matrices that adapters of this shape change, once.
    fn adapted(&self, lora: &LoraSpec) -> u64 {
        let shapes = lora.targets.iter().map(|projection| projection.shape(self.config));
        let numbers: u64 = shapes.map(|(out, inner)| mul(&[out as u64, inner as u64])).sum();
        mul(&[self.config.num_hidden_layers as u64, numbers, self.matrix_number()])
    }

    /// Bytes of a number in a matrix.
    fn matrix_number(&self) -> u64 {
        match self.engine {
            Engine::Cpu { .. } => F32,
            Engine::Cuda => BF16,
        }
    }

    /// Rearranged copies of small weights, which the exact engine always keeps. Larger ones are
    /// copied only where memory is left.
    fn packed(&self) -> u64 {
        let head = self.packed_of((self.config.vocab_size, self.config.hidden_size));
        self.packed_layers(&Projection::ALL).saturating_add(head)
    }

    fn packed_layers(&self, projections: &[Projection]) -> u64 {
        let shapes = projections.iter().map(|projection| projection.shape(self.config));
        let one: u64 = shapes.map(|shape| self.packed_of(shape)).sum();
        mul(&[self.config.num_hidden_layers as u64, one])
    }

    fn packed_of(&self, (out, inner): (usize, usize)) -> u64 {
        let is_kept = out.saturating_mul(inner) <= KEEP_PACKED && self.engine != Engine::Cuda;
        match is_kept {
            true => mul(&[out.next_multiple_of(PANEL) as u64, inner as u64, F32]),
            false => 0,
        }
    }

    /// Tokens of one forward.
    fn shard(&self) -> u64 {
        let parameters = self.matrices.saturating_add(self.vectors);
        shard_tokens_of(usize::try_from(parameters).unwrap_or(usize::MAX)) as u64
    }

    /// Tokens that are computed at once of `total` independent ones, of which `together` cannot be
    /// divided.
    fn in_flight(&self, total: u64, together: usize) -> u64 {
        let forward = self.shard().max(together as u64);
        match self.engine {
            Engine::Cpu { threads } => total.min(mul(&[forward, threads.max(1) as u64])),
            Engine::Cuda => total.min(forward),
        }
    }

    fn factors(&self, lora: &LoraSpec) -> u64 {
        factor_shapes(self.config, lora).last().map_or(0, |last| (last.offset + last.len()) as u64)
    }

    fn cache_per_position(&self) -> u64 {
        let (c, numbers) = (self.config, 2 * F32);
        mul(&[c.num_hidden_layers as u64, c.num_key_value_heads as u64, c.head_dim as u64, numbers])
    }

    /// What the forwards of `tokens` keep for their backward.
    fn kept(&self, tokens: u64, lora: Option<&LoraSpec>, checkpointing: bool) -> u64 {
        let layers = self.config.num_hidden_layers as u64;
        let inputs = mul(&[layers + 1, self.config.hidden_size as u64, F32]);
        let everything = mul(&[layers, self.per_token(lora).kept]).saturating_add(inputs);
        mul(&[tokens, if checkpointing { inputs } else { everything }])
    }

    /// What passes through while `tokens` are trained on.
    fn backward(
        &self,
        tokens: u64,
        longest: usize,
        lora: Option<&LoraSpec>,
        checkpointing: bool,
    ) -> u64 {
        let layer = self.per_token(lora);
        let again = if checkpointing { layer.kept } else { 0 };
        let rows = mul(&[tokens, layer.passing.saturating_add(again)]);
        rows.saturating_add(self.scores(tokens, longest))
    }

    /// What passes through while `tokens` are only read.
    fn one_layer(&self, tokens: u64, longest: usize, lora: Option<&LoraSpec>) -> u64 {
        let inputs = mul(&[2, self.config.hidden_size as u64, F32]);
        let layer = self.per_token(lora).kept.saturating_add(inputs);
        mul(&[tokens, layer]).saturating_add(self.scores(tokens, longest))
    }

    /// Attention scores: only the device's engine holds those of whole sequences.
    fn scores(&self, tokens: u64, longest: usize) -> u64 {
        let heads = self.config.num_attention_heads as u64;
        match self.engine {
            Engine::Cpu { .. } => 0,
            Engine::Cuda => mul(&[2, tokens, longest as u64, heads, F32]),
        }
    }

    /// Logits and what belongs to them, of the `rows` that are judged.
    fn logits(&self, rows: u64) -> u64 {
        let vocab = self.config.vocab_size;
        match self.engine {
            Engine::Cpu { threads } => {
                let chunk = rows.min(cross_entropy::chunk_rows(vocab) as u64);
                let hidden = mul(&[rows, 5, self.config.hidden_size as u64, F32]);
                mul(&[threads.max(1) as u64, chunk, vocab as u64, F32]).saturating_add(hidden)
            }
            Engine::Cuda => mul(&[DEVICE_LOGITS.min(mul(&[3, rows, vocab as u64])), F32]),
        }
    }

    /// Bytes of one layer for each token, without its input.
    fn per_token(&self, lora: Option<&LoraSpec>) -> PerToken {
        let c = self.config;
        let (d, f) = (c.hidden_size as u64, c.intermediate_size as u64);
        let q = (c.num_attention_heads * c.head_dim) as u64;
        let kv = (c.num_key_value_heads * c.head_dim) as u64;
        let norms = if c.family.normalises_heads() {
            q + kv + (c.num_attention_heads + c.num_key_value_heads) as u64
        } else {
            0
        };
        let inners = lora.map_or(0, |lora| (lora.targets.len() * lora.r) as u64);
        // Normed inputs of both blocks, their inverses; q, k, v and what they attend to; the stream
        // between the blocks; gate, up and their product.
        let narrow = 2 * d + f;
        let wide = 2 + 2 * q + 2 * kv + d + 2 * f + norms + inners;
        let kept = match self.engine {
            Engine::Cpu { .. } => (narrow + wide) * F32,
            Engine::Cuda => narrow * BF16 + wide * F32,
        };
        // Gradients of the stream, of a block's input, of its three widest parts.
        let passing = (3 * d + (3 * f).max(3 * q + 2 * kv + norms)) * F32;
        PerToken { kept, passing }
    }
}

/// A product that stops at the largest number.
fn mul(factors: &[u64]) -> u64 {
    factors.iter().fold(1, |product, &factor| product.saturating_mul(factor))
}
