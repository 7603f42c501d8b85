//! Scores are the same bits whether beginnings are shared or not, and what is shared is read once.

#![allow(clippy::unwrap_used)]

mod tiny;

use std::time::{Duration, Instant};

use candle_core::{DType, Device};
use seal_model::batch::Batch;
use seal_model::{
    Adapter, Decoder, ItemScore, ModelError, PrefixCache, Prompt, SamplingConfig, ScoreItem,
    Scorer, TokenLogProb, generate, perplexity, score,
};
use tiny::{adapters, decoder, windowed_decoder};

fn item(adapter: Option<usize>, prompt: &[u32], answer: &[u32]) -> ScoreItem {
    ScoreItem { adapter, prompt: prompt.to_vec(), answer: answer.to_vec() }
}

fn document(len: u32) -> Vec<u32> {
    (0..len).map(|t| (t * 11 + 3) % 49).collect()
}

/// One document with six questions of three answers each, equal items among them.
fn questions(adapter: Option<usize>) -> Vec<ScoreItem> {
    let mut items = Vec::new();
    for question in 0..6u32 {
        let own = (0..9).map(|t| (1 + t) * (question + 1) % 49);
        let prompt = document(40).into_iter().chain(own).collect::<Vec<u32>>();
        for answer in [vec![1, 2, question], vec![4], vec![1, 2, 9, 9, 9]] {
            items.push(item(adapter, &prompt, &answer));
        }
    }
    items
}

/// Everything at once: items that share much, little and nothing, with every adapter.
fn mixed() -> Vec<ScoreItem> {
    let mut items: Vec<ScoreItem> =
        [None, Some(2), Some(0)].into_iter().flat_map(questions).collect();
    for i in 0..40u32 {
        let prompt: Vec<u32> = (0..1 + i % 30).map(|t| (t * (i % 3) + i % 7) % 49).collect();
        items.push(item((i % 4).checked_sub(1).map(|a| a as usize), &prompt, &[i % 9, 5, i % 4]));
    }
    // A prompt that another one continues, and an answer that another prompt holds.
    items.push(item(None, &document(40), &[0, 7, 0, 1]));
    items.push(item(None, &document(20), &document(40)[20..]));
    items
}

fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

#[test]
fn an_item_scores_the_same_bits_alone_and_with_others_that_begin_alike() {
    for decoder in [decoder(), windowed_decoder()] {
        let adapters = adapters();
        let all: Vec<&Adapter> = adapters.iter().collect();
        let items = mixed();
        let alone: Vec<ItemScore> = items
            .iter()
            .map(|item| score(&decoder, &all, std::slice::from_ref(item)).unwrap()[0])
            .collect();
        for threads in [1, 3] {
            let together = with_threads(threads, || score(&decoder, &all, &items).unwrap());
            assert_eq!(together, alone, "{threads} threads");
        }
        let mut scorer = Scorer::new(&decoder).with_prefixes(PrefixCache::new(300 << 10));
        for call in 0..3 {
            assert_eq!(scorer.score(&all, &items).unwrap(), alone, "call {call}");
        }
        let reversed: Vec<ScoreItem> = items.iter().rev().cloned().collect();
        assert!(scorer.score(&all, &reversed).unwrap().iter().rev().eq(&alone));
    }
}

#[test]
fn a_document_with_many_questions_is_read_once() {
    let mut scorer = Scorer::new(&decoder());
    scorer.score(&[], &questions(None)).unwrap();
    // The document, then for each question its nine tokens and three answers but for their last
    // tokens. The two answers that begin alike have too little in common to share.
    let read = 40 + 6 * (9 + 2 + 4);
    let all: usize = questions(None).iter().map(|i| i.prompt.len() + i.answer.len() - 1).sum();
    let statistics = scorer.statistics();
    assert_eq!(statistics.prefilled_tokens, read as u64);
    assert_eq!(statistics.reused_tokens, (all - read) as u64);
}

#[test]
fn each_adapter_reads_the_document_itself() {
    let adapters = adapters();
    let all: Vec<&Adapter> = adapters.iter().collect();
    let mut scorer = Scorer::new(&decoder());
    let items: Vec<ScoreItem> = [None, Some(0), Some(1)].into_iter().flat_map(questions).collect();
    scorer.score(&all, &items).unwrap();
    assert_eq!(scorer.statistics().prefilled_tokens, 3 * (40 + 6 * (9 + 2 + 4)));
}

#[test]
fn a_remembered_context_is_read_in_no_later_call() {
    let decoder = decoder();
    let mut scorer = Scorer::new(&decoder).with_prefixes(PrefixCache::new(1 << 20));
    scorer.score(&[], &[item(None, &document(40), &[1, 2])]).unwrap();
    assert_eq!(scorer.statistics().prefilled_tokens, 41);
    let question = [document(40), vec![8, 9]].concat();
    scorer.score(&[], &[item(None, &question, &[3])]).unwrap();
    assert_eq!(scorer.statistics().prefilled_tokens, 41 + 2);
    // The same prompt again with a one-token answer: nothing is left to read.
    scorer.score(&[], &[item(None, &question, &[7])]).unwrap();
    assert_eq!(scorer.statistics().prefilled_tokens, 41 + 2);
    let mut forgetful = Scorer::new(&decoder);
    for _ in 0..2 {
        forgetful.score(&[], &[item(None, &document(40), &[1, 2])]).unwrap();
    }
    assert_eq!(forgetful.statistics().prefilled_tokens, 2 * 41);
}

fn tokens_of(decoder: &Decoder, items: &[ScoreItem], top: usize) -> Vec<Vec<TokenLogProb>> {
    let adapters = adapters();
    let all: Vec<&Adapter> = adapters.iter().collect();
    Scorer::new(decoder).score_tokens(&all, items, top).unwrap()
}

#[test]
fn single_tokens_add_up_to_the_score_of_their_answer() {
    let (decoder, items) = (decoder(), mixed());
    let adapters = adapters();
    let all: Vec<&Adapter> = adapters.iter().collect();
    let scores = score(&decoder, &all, &items).unwrap();
    for ((item, score), tokens) in items.iter().zip(scores).zip(tokens_of(&decoder, &items, 3)) {
        let total: f64 = tokens.iter().map(|t| t.log_prob).sum();
        let mean = total / tokens.len() as f64;
        assert_eq!(mean.to_bits(), score.log_prob_nats_per_token.to_bits());
        assert_eq!(tokens.iter().all(|t| t.rank == 0), score.exact);
        assert!(tokens.iter().map(|t| &t.token).eq(&item.answer));
        let expected = (-score.log_prob_nats_per_token).exp();
        assert!((perplexity(&tokens) / expected - 1.0).abs() < 1e-12);
    }
}

#[test]
fn ranks_and_alternatives_are_those_of_the_logits() {
    let (decoder, tokens) = (decoder(), document(25));
    let mut batch = Batch::default();
    batch.push(&tokens, None);
    let logits = decoder.logits(&batch, &[]).unwrap().to_vec2::<f32>().unwrap();
    // The whole text but its first token: its log-probabilities as an echo shows them.
    let judged = &tokens_of(&decoder, &[item(None, &tokens[..1], &tokens[1..])], 4)[0];
    assert_eq!(judged.len(), 24);
    for ((judged, &token), logits) in judged.iter().zip(&tokens[1..]).zip(&logits) {
        let mut order: Vec<u32> = (0..50).collect();
        order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
        assert_eq!(order[judged.rank], token);
        let best: Vec<u32> = judged.alternatives.iter().map(|&(token, _)| token).collect();
        assert_eq!(best, order[..4]);
        let exact: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln();
        let expected = f64::from(logits[token as usize]) - exact;
        assert!((judged.log_prob - expected).abs() < 1e-5);
        assert!(judged.alternatives.windows(2).all(|pair| pair[0].1 >= pair[1].1));
    }
}

#[test]
fn items_that_cannot_be_scored_are_refused_before_any_is() {
    let decoder = decoder();
    let good = item(None, &document(20), &[1]);
    let refuse = |bad: ScoreItem| {
        let error = score(&decoder, &[], &[good.clone(), bad.clone()]).unwrap_err();
        let tokens = Scorer::new(&decoder).score_tokens(&[], &[good.clone(), bad], 0).unwrap_err();
        assert_eq!(error.to_string(), tokens.to_string());
        error
    };
    let orphan = refuse(item(Some(1), &document(20), &[1]));
    assert!(orphan.to_string().contains("item 1: adapter 1 of 0"), "{orphan}");
    assert!(refuse(item(None, &[], &[1])).to_string().contains("item 1"));
    assert!(matches!(refuse(item(None, &[50], &[1])), ModelError::Token { token: 50, .. }));
    let broken = decoder.with_flat(&vec![f32::NAN; decoder.parameter_count()]).unwrap();
    let twice = [good.clone(), good];
    assert!(matches!(score(&broken, &[], &twice), Err(ModelError::NotFinite { .. })));
    let tokens = Scorer::new(&broken).score_tokens(&[], &twice, 1);
    assert!(matches!(tokens, Err(ModelError::NotFinite { .. })));
}

#[test]
fn what_is_computed_stops_at_its_moment_on_both_engines_and_is_the_same_bits_before() {
    let (decoder, adapters, items) = (decoder(), adapters(), mixed());
    let all: Vec<&Adapter> = adapters.iter().collect();
    let prompts: Vec<Prompt> = (0..5)
        .map(|seed| Prompt { adapter: None, tokens: vec![1, 2, seed as u32], seed })
        .collect();
    let sampling = SamplingConfig { max_new_tokens: 8, ..SamplingConfig::default() };
    let write = |decoder: &Decoder| generate(decoder, &all, &prompts, &sampling, &mut |_, _| {});
    let composed = decoder.composed(&Device::Cpu, DType::F32).unwrap();
    for decoder in [&decoder, &composed] {
        let over = decoder.until(Instant::now());
        assert!(matches!(score(&over, &all, &items), Err(ModelError::OutOfTime)));
        assert!(matches!(write(&over), Err(ModelError::OutOfTime)));
        let later = decoder.until(Instant::now() + Duration::from_secs(3600));
        assert_eq!(score(&later, &all, &items).unwrap(), score(decoder, &all, &items).unwrap());
        assert_eq!(write(&later).unwrap(), write(decoder).unwrap());
    }
}
