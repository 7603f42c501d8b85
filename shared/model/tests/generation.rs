//! Texts are the same whatever the limits, the company, the threads and the memory; beginnings are
//! read once; a listener hears every token and can stop any text.

#![allow(clippy::unwrap_used)]

mod tiny;

use seal_model::{
    Adapter, Decoder, Event, Finish, Generated, Generator, Limits, ModelError, PrefixCache, Prompt,
    Request, SamplingConfig, ScoreItem, Statistics, Ticket, generate, score,
};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use tiny::{adapters, decoder, windowed_decoder};

fn sampling(temperature: f64) -> SamplingConfig {
    SamplingConfig { max_new_tokens: 24, temperature, top_p: 0.97, ..SamplingConfig::default() }
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

fn shared_adapters() -> Vec<Arc<Adapter>> {
    adapters().into_iter().map(Arc::new).collect()
}

/// Prompts of up to 60 tokens, many of which begin alike, some of which are equal.
fn prompts() -> Vec<Prompt> {
    let prompt = |i: u32| {
        let system = (0..[0, 20, 33][i as usize % 3]).map(|t| (t * 7 + 1) % 49);
        let own = (0..1 + i % 27).map(|t| (t * 5 + i % 9) % 49);
        Prompt {
            adapter: (i % 4).checked_sub(1).map(|a| a as usize),
            tokens: system.chain(own).collect(),
            seed: u64::from(i % 6),
        }
    };
    (0..60).map(prompt).collect()
}

fn write_in(
    generator: &mut Generator,
    prompts: &[Prompt],
    sampling: &SamplingConfig,
) -> Vec<Generated> {
    let adapters = shared_adapters();
    for prompt in prompts {
        generator.submit(request(prompt, &adapters, sampling)).unwrap();
    }
    generator.write_all(&mut |_| {}).unwrap()
}

fn plain(prompts: &[Prompt], sampling: &SamplingConfig) -> Vec<Generated> {
    plain_by(&decoder(), prompts, sampling)
}

fn plain_by(decoder: &Decoder, prompts: &[Prompt], sampling: &SamplingConfig) -> Vec<Generated> {
    let adapters = adapters();
    let adapters: Vec<&Adapter> = adapters.iter().collect();
    // One at a time: nothing is shared, nothing is batched.
    let alone = |prompt: &Prompt| {
        let prompt = std::slice::from_ref(prompt);
        generate(decoder, &adapters, prompt, sampling, &mut |_, _| {}).unwrap().remove(0)
    };
    prompts.iter().map(alone).collect()
}

fn statistics(prefilled: usize, reused: usize, decoded: usize) -> Statistics {
    Statistics {
        prefilled_tokens: prefilled as u64,
        reused_tokens: reused as u64,
        decoded_tokens: decoded as u64,
        repeated_tokens: 0,
    }
}

/// Tokens of texts that had to be computed: all but each one's last.
fn decoded(texts: &[Generated]) -> usize {
    texts.iter().map(|text| text.tokens.len() - 1).sum()
}

/// Bytes of `blocks` blocks of keys and values of the tiny decoder.
fn blocks(blocks: usize) -> usize {
    let config = tiny::config();
    let position = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim;
    blocks * 16 * position * 4
}

#[test]
fn no_limit_and_no_thread_count_changes_a_text() {
    let (prompts, sampling) = (prompts(), sampling(1.2));
    let all = Limits::default();
    for decoder in [decoder(), windowed_decoder()] {
        let expected = plain_by(&decoder, &prompts, &sampling);
        for (limits, threads) in [
            (all, 1),
            (all, 3),
            (Limits { live: 1, ..all }, 2),
            (Limits { live: 5, read_tokens: 7, ..all }, 3),
            (Limits { cache_bytes: blocks(9), ..all }, 2),
            (Limits { live: 7, cache_bytes: blocks(13), read_tokens: 1 }, 4),
        ] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut fresh = Generator::new(&decoder, limits);
            let texts = pool.install(|| write_in(&mut fresh, &prompts, &sampling));
            assert_eq!(texts, expected, "{limits:?}, {threads} threads");
            let mut keeping =
                Generator::new(&decoder, limits).with_prefixes(PrefixCache::new(blocks(40)));
            for call in ["kept", "again"] {
                let texts = write_in(&mut keeping, &prompts, &sampling);
                assert_eq!(texts, expected, "{limits:?}, {call}");
            }
        }
    }
}

#[test]
fn short_memory_makes_texts_wait_and_never_takes_more() {
    let prompts = prompts();
    let mut generator =
        Generator::new(&decoder(), Limits { cache_bytes: blocks(12), ..Limits::default() });
    write_in(&mut generator, &prompts, &sampling(1.2));
    let statistics = generator.statistics();
    assert!(statistics.repeated_tokens > 0, "{statistics:?}: no text had to give way");
    assert!(generator.is_idle());
    assert!(generator.peak_bytes() <= blocks(12), "{} bytes", generator.peak_bytes());
}

#[test]
fn a_text_that_no_memory_would_ever_hold_is_refused_at_once() {
    let mut generator =
        Generator::new(&decoder(), Limits { cache_bytes: blocks(3), ..Limits::default() });
    let prompt = Prompt { adapter: None, tokens: vec![1; 30], seed: 0 };
    let refused = generator.submit(request(&prompt, &[], &sampling(1.0))).unwrap_err();
    assert!(refused.to_string().contains("`cache_bytes`"), "{refused}");
    let short = SamplingConfig { max_new_tokens: 1, ..sampling(1.0) };
    assert!(generator.submit(request(&prompt, &[], &short)).is_ok());
}

#[test]
fn samples_of_one_prompt_read_it_once() {
    let tokens: Vec<u32> = (0..37).collect();
    let prompt = |seed| Prompt { adapter: Some(1), tokens: tokens.clone(), seed };
    let prompts: Vec<Prompt> = (0..8).map(prompt).collect();
    let mut generator = Generator::new(&decoder(), Limits::default());
    let texts = write_in(&mut generator, &prompts, &sampling(1.2));
    assert_eq!(generator.statistics(), statistics(37, 7 * 37, decoded(&texts)));
    assert_eq!(texts, plain(&prompts, &sampling(1.2)));
}

#[test]
fn a_common_beginning_is_read_once_for_each_adapter() {
    let prompt = |adapter, own: u32| {
        let system = (0..30).chain([own, own + 1, own + 2]);
        Prompt { adapter, tokens: system.collect(), seed: 1 }
    };
    let prompts: Vec<Prompt> = [None, Some(0), Some(2)]
        .into_iter()
        .flat_map(|a| (0..5).map(move |o| prompt(a, o)))
        .collect();
    for live in [2, 128] {
        let mut generator = Generator::new(&decoder(), Limits { live, ..Limits::default() });
        let texts = write_in(&mut generator, &prompts, &sampling(1.2));
        let read = 3 * (33 + 4 * 3);
        assert_eq!(generator.statistics(), statistics(read, 15 * 33 - read, decoded(&texts)));
        assert_eq!(texts, plain(&prompts, &sampling(1.2)));
    }
}

#[test]
fn beginnings_that_branch_are_read_once_each() {
    // 20 common tokens, then two branches of 20, then two leaves of 5 each.
    let mut prompts = Vec::new();
    for branch in 0..2u32 {
        for leaf in 0..2u32 {
            let tokens = (0..20).chain(20 + branch..40 + branch).chain(leaf..leaf + 5);
            prompts.push(Prompt { adapter: None, tokens: tokens.collect(), seed: 3 });
        }
    }
    let mut generator = Generator::new(&decoder(), Limits::default());
    let texts = write_in(&mut generator, &prompts, &sampling(0.9));
    let read = 20 + 2 * 20 + 4 * 5;
    assert_eq!(generator.statistics(), statistics(read, 4 * 45 - read, decoded(&texts)));
    assert_eq!(texts, plain(&prompts, &sampling(0.9)));
}

#[test]
fn a_remembered_prompt_and_its_text_are_read_in_no_later_call() {
    let adapters = shared_adapters();
    let write = |generator: &mut Generator, tokens: &[u32], at: Option<usize>| {
        let prompt = Prompt { adapter: at, tokens: tokens.to_vec(), seed: 7 };
        generator.submit(request(&prompt, &adapters, &sampling(0.0))).unwrap();
        generator.write_all(&mut |_| {}).unwrap().pop().unwrap().tokens
    };
    let decoder = decoder();
    let mut first =
        Generator::new(&decoder, Limits::default()).with_prefixes(PrefixCache::new(blocks(100)));
    let prompt: Vec<u32> = (0..40).collect();
    let text = write(&mut first, &prompt, Some(0));
    // The conversation goes on, in another generator over the same model.
    let turn: Vec<u32> = prompt.iter().chain(&text).copied().chain([5, 6, 7]).collect();
    let mut second =
        Generator::new(&decoder, Limits::default()).with_prefixes(first.into_prefixes());
    write(&mut second, &turn, Some(0));
    let reused = turn.len() - 4;
    assert_eq!(second.statistics().reused_tokens, reused as u64);
    assert_eq!(second.statistics().prefilled_tokens, 4);
    // Not for another adapter, and not for another model.
    write(&mut second, &turn, Some(1));
    assert_eq!(second.statistics().reused_tokens, reused as u64);
    let other = tiny::decoder_with(50, 49, 96);
    let mut third = Generator::new(&other, Limits::default()).with_prefixes(second.into_prefixes());
    write(&mut third, &turn, Some(0));
    assert_eq!(third.statistics().reused_tokens, 0);
}

#[test]
fn what_is_remembered_stays_within_its_bytes() {
    let mut generator =
        Generator::new(&decoder(), Limits::default()).with_prefixes(PrefixCache::new(blocks(10)));
    write_in(&mut generator, &prompts(), &sampling(1.0));
    let mut prefixes = generator.into_prefixes();
    assert!(prefixes.bytes() > 0 && prefixes.bytes() <= blocks(10), "{}", prefixes.bytes());
    prefixes.clear();
    assert_eq!(prefixes.bytes(), 0);
}

#[test]
fn a_listener_hears_every_token_in_order_and_then_the_end() {
    let (prompts, sampling) = (prompts(), SamplingConfig { log_probs: Some(2), ..sampling(1.1) });
    let adapters = shared_adapters();
    let mut generator = Generator::new(&decoder(), Limits { live: 9, ..Limits::default() });
    for prompt in &prompts {
        generator.submit(request(prompt, &adapters, &sampling)).unwrap();
    }
    let mut heard: BTreeMap<Ticket, Vec<u32>> = BTreeMap::new();
    let mut ended = BTreeMap::new();
    let mut listener = |ticket: Ticket, event: Event<'_>| {
        assert!(!ended.contains_key(&ticket), "nothing follows the end");
        match event {
            Event::Token { token, log_prob, .. } => {
                assert_eq!(log_prob.unwrap().token, token);
                heard.entry(ticket).or_default().push(token);
            }
            Event::End(text) => drop(ended.insert(ticket, text.unwrap())),
        }
        ControlFlow::Continue(())
    };
    while generator.step(&mut listener).unwrap() {}
    let texts: Vec<Generated> = ended.into_values().collect();
    assert!(heard.into_values().eq(texts.iter().map(|text| text.tokens.clone())));
    assert_eq!(texts, plain(&prompts, &sampling));
}

#[test]
fn a_text_whose_receiver_went_away_ends_and_changes_no_other() {
    let prompts = &prompts()[..12];
    let adapters = shared_adapters();
    let expected = plain(prompts, &sampling(1.2));
    let mut generator = Generator::new(&decoder(), Limits { live: 4, ..Limits::default() });
    for prompt in prompts {
        generator.submit(request(prompt, &adapters, &sampling(1.2))).unwrap();
    }
    assert!(generator.cancel(Ticket(11)), "still in the line");
    assert!(!generator.cancel(Ticket(99)));
    let (mut tokens_of_2, mut ended) = (0, Vec::new());
    generator
        .run(&mut |ticket, event| {
            if ticket == Ticket(2) {
                tokens_of_2 += 1;
                return ControlFlow::Break(());
            }
            if let Event::End(text) = event {
                assert_eq!(text.unwrap(), expected[ticket.0 as usize]);
                ended.push(ticket.0);
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(tokens_of_2, 1, "nothing is said to who went away");
    ended.sort_unstable();
    assert_eq!(ended, [0, 1, 3, 4, 5, 6, 7, 8, 9, 10]);
}

#[test]
fn requests_may_come_while_others_are_written() {
    let prompts = prompts();
    let adapters = shared_adapters();
    let expected = plain(&prompts, &sampling(1.2));
    let mut generator = Generator::new(&decoder(), Limits { live: 6, ..Limits::default() })
        .with_prefixes(PrefixCache::new(blocks(500)));
    let mut texts = BTreeMap::new();
    let mut listener = |ticket: Ticket, event: Event<'_>| {
        if let Event::End(text) = event {
            texts.insert(ticket, text.unwrap());
        }
        ControlFlow::Continue(())
    };
    for prompt in &prompts {
        generator.submit(request(prompt, &adapters, &sampling(1.2))).unwrap();
        generator.step(&mut listener).unwrap();
    }
    generator.run(&mut listener).unwrap();
    assert!(texts.into_values().eq(expected));
    // All that each prompt has in common with an earlier one of its adapter, but for its last token.
    let common = |(at, prompt): (usize, &Prompt)| {
        let earlier = prompts[..at].iter().filter(|other| other.adapter == prompt.adapter);
        let common = |other: &Prompt| {
            let before_last = &prompt.tokens[..prompt.tokens.len() - 1];
            before_last.iter().zip(&other.tokens).take_while(|(a, b)| a == b).count()
        };
        earlier.map(common).max().filter(|&common| common >= 16).unwrap_or(0)
    };
    let least: usize = prompts.iter().enumerate().map(common).sum();
    let reused = generator.statistics().reused_tokens;
    assert!(least > 800 && reused >= least as u64, "{reused} of at least {least} tokens");
}

#[test]
fn a_damaged_adapter_spoils_its_own_texts_only() {
    let spec = seal_model::LoraSpec::all(3);
    let len = adapters()[0].flat().unwrap().len();
    let damaged = Adapter::from_flat(&tiny::config(), &spec, &vec![f32::NAN; len]).unwrap();
    let adapters = [shared_adapters().remove(0), Arc::new(damaged)];
    let mut generator = Generator::new(&decoder(), Limits::default());
    let prompt = |adapter, seed| Prompt { adapter: Some(adapter), tokens: vec![1, 2, 3], seed };
    for (adapter, seed) in [(0, 1), (1, 1), (0, 2)] {
        let request = request(&prompt(adapter, seed), &adapters, &sampling(1.0));
        generator.submit(request).unwrap();
    }
    let mut outcomes = BTreeMap::new();
    generator
        .run(&mut |ticket, event| {
            if let Event::End(text) = event {
                outcomes.insert(ticket.0, text.map_err(|error| error.to_string()));
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    let expected = plain(&[prompt(0, 1), prompt(0, 2)], &sampling(1.0));
    assert_eq!(outcomes[&0], Ok(expected[0].clone()));
    assert_eq!(outcomes[&2], Ok(expected[1].clone()));
    assert!(outcomes[&1].as_ref().is_err_and(|error| error.contains("prompt 1")));
}

#[test]
fn a_written_token_is_as_likely_as_the_scorer_says() {
    let (decoder, adapters) = (decoder(), adapters());
    let all: Vec<&Adapter> = adapters.iter().collect();
    let sampling = SamplingConfig { log_probs: Some(50), top_k: 9, ..sampling(1.4) };
    let prompts = prompts();
    let texts = generate(&decoder, &all, &prompts, &sampling, &mut |_, _| {}).unwrap();
    let item = |(prompt, text): (&Prompt, &Generated)| ScoreItem {
        adapter: prompt.adapter,
        prompt: prompt.tokens.clone(),
        answer: text.tokens.clone(),
    };
    let items: Vec<ScoreItem> = prompts.iter().zip(&texts).map(item).collect();
    let keep = |item: &&ScoreItem| item.prompt.len() + item.answer.len() <= 96;
    let items: Vec<ScoreItem> = items.iter().filter(keep).cloned().collect();
    let scores = score(&decoder, &all, &items).unwrap();
    assert!(items.len() > 40);
    for (score, (_, text)) in scores
        .iter()
        .zip(prompts.iter().zip(&texts).filter(|(p, t)| p.tokens.len() + t.tokens.len() <= 96))
    {
        let total: f64 = text.log_probs.iter().map(|token| token.log_prob).sum();
        let mean = total / text.tokens.len() as f64;
        assert_eq!(score.log_prob_nats_per_token.to_bits(), mean.to_bits());
        assert_eq!(score.exact, text.log_probs.iter().all(|token| token.rank == 0));
        for (token, judged) in text.tokens.iter().zip(&text.log_probs) {
            assert!(judged.token == *token && judged.rank < 50);
            assert_eq!(judged.alternatives[judged.rank], (*token, judged.log_prob));
            let sum: f64 = judged.alternatives.iter().map(|(_, nats)| nats.exp()).sum();
            assert!((sum - 1.0).abs() < 1e-5, "{sum}");
        }
    }
}

#[test]
fn settings_that_steer_the_text_are_obeyed() {
    let prompts = prompts();
    let banned = SamplingConfig { logit_bias: [(7, -1e4), (9, -1e4)].into(), ..sampling(1.5) };
    let texts = plain(&prompts[..20], &banned);
    assert!(texts.iter().all(|t| !t.tokens.contains(&7) && !t.tokens.contains(&9)));
    let long = SamplingConfig { min_new_tokens: 10, stop: vec![3, 4], ..sampling(1.5) };
    for text in plain(&prompts[..20], &long) {
        assert!(text.tokens.len() >= 10, "{text:?}");
    }
    let fresh = SamplingConfig { presence_penalty: 1e4, ..sampling(1.5) };
    for text in plain(&prompts[..20], &fresh) {
        let mut tokens = text.tokens.clone();
        tokens.sort_unstable();
        tokens.dedup();
        assert_eq!(tokens.len(), text.tokens.len(), "a token came twice: {text:?}");
    }
    let nothing = SamplingConfig { max_new_tokens: 0, ..sampling(1.0) };
    let text = &plain(&prompts[..1], &nothing)[0];
    assert!(text.tokens.is_empty() && text.finish == Finish::Length);
}

#[test]
fn requests_that_cannot_be_written_are_refused() {
    let mut generator = Generator::new(&decoder(), Limits::default());
    let prompt = Prompt { adapter: None, tokens: vec![1], seed: 0 };
    let mut refuse =
        |sampling: SamplingConfig| generator.submit(request(&prompt, &[], &sampling)).unwrap_err();
    let free = SamplingConfig::default();
    let outside = SamplingConfig { logit_bias: [(50, 1.0)].into(), ..free.clone() };
    assert!(matches!(refuse(outside), ModelError::Token { token: 50, .. }));
    let named = [
        ("stop_strings", SamplingConfig { stop_strings: vec!["x".into()], ..free.clone() }),
        ("stop_strings", SamplingConfig { stop_strings: vec![String::new()], ..free.clone() }),
        ("typical_p", SamplingConfig { typical_p: 0.0, ..free.clone() }),
        ("repetition_penalty", SamplingConfig { repetition_penalty: 0.0, ..free.clone() }),
        ("presence_penalty", SamplingConfig { presence_penalty: f64::NAN, ..free.clone() }),
        ("logit_bias", SamplingConfig { logit_bias: [(1, f32::INFINITY)].into(), ..free.clone() }),
        ("log_probs", SamplingConfig { log_probs: Some(101), ..free }),
    ];
    for (name, sampling) in named {
        let error = refuse(sampling).to_string();
        assert!(error.contains(name), "{error}");
    }
    let layers = seal_model::DecoderConfig { num_hidden_layers: 1, ..tiny::config() };
    let short = Adapter::init(&layers, &seal_model::LoraSpec::all(2), 1).unwrap();
    let other = Request { adapter: Some(Arc::new(short)), ..request(&prompt, &[], &sampling(1.0)) };
    assert!(generator.submit(other).unwrap_err().to_string().contains("layers"));
}
