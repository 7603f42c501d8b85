//! Texts written side by side by the engine of [`crate::device`].
//!
//! All live texts go forward by one token in one step, each with its own adapter. Texts that wait
//! join together when there is room for many of them, because every change of company moves keys and
//! values once.

use super::layout::{Layout, MOST_PADDING, Shared, position};
use super::live::Live;
use super::request::{Limits, Statistics, Ticket};
use super::writer::{Listener, Writer};
use crate::decoder::Decoder;
use crate::device::{Cache, Choice, LoraStack, choices, read_next, read_prompts};
use crate::error::Result;
use crate::lora::Adapter;
use candle_core::Tensor;
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;

/// Most columns that a cache has to spare for the next steps.
const MOST_AHEAD: usize = 128;
/// Rows of one forward over prompts.
const PROMPT_ROWS: usize = 16_384;

/// A text that is being written.
struct Text {
    writer: Writer,
    adapter: Shared,
    /// Tokens read so far.
    read: usize,
    slot: usize,
}

/// The texts of one generator.
pub(super) struct Cohort {
    decoder: Decoder,
    texts: Vec<Text>,
    cache: Option<Cache>,
    /// Of the slots' groups.
    stack: Option<LoraStack>,
    /// Adapters on the device, and those in the order of their groups; the last may be none.
    known: (Vec<Shared>, Option<LoraStack>),
}

impl Cohort {
    pub(super) fn new(decoder: &Decoder) -> Self {
        Self {
            decoder: decoder.clone(),
            texts: Vec::new(),
            cache: None,
            stack: None,
            known: (Vec::new(), None),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    pub(super) fn cancel(&mut self, ticket: Ticket) {
        self.texts.retain(|text| text.writer.ticket != ticket);
    }

    /// Lets `waiting` texts in or goes on by one token of every text; tells `listener`. False if
    /// there was nothing to do.
    pub(super) fn step(
        &mut self,
        waiting: &mut VecDeque<Live>,
        limits: Limits,
        statistics: &mut Statistics,
        listener: &mut Listener<'_>,
    ) -> Result<bool> {
        let joining = self.admit(waiting, limits);
        if self.texts.is_empty() && joining.is_empty() {
            return Ok(false);
        }
        match joining.is_empty() {
            false => self.join(joining, statistics)?,
            true => self.advance(statistics)?,
        }
        self.report(listener);
        Ok(true)
    }

    /// Takes texts out of the line once half of the room is free.
    fn admit(&self, waiting: &mut VecDeque<Live>, limits: Limits) -> Vec<Text> {
        let mut joining: Vec<Text> = Vec::new();
        if 2 * self.texts.len() > limits.live {
            return joining;
        }
        let longest = |writer: &Writer| writer.most_tokens();
        let mut columns = self.texts.iter().map(|text| longest(&text.writer)).max().unwrap_or(0);
        while self.texts.len() + joining.len() < limits.live {
            let Some(next) = waiting.front() else { break };
            columns = columns.max(longest(&next.writer));
            let texts = self.texts.len() + joining.len() + 1;
            let slots = texts + texts * MOST_PADDING / 100;
            if slots * columns * self.position_bytes() > limits.cache_bytes && texts > 1 {
                break;
            }
            if let Some(live) = waiting.pop_front() {
                let (writer, adapter) = live.into_parts();
                joining.push(Text { writer, adapter, read: 0, slot: 0 });
            }
        }
        joining
    }

    /// Bytes of one position's keys and values.
    fn position_bytes(&self) -> usize {
        let config = self.decoder.config();
        let numbers = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim;
        numbers * size_of::<f32>()
    }

    /// Reads the prompts of `joining` and lets each choose its first token.
    fn join(&mut self, joining: Vec<Text>, statistics: &mut Statistics) -> Result<()> {
        // Texts that ask for nothing are only reported.
        let (idle, mut joining): (Vec<Text>, Vec<Text>) =
            joining.into_iter().partition(|text| text.writer.has_ended());
        if joining.is_empty() {
            self.texts.extend(idle);
            return Ok(());
        }
        let everyone = self.texts.iter().chain(&joining).map(|text| text.adapter.clone());
        self.know(&everyone.collect::<Vec<_>>())?;
        let (mut caches, mut sources) = (Vec::new(), Vec::new());
        for texts in forwards(&joining) {
            let (cache, order) = self.read(&mut joining, &texts, statistics)?;
            let part = usize::from(self.cache.is_some()) + caches.len();
            sources.extend(order.into_iter().enumerate().map(|(slot, text)| (text, (part, slot))));
            caches.push(cache);
        }
        sources.sort_unstable();
        let moved = self.texts.iter().map(|text| (0, text.slot));
        let sources: Vec<_> = moved.chain(sources.into_iter().map(|(_, from)| from)).collect();
        self.texts.append(&mut joining);
        self.arrange(&caches, &sources)?;
        self.texts.extend(idle);
        Ok(())
    }

    /// Reads the prompts of some of `joining` in one forward.
    ///
    /// Returns their past and the number of each slot's text.
    fn read(
        &mut self,
        joining: &mut [Text],
        texts: &[usize],
        statistics: &mut Statistics,
    ) -> Result<(Cache, Vec<usize>)> {
        let adapters: Vec<Shared> = texts.iter().map(|&at| joining[at].adapter.clone()).collect();
        let layout = Layout::new(&adapters);
        let stack = self.stack_of(&layout)?;
        let prompts: Vec<Vec<&[u32]>> = layout
            .groups
            .iter()
            .map(|group| group.iter().map(|&at| joining[texts[at]].writer.tokens()).collect())
            .collect();
        let (ends, cache) = read_prompts(&self.decoder, stack.as_ref(), &prompts)?;
        let order: Vec<usize> = layout.groups.concat().into_iter().map(|at| texts[at]).collect();
        for &at in &order {
            joining[at].read = joining[at].writer.tokens().len();
            statistics.prefilled_tokens += joining[at].read as u64;
        }
        let rows: BTreeMap<usize, usize> = order.iter().copied().zip(0..).collect();
        let numbered = joining.iter_mut().enumerate();
        let mut choosing: Vec<(usize, &mut Writer)> =
            numbered.filter_map(|(at, text)| Some((*rows.get(&at)?, &mut text.writer))).collect();
        choosing.sort_by_key(|(row, _)| *row);
        choose(&self.decoder, &ends, choosing)?;
        Ok((cache, order))
    }

    /// One token of every text.
    fn advance(&mut self, statistics: &mut Statistics) -> Result<()> {
        let is_sparse =
            self.cache.as_ref().is_some_and(|cache| cache.slots() > 2 * self.texts.len());
        if is_sparse || self.cache.as_ref().is_some_and(Cache::is_full) {
            let slots: Vec<_> = self.texts.iter().map(|text| (0, text.slot)).collect();
            self.arrange(&[], &slots)?;
        }
        let Some(cache) = &mut self.cache else { return Ok(()) };
        let mut next = vec![None; cache.slots()];
        for text in &mut self.texts {
            let token = text.writer.tokens()[text.read];
            next[text.slot] = Some((token, u32::try_from(text.read).unwrap_or(u32::MAX)));
            text.read += 1;
        }
        let hidden = read_next(&self.decoder, self.stack.as_ref(), cache, &next)?;
        statistics.decoded_tokens += self.texts.len() as u64;
        // A text whose next tokens are forced reads them first.
        let choosing = self.texts.iter_mut().filter(|text| text.read == text.writer.tokens().len());
        let mut choosing: Vec<(usize, &mut Writer)> =
            choosing.map(|text| (text.slot, &mut text.writer)).collect();
        choosing.sort_by_key(|(slot, _)| *slot);
        choose(&self.decoder, &hidden, choosing)
    }

    /// Gives every text a new slot: `sources` says in which part, and where in it, each one's past
    /// lies. The parts are the cache there is and `more`.
    fn arrange(&mut self, more: &[Cache], sources: &[(usize, usize)]) -> Result<()> {
        let adapters: Vec<Shared> = self.texts.iter().map(|text| text.adapter.clone()).collect();
        let layout = Layout::new(&adapters);
        let mut wanted = vec![None; layout.groups.len() * layout.places];
        for (number, group) in layout.groups.iter().enumerate() {
            for (place, &text) in group.iter().enumerate() {
                let slot = number * layout.places + place;
                (wanted[slot], self.texts[text].slot) = (Some(sources[text]), slot);
            }
        }
        let left = self.texts.iter().map(|text| text.writer.tokens_left() + 1).max().unwrap_or(1);
        let parts: Vec<&Cache> = self.cache.iter().chain(more).collect();
        let cache = Cache::arranged(&self.decoder, &parts, &wanted, left.min(MOST_AHEAD))?;
        self.stack = self.stack_of(&layout)?;
        self.cache = Some(cache);
        Ok(())
    }

    /// Puts the adapters of all texts on the device, unless they are there.
    fn know(&mut self, adapters: &[Shared]) -> Result<()> {
        let mut wanted: Vec<Shared> = Vec::new();
        for adapter in adapters {
            if position(&wanted, adapter).is_none() {
                wanted.push(adapter.clone());
            }
        }
        if wanted.iter().all(|adapter| position(&self.known.0, adapter).is_some()) {
            return Ok(());
        }
        let slices: Vec<Option<&Adapter>> =
            wanted.iter().map(|one| one.as_ref().map(|shared| &*shared.adapter)).collect();
        let stack = LoraStack::of(self.decoder.config(), &slices, self.decoder.device())?;
        self.known = (wanted, stack);
        Ok(())
    }

    /// The factors of the layout's groups.
    fn stack_of(&self, layout: &Layout) -> Result<Option<LoraStack>> {
        let Some(known) = &self.known.1 else { return Ok(None) };
        let groups: Vec<usize> =
            layout.adapters.iter().filter_map(|one| position(&self.known.0, one)).collect();
        if groups.iter().copied().eq(0..self.known.0.len()) {
            return Ok(Some(known.clone()));
        }
        let groups: Vec<u32> = groups.into_iter().filter_map(|at| u32::try_from(at).ok()).collect();
        Ok(Some(known.select(&Tensor::new(groups.as_slice(), self.decoder.device())?)?))
    }

    fn report(&mut self, listener: &mut Listener<'_>) {
        self.texts.sort_by_key(|text| text.writer.ticket);
        self.texts.retain_mut(|text| text.writer.report(listener) == ControlFlow::Continue(()));
        if self.texts.is_empty() {
            // Nobody needs what they read, and memory may be wanted elsewhere.
            (self.cache, self.stack, self.known) = (None, None, (Vec::new(), None));
        }
    }
}

/// Lets each writer choose its next token by its row of `hidden`.
fn choose(decoder: &Decoder, hidden: &Tensor, writers: Vec<(usize, &mut Writer)>) -> Result<()> {
    let rows: Vec<u32> = writers.iter().filter_map(|(row, _)| u32::try_from(*row).ok()).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let rows = hidden.index_select(&Tensor::new(rows.as_slice(), hidden.device())?, 0)?;
    let wants_all: Vec<bool> = writers.iter().map(|(_, writer)| !writer.takes_best()).collect();
    let mut writers = writers.into_iter();
    choices(decoder, &rows, &wants_all, &mut |choice| {
        if let Some((_, writer)) = writers.next() {
            match choice {
                Choice::Best(token) => writer.take(token),
                Choice::Logits(logits) => writer.choose(logits),
            }
        }
    })
}

/// Texts, by number, that are read in one forward.
fn forwards(texts: &[Text]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..texts.len()).collect();
    // Prompts of similar length waste the least of their rectangle.
    order.sort_by_key(|&at| texts[at].writer.tokens().len());
    let mut forwards: Vec<Vec<usize>> = Vec::new();
    for at in order {
        let len = texts[at].writer.tokens().len();
        match forwards.last_mut().filter(|last| (last.len() + 1) * len <= PROMPT_ROWS) {
            Some(last) => last.push(at),
            None => forwards.push(vec![at]),
        }
    }
    forwards
}
