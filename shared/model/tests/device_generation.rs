//! Texts written by the engine for GPUs, on the CPU or where `SEAL_TEST_DEVICE` says, against those
//! of the exact engine.

#![allow(clippy::unwrap_used)]

mod device_support;
mod golden_support;
mod tiny;

use candle_core::{DType, Device};
use device_support::device;
use golden_support::{MODELS, golden};
use seal_model::lora::factor_shapes;
use seal_model::{
    Adapter, Decoder, DecoderConfig, Event, Finish, Generated, Generator, Limits, LoraSpec,
    ModelError, Projection, Prompt, Request, SamplingConfig, TokenConstraint, TokenMask, generate,
};
use std::ops::ControlFlow;
use std::sync::Arc;

fn twin(exact: &Decoder) -> Decoder {
    exact.composed(device(), DType::F32).unwrap()
}

fn greedy(max_new_tokens: usize) -> SamplingConfig {
    SamplingConfig { max_new_tokens, temperature: 0.0, ..SamplingConfig::default() }
}

fn adapter(config: &DecoderConfig, spec: &LoraSpec, salt: usize) -> Adapter {
    let len = factor_shapes(config, spec).last().map(|s| s.offset + s.len()).unwrap();
    Adapter::from_flat(config, spec, &tiny::numbers(len, salt, 0.2)).unwrap()
}

/// Two adapters of different shape.
fn adapters(config: &DecoderConfig) -> [Adapter; 2] {
    let few = LoraSpec { targets: vec![Projection::K, Projection::Up], ..LoraSpec::all(2) };
    [adapter(config, &LoraSpec::all(4), 1), adapter(config, &few, 2)]
}

/// Prompts of 1 to 20 tokens, many more under one adapter than under the other.
fn prompts(count: u32, vocabulary: u32) -> Vec<Prompt> {
    let prompt = |n: u32| Prompt {
        adapter: [None, Some(0), Some(0), Some(0), Some(1)][n as usize % 5],
        tokens: (0..1 + n * 7 % 20).map(|i| (i * 11 + n * 5) % vocabulary).collect(),
        seed: u64::from(n),
    };
    (0..count).map(prompt).collect()
}

fn write(
    decoder: &Decoder,
    adapters: &[Adapter],
    prompts: &[Prompt],
    s: &SamplingConfig,
) -> Vec<Generated> {
    let adapters: Vec<&Adapter> = adapters.iter().collect();
    generate(decoder, &adapters, prompts, s, &mut |_, _| {}).unwrap()
}

#[test]
fn greedy_texts_of_every_family_equal_those_of_the_exact_engine() {
    for golden in MODELS.map(golden) {
        let exact = Decoder::load(&golden.folder, &Device::Cpu).unwrap();
        // Longer than any window, and without an end: every text is compared to its last token.
        let config = DecoderConfig { eos_token_ids: vec![], ..exact.config().clone() };
        let exact = Decoder::from_weights(config, exact.weights().clone(), &Device::Cpu).unwrap();
        let adapters = adapters(exact.config());
        let prompts = prompts(11, 40);
        let expected = write(&exact, &adapters, &prompts, &greedy(30));
        assert_eq!(write(&twin(&exact), &adapters, &prompts, &greedy(30)), expected);
        assert!(expected.iter().all(|text| text.tokens.len() == 30));
        let plain: Vec<Prompt> =
            prompts.iter().map(|p| Prompt { adapter: None, ..p.clone() }).collect();
        assert_ne!(write(&exact, &[], &plain, &greedy(30)), expected, "adapters do something");
    }
}

fn request(prompt: &Prompt, adapters: &[Arc<Adapter>], sampling: &SamplingConfig) -> Request {
    Request {
        prompt: prompt.tokens.clone(),
        adapter: prompt.adapter.map(|at| adapters[at].clone()),
        seed: prompt.seed,
        sampling: Arc::new(sampling.clone()),
        constraint: None,
    }
}

#[test]
fn texts_that_join_late_or_end_early_are_what_they_would_be_alone() {
    for exact in [tiny::decoder(), tiny::windowed_decoder()] {
        let prompts = prompts(40, 49);
        let sampling = SamplingConfig { max_new_tokens: 24, ..SamplingConfig::default() };
        let adapters = tiny::adapters();
        let expected = write(&exact, &adapters, &prompts, &sampling);
        let lengths: Vec<usize> = expected.iter().map(|text| text.tokens.len()).collect();
        assert!(lengths.iter().min() < lengths.iter().max(), "some end early");
        let twin = twin(&exact);
        let shared: Vec<Arc<Adapter>> = adapters.into_iter().map(Arc::new).collect();
        let all = Limits::of(&twin);
        for limits in [
            all,
            Limits { live: 7, ..all },
            Limits { live: 1, ..all },
            Limits { cache_bytes: 60_000, ..all },
        ] {
            let mut generator = Generator::new(&twin, limits);
            for prompt in &prompts {
                generator.submit(request(prompt, &shared, &sampling)).unwrap();
            }
            assert_eq!(generator.write_all(&mut |_| {}).unwrap(), expected, "{limits:?}");
            assert!(generator.is_idle());
            let read: usize = prompts.iter().map(|prompt| prompt.tokens.len()).sum();
            let written: usize = lengths.iter().map(|len| len - 1).sum();
            let statistics = generator.statistics();
            assert_eq!(statistics.prefilled_tokens, read as u64);
            assert_eq!(statistics.decoded_tokens, written as u64);
        }
    }
}

#[test]
fn penalties_biases_stop_tokens_and_log_probabilities_are_those_of_the_exact_engine() {
    let (exact, prompts) = (tiny::decoder(), prompts(8, 49));
    let settings = [
        SamplingConfig { repetition_penalty: 1.3, min_new_tokens: 5, ..greedy(12) },
        SamplingConfig { frequency_penalty: 0.4, stop: vec![7, 8, 9], ..greedy(40) },
        SamplingConfig { logit_bias: [(3, 2.0)].into(), top_k: 5, temperature: 0.8, ..greedy(12) },
        greedy(0),
    ];
    for sampling in settings {
        let expected = write(&exact, &tiny::adapters(), &prompts, &sampling);
        assert_eq!(write(&twin(&exact), &tiny::adapters(), &prompts, &sampling), expected);
    }
    let sampling = SamplingConfig { log_probs: Some(2), ..greedy(12) };
    let expected = write(&exact, &tiny::adapters(), &prompts, &sampling);
    let found = write(&twin(&exact), &tiny::adapters(), &prompts, &sampling);
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found.tokens, expected.tokens);
        for (a, b) in found.log_probs.iter().zip(&expected.log_probs) {
            assert!((a.log_prob - b.log_prob).abs() < 1e-4 && a.rank == b.rank, "{a:?} {b:?}");
        }
    }
}

/// Dictates 4 and 5 after every free token.
struct Refrain {
    forced: Vec<u32>,
}

impl TokenConstraint for Refrain {
    fn allowed(&mut self) -> Result<TokenMask, ModelError> {
        let mut mask = TokenMask::all(50);
        if let Some(&next) = self.forced.first() {
            mask = TokenMask::none(50);
            mask.allow(next);
        }
        Ok(mask)
    }

    fn accept(&mut self, _: u32) -> Result<(), ModelError> {
        match self.forced.is_empty() {
            true => self.forced = vec![4, 5],
            false => drop(self.forced.remove(0)),
        }
        Ok(())
    }

    fn is_done(&mut self) -> bool {
        false
    }

    fn forced(&mut self) -> Vec<u32> {
        self.forced.clone()
    }
}

#[test]
fn a_constraint_is_obeyed_beside_free_texts() {
    let texts = |decoder: &Decoder| {
        let adapters: Vec<Arc<Adapter>> = tiny::adapters().into_iter().map(Arc::new).collect();
        let mut generator = Generator::new(decoder, Limits::of(decoder));
        for (n, prompt) in prompts(9, 49).iter().enumerate() {
            let mut request = request(prompt, &adapters, &greedy(20));
            if n % 2 == 0 {
                request.constraint = Some(Box::new(Refrain { forced: Vec::new() }));
            }
            generator.submit(request).unwrap();
        }
        generator.write_all(&mut |_| {}).unwrap()
    };
    let (found, expected) = (texts(&twin(&tiny::decoder())), texts(&tiny::decoder()));
    assert_eq!(found, expected);
    assert!(found[0].tokens[1..3] == [4, 5] && found[0].finish == Finish::Length);
}

#[test]
fn a_listener_hears_every_token_and_can_stop_one_text() {
    let mut generator = Generator::new(&twin(&tiny::decoder()), Limits::default());
    let endless = SamplingConfig { min_new_tokens: 60, ..greedy(60) };
    let tickets: Vec<_> = prompts(3, 49)
        .iter()
        .map(|prompt| {
            let adapters: Vec<Arc<Adapter>> = tiny::adapters().into_iter().map(Arc::new).collect();
            generator.submit(request(prompt, &adapters, &endless)).unwrap()
        })
        .collect();
    let mut heard = [0; 3];
    let mut ends = 0;
    for step in 0.. {
        let worked = generator
            .step(&mut |ticket, event| {
                let number = tickets.iter().position(|&known| known == ticket).unwrap();
                match event {
                    Event::Token { .. } => heard[number] += 1,
                    Event::End(text) => ends += usize::from(text.is_ok()),
                }
                if number == 1 && heard[1] == 4 {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })
            .unwrap();
        if step == 9 {
            assert!(generator.cancel(tickets[2]) && !generator.cancel(tickets[2]));
        }
        if !worked {
            break;
        }
    }
    assert_eq!((heard, ends), ([60, 4, 10], 1));
}

#[test]
fn a_damaged_adapter_spoils_no_other_text() {
    let exact = tiny::decoder();
    let mut adapters = tiny::adapters();
    let prompts = prompts(10, 49);
    let expected = write(&exact, &adapters, &prompts, &greedy(12));
    let broken = vec![f32::NAN; adapters[0].flat().unwrap().len()];
    adapters[0] = Adapter::from_flat(exact.config(), adapters[0].spec(), &broken).unwrap();
    let shared: Vec<Arc<Adapter>> = adapters.into_iter().map(Arc::new).collect();
    let twin = twin(&exact);
    let mut generator = Generator::new(&twin, Limits::of(&twin));
    for prompt in &prompts {
        generator.submit(request(prompt, &shared, &greedy(12))).unwrap();
    }
    let mut ended = 0;
    generator
        .run(&mut |ticket, event| {
            if let Event::End(text) = event {
                let number = usize::try_from(ticket.0).unwrap();
                match (prompts[number].adapter, text) {
                    (Some(0), Err(ModelError::NotFinite { .. })) => {}
                    (Some(0), other) => panic!("{other:?}"),
                    (_, text) => assert_eq!(text.unwrap(), expected[number]),
                }
                ended += 1;
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(ended, 10);
}
