//! Texts that are being read and written, and one step of them.

use super::request::Statistics;
use super::schedule::MIN_SHARED;
use super::writer::Writer;
use crate::decoder::Decoder;
use crate::error::Result;
use crate::lora::Adapter;
use crate::ops::{tensor, values};
use crate::past::{AdapterKey, Past, Pool, PrefixCache, Read, read};
use crate::score::is_large;
use rayon::prelude::*;
use std::sync::Arc;

/// Logits held at once.
const CHUNK_ELEMENTS: usize = 16 << 20;
/// Logits from which the choices are spread over the threads of the pool.
const PARALLEL_FROM: usize = 1 << 18;
/// Rows from which a forward of a small model is worth a thread of its own.
const ROWS_PER_THREAD: usize = 8;
/// Tokens of a text that are read whatever the budget for prompts: forced ones come in runs.
const ALWAYS_READ: usize = 8;

/// An adapter, and what makes it the same as another one.
pub(super) struct SharedAdapter {
    pub(super) adapter: Arc<Adapter>,
    pub(super) key: AdapterKey,
}

impl SharedAdapter {
    pub(super) fn new(adapter: Arc<Adapter>) -> Self {
        Self { key: AdapterKey::of(Some(&adapter)), adapter }
    }
}

/// A text with its past.
pub(super) struct Live {
    pub(super) writer: Writer,
    adapter: Option<Arc<SharedAdapter>>,
    pub(super) key: AdapterKey,
    pub(super) past: Past,
    /// Positions that were remembered when it began.
    pub(super) began_at: usize,
    /// Residual stream after the last token of the prompt (or, for a text that begins again, of
    /// the text), once that was read.
    pub(super) end: Option<Vec<f32>>,
    /// Index of its adapter among those of this step.
    slot: Option<usize>,
    /// Positions already counted in the statistics.
    counted: usize,
    /// Tokens to read in this step.
    planned: usize,
    /// Positions known before this step.
    before: usize,
}

impl Live {
    pub(super) fn new(writer: Writer, adapter: Option<Arc<SharedAdapter>>, past: Past) -> Self {
        let key = adapter.as_ref().map_or_else(|| AdapterKey::of(None), |a| a.key.clone());
        Self {
            writer,
            adapter,
            key,
            past,
            began_at: 0,
            end: None,
            slot: None,
            counted: 0,
            planned: 0,
            before: 0,
        }
    }

    /// Its writer and adapter, for an engine that keeps another past.
    pub(super) fn into_parts(self) -> (Writer, Option<Arc<SharedAdapter>>) {
        (self.writer, self.adapter)
    }

    /// Texts with the same adapter lie together, and those with a common beginning.
    pub(super) fn order(&self) -> (usize, &[u32]) {
        (self.adapter_order(), self.writer.tokens())
    }

    pub(super) fn adapter_order(&self) -> usize {
        self.adapter.as_ref().map_or(0, |adapter| Arc::as_ptr(adapter) as usize)
    }

    pub(super) fn same_adapter(&self, other: &Self) -> bool {
        self.adapter_order() == other.adapter_order()
    }

    /// Begins after what is remembered of its tokens.
    pub(super) fn begin(&mut self, prefixes: &mut PrefixCache) {
        let tokens = self.writer.tokens();
        if let Some(mut found) = prefixes.find(&self.key, tokens) {
            if found.end.is_none() {
                found.past.truncate(tokens.len() - 1);
            }
            if found.past.len() >= MIN_SHARED {
                (self.past, self.end) = (found.past, found.end);
            }
        }
        self.began_at = self.past.len();
    }

    /// Gives its memory back, to read everything again later.
    pub(super) fn release(&mut self, pool: &Arc<Pool>) {
        (self.past, self.end) = (Past::new(pool), None);
    }

    pub(super) fn is_reading_prompt(&self) -> bool {
        self.past.len() < self.writer.prompt_len()
    }

    pub(super) fn has_just_read_prompt(&self) -> bool {
        let prompt = self.writer.prompt_len();
        self.before < prompt && prompt <= self.past.len()
    }

    fn unread(&self) -> usize {
        if self.writer.has_ended() { 0 } else { self.writer.tokens().len() - self.past.len() }
    }

    /// Blocks that reading everything, and one more token, takes.
    pub(super) fn blocks_to_read(&self) -> usize {
        self.past.blocks_for(self.unread() + 1)
    }

    pub(super) fn blocks_planned(&self) -> usize {
        self.past.blocks_for(self.planned)
    }

    /// Takes its share of the step's `left` prompt tokens.
    pub(super) fn plan(&mut self, left: &mut usize) {
        let unread = self.unread();
        self.before = self.past.len();
        self.planned = if unread <= ALWAYS_READ {
            unread
        } else {
            let share = unread.min(*left);
            *left -= share;
            share
        };
    }

    /// Prompt tokens that it need not read, if they were not counted yet.
    pub(super) fn count_reused(&mut self) -> u64 {
        let known = self.past.len().min(self.writer.prompt_len());
        let reused = known.saturating_sub(self.counted);
        self.counted = self.counted.max(self.past.len());
        reused as u64
    }

    /// Counts what this step read.
    pub(super) fn count_read(&mut self, statistics: &mut Statistics) {
        let (prompt, now) = (self.writer.prompt_len(), self.past.len());
        let fresh = self.before.max(self.counted.min(now))..now;
        let of_prompt = fresh.end.min(prompt).saturating_sub(fresh.start);
        statistics.prefilled_tokens += of_prompt as u64;
        statistics.decoded_tokens += (fresh.len() - of_prompt) as u64;
        statistics.repeated_tokens += (fresh.start - self.before) as u64;
        self.counted = self.counted.max(now);
    }
}

/// One step of every text: reads what is planned, and chooses the next token of those that have
/// read everything. `live` is ordered by adapter.
pub(super) fn advance(decoder: &Decoder, live: &mut [Live]) -> Result<()> {
    let adapters = assign_slots(live);
    let adapters: Vec<&Adapter> = adapters.iter().map(|shared| &*shared.adapter).collect();
    let rows: usize = live.iter().map(|text| text.planned.max(1)).sum();
    let threads = if is_large(decoder) { 1 } else { rayon::current_num_threads() };
    let parts = split(live, rows, threads.min(rows / ROWS_PER_THREAD));
    if let [_] = parts[..] {
        return parts.into_iter().try_for_each(|part| advance_part(decoder, &adapters, part));
    }
    parts.into_par_iter().try_for_each(|part| advance_part(decoder, &adapters, part))
}

fn assign_slots(live: &mut [Live]) -> Vec<Arc<SharedAdapter>> {
    let mut adapters: Vec<Arc<SharedAdapter>> = Vec::new();
    for text in live {
        let Some(adapter) = &text.adapter else { continue };
        if adapters.last().is_none_or(|last| !Arc::ptr_eq(last, adapter)) {
            adapters.push(adapter.clone());
        }
        text.slot = Some(adapters.len() - 1);
    }
    adapters
}

/// Cuts `live` into about `parts` runs with about equally many of the `rows`.
fn split(mut live: &mut [Live], rows: usize, parts: usize) -> Vec<&mut [Live]> {
    let share = rows.div_ceil(parts.max(1));
    let mut runs = Vec::new();
    while !live.is_empty() {
        let mut taken = 0;
        let more = |text: &Live| {
            taken += text.planned.max(1);
            taken <= share
        };
        let len = live.iter().map(more).take_while(|&more| more).count().max(1);
        let (run, rest) = live.split_at_mut(len);
        runs.push(run);
        live = rest;
    }
    runs
}

fn advance_part(decoder: &Decoder, adapters: &[&Adapter], part: &mut [Live]) -> Result<()> {
    read_planned(decoder, adapters, part)?;
    let mut choosing: Vec<&mut Live> = part.iter_mut().filter(|text| text.unread() == 0).collect();
    choosing.retain(|text| !text.writer.has_ended());
    choose(decoder, &mut choosing)
}

/// Reads what is planned, and keeps the residual stream after each text's last token.
fn read_planned(decoder: &Decoder, adapters: &[&Adapter], part: &mut [Live]) -> Result<()> {
    let mut reads = Vec::new();
    for Live { writer, past, slot, planned, .. } in part.iter_mut().filter(|t| t.planned > 0) {
        let tokens = &writer.tokens()[past.len()..][..*planned];
        reads.push(Read { tokens, adapter: *slot, past });
    }
    if reads.is_empty() {
        return Ok(());
    }
    let (hidden, spans) = read(decoder, adapters, &mut reads)?;
    let (width, hidden) = (hidden.dim(1)?, values(&hidden)?);
    for (text, span) in part.iter_mut().filter(|t| t.planned > 0).zip(spans) {
        let last = span.start + span.len - 1;
        text.end = Some(hidden[last * width..][..width].to_vec());
    }
    Ok(())
}

/// Lets each text choose its next token by its `end`.
fn choose(decoder: &Decoder, texts: &mut [&mut Live]) -> Result<()> {
    let (vocab, head) = (decoder.config().vocab_size, &decoder.weights().head);
    let step = (CHUNK_ELEMENTS / vocab).max(1);
    for texts in texts.chunks_mut(step) {
        let ends: Vec<f32> =
            texts.iter().flat_map(|text| text.end.iter().flatten().copied()).collect();
        let ends = tensor(ends, (texts.len(), decoder.config().hidden_size))?;
        let (normed, _) = decoder.final_norm(&ends)?;
        let mut logits = vec![0.0; texts.len() * vocab];
        head.forward_into(&mut logits, &values(&normed)?, texts.len())?;
        if logits.len() >= PARALLEL_FROM && rayon::current_num_threads() > 1 {
            let rows = logits.par_chunks_exact_mut(vocab).zip(texts.par_iter_mut());
            rows.for_each(|(logits, text)| text.writer.choose(logits));
        } else {
            let rows = logits.chunks_exact_mut(vocab).zip(texts);
            rows.for_each(|(logits, text)| text.writer.choose(logits));
        }
    }
    Ok(())
}
