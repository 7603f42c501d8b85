//! What is kept, and who gets it: duplicates out, questions split between reward and proof.
//!
//! Pure. Every choice of chance is an order by SHA-256 over seed, passage and question, so that one
//! passage more or less moves no other.

use std::collections::{BTreeMap, BTreeSet};

use seal_auditor::items::{Item, ItemKind};
use seal_auditor::vault::Tau;
use seal_conductor::plan::{ContextRef, ContextUse};
use seal_protocol::Digest;
use seal_trust::sha256;

use super::quotes::{Quotes, words};
use super::{LeftOut, Passage, Question, Source};

/// How passages and questions are shared out.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub(crate) struct Shares {
    /// Fixes every choice.
    pub(crate) seed: u64,
    /// Share of a passage's questions that prove a gain and never drive the reward.
    pub(crate) confirmation: f64,
    /// Rounds that learn.
    pub(crate) rounds: u32,
    /// Passages that are measured and never learned from.
    pub(crate) held_out: usize,
    /// Passages that nobody sees, whose questions become the retention suite.
    pub(crate) retention: usize,
    /// Longest passage, in characters.
    pub(crate) longest_passage_chars: usize,
}

/// What goes where.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    /// The teacher's, in the order of the source.
    pub(crate) contexts: Vec<ContextRow>,
    /// The auditor's, in the same order.
    pub(crate) tau: Vec<Tau>,
    /// The auditor's suite of knowledge that must survive.
    pub(crate) retention: Vec<Item>,
    /// The conductor's: no texts.
    pub(crate) refs: Vec<ContextRef>,
    /// Everything that was not taken over.
    pub(crate) left_out: Vec<LeftOut>,
}

/// A row of the teacher's contexts.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct ContextRow {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) text: String,
}

/// Shares out what a source holds.
pub(crate) fn part(source: Source, shares: &Shares) -> Parts {
    let mut parts = Parts { left_out: source.left_out, ..Parts::default() };
    let passages = distinct(source.passages, shares, &mut parts.left_out);
    let passages = without_quoted_questions(passages, &mut parts.left_out);
    let passages = with_questions(passages, &mut parts.left_out);
    let uses = uses(&passages, shares);
    for (passage, usage) in passages.into_iter().zip(uses) {
        match usage {
            None => parts.retention.extend(items(&passage, passage.questions.iter())),
            Some(usage) => parts.take(passage, usage, shares),
        }
    }
    parts
}

impl Parts {
    fn take(&mut self, passage: Passage, usage: ContextUse, shares: &Shares) {
        let digest = sha256(passage.text.as_bytes());
        let (reward, confirmation) = split(&passage, &digest, shares);
        self.tau.push(Tau {
            context_digest: digest,
            context_id: passage.id.clone(),
            reward: items(&passage, reward.into_iter()),
            confirmation: items(&passage, confirmation.into_iter()),
            protected: Vec::new(),
            source: passage.origin.clone(),
            earlier: Vec::new(),
        });
        self.refs.push(ContextRef { id: passage.id.clone(), digest, usage });
        let Passage { id, title, text, .. } = passage;
        self.contexts.push(ContextRow { id, title, text });
    }
}

/// Passages with text, each once; a repeated one hands its questions to the first.
fn distinct(passages: Vec<Passage>, shares: &Shares, left_out: &mut Vec<LeftOut>) -> Vec<Passage> {
    let mut kept: Vec<Passage> = Vec::new();
    let mut by_text: BTreeMap<Digest, usize> = BTreeMap::new();
    let mut names = BTreeSet::new();
    for mut passage in passages {
        let mut leave_out = |reason: String| {
            left_out.push(LeftOut { place: passage.id.clone(), reason });
        };
        if passage.text.trim().is_empty() {
            leave_out("the passage is empty".to_owned());
            continue;
        }
        let longest = shares.longest_passage_chars;
        if passage.text.chars().count() > longest {
            leave_out(format!(
                "the passage is longer than {longest} characters; cut it into several"
            ));
            continue;
        }
        let digest = sha256(passage.text.as_bytes());
        if let Some(&first) = by_text.get(&digest) {
            leave_out(format!("the same text as {}", kept[first].id));
            kept[first].questions.append(&mut passage.questions);
            continue;
        }
        if !names.insert(passage.id.clone()) {
            passage.id = format!("{}-{}", passage.id, digest.short());
        }
        by_text.insert(digest, kept.len());
        kept.push(passage);
    }
    kept.iter_mut().for_each(|passage| distinct_questions(passage, left_out));
    kept
}

fn distinct_questions(passage: &mut Passage, left_out: &mut Vec<LeftOut>) {
    let mut seen: BTreeMap<Vec<String>, String> = BTreeMap::new();
    let mut places = BTreeSet::new();
    passage.questions.retain_mut(|question| {
        // Passages that were joined may count their questions alike.
        while !places.insert(question.place.clone()) {
            question.place.push('\'');
        }
        let reason = if question.question.trim().is_empty() || question.answer.trim().is_empty() {
            Some("question or answer is empty".to_owned())
        } else {
            let earlier = seen.insert(words(&question.question), question.place.clone());
            earlier.map(|earlier| format!("asks the same as {earlier}"))
        };
        let keep = reason.is_none();
        if let Some(reason) = reason {
            left_out.push(LeftOut { place: question.place.clone(), reason });
        }
        keep
    });
}

/// A question that a passage quotes would reach the teacher with it.
fn without_quoted_questions(
    mut passages: Vec<Passage>,
    left_out: &mut Vec<LeftOut>,
) -> Vec<Passage> {
    let quotes = Quotes::of(&passages);
    for passage in &mut passages {
        passage.questions.retain(|question| {
            let quoting = quotes.find(&question.question);
            if let Some(id) = quoting {
                let reason = format!("stands word for word in {id}");
                left_out.push(LeftOut { place: question.place.clone(), reason });
            }
            quoting.is_none()
        });
    }
    passages
}

/// One question drives the reward, one proves the gain: a passage with fewer proves nothing.
fn with_questions(passages: Vec<Passage>, left_out: &mut Vec<LeftOut>) -> Vec<Passage> {
    let (with, without): (Vec<Passage>, Vec<Passage>) =
        passages.into_iter().partition(|passage| passage.questions.len() >= 2);
    left_out.extend(without.into_iter().map(|passage| {
        let reason = match passage.questions.len() {
            0 => "no question about it is left, so nothing could be proven",
            _ => "it has one question alone: none is left to prove a gain with",
        };
        LeftOut { place: passage.id, reason: reason.to_owned() }
    }));
    with
}

/// What each passage is for; `None`: the retention suite. Passages whose round the source names keep
/// it; of the others the last ones in the drawn order are held out, those before them nobody sees, the
/// first ones learn, the same number in each round.
fn uses(passages: &[Passage], shares: &Shares) -> Vec<Option<ContextUse>> {
    let mut uses: Vec<Option<ContextUse>> =
        passages.iter().map(|passage| passage.round.map(ContextUse::Round)).collect();
    let mut free: Vec<usize> = (0..passages.len()).filter(|&at| uses[at].is_none()).collect();
    free.sort_by_key(|&at| drawn(shares.seed, &[passages[at].text.as_bytes()]));
    let held_out = free.split_off(free.len().saturating_sub(shares.held_out));
    let retention = free.split_off(free.len().saturating_sub(shares.retention));
    held_out.into_iter().for_each(|at| uses[at] = Some(ContextUse::Evaluation));
    retention.into_iter().for_each(|at| uses[at] = None);
    let rounds = shares.rounds.max(1) as usize;
    for (index, &at) in free.iter().enumerate() {
        let round = index * rounds / free.len() + 1;
        uses[at] = Some(ContextUse::Round(round as u32));
    }
    uses
}

/// Reward and confirmation, of two questions at least: each gets one.
fn split<'a>(
    passage: &'a Passage,
    digest: &Digest,
    shares: &Shares,
) -> (Vec<&'a Question>, Vec<&'a Question>) {
    let mut questions: Vec<&Question> = passage.questions.iter().collect();
    let order = |question: &&Question| {
        drawn(shares.seed, &[digest.as_bytes(), question.question.as_bytes()])
    };
    questions.sort_by_key(order);
    let wanted = (questions.len() as f64 * shares.confirmation).round() as usize;
    let most = questions.len().saturating_sub(1);
    let confirmation = questions.split_off(questions.len() - wanted.clamp(most.min(1), most));
    (questions, confirmation)
}

/// A place in an order that seed and parts fix; parts are length-prefixed, so that no two share one.
fn drawn(seed: u64, parts: &[&[u8]]) -> Digest {
    let mut bytes = seed.to_le_bytes().to_vec();
    for part in parts {
        bytes.extend((part.len() as u64).to_le_bytes());
        bytes.extend(*part);
    }
    sha256(&bytes)
}

fn items<'a>(passage: &Passage, questions: impl Iterator<Item = &'a Question>) -> Vec<Item> {
    let item = |question: &Question| Item {
        id: format!("{}/{}", passage.id, question.place),
        question: question.question.trim().to_owned(),
        answer: question.answer.trim().to_owned(),
        kind: ItemKind::Forward,
        topic: Some(passage.title.clone()),
    };
    questions.map(item).collect()
}
