//! Items that begin alike: what they have in common is read once.
//!
//! Items are taken in the order of their tokens, wave by wave. An item waits for the next wave if one
//! in this wave reads a beginning that it can share.

use super::{Judge, Task, by_tokens, is_large, sequence, shard_tokens};
use crate::error::Result;
use crate::generate::{MIN_SHARED, Statistics, WORTH_WAITING};
use crate::ops::{tensor, values};
use crate::past::{AdapterKey, Past, PrefixCache, Read, common_length, read};
use rayon::prelude::*;

/// Bytes of keys and values that one wave may take.
const WAVE_BYTES: usize = 1 << 30;

/// An item with its past.
struct Reading {
    index: usize,
    tokens: Vec<u32>,
    prompt_len: usize,
    past: Past,
    /// Positions that were known before this wave.
    began_at: usize,
    /// Residual rows `[n, d]` from the prompt's last token on.
    rows: Vec<f32>,
}

/// Cuts `order`, which lies by adapter and tokens, into items that begin like a neighbour and items
/// that do not.
pub(super) fn split(task: Task<'_>, order: Vec<usize>) -> (Vec<usize>, Vec<usize>) {
    let alike = |a: usize, b: usize| {
        let (a, b) = (&task.items[a], &task.items[b]);
        let shorter = a.prompt.len().min(b.prompt.len());
        a.adapter == b.adapter
            && shorter >= MIN_SHARED
            && common_length(&a.prompt, &b.prompt) >= MIN_SHARED
    };
    let mut together = vec![false; order.len()];
    for at in 1..order.len() {
        if alike(order[at - 1], order[at]) {
            (together[at - 1], together[at]) = (true, true);
        }
    }
    let (shared, alone): (Vec<_>, Vec<_>) = order.into_iter().zip(together).partition(|&(_, t)| t);
    let indices = |items: Vec<(usize, bool)>| items.into_iter().map(|(index, _)| index).collect();
    (indices(shared), indices(alone))
}

/// The readings of one scoring.
pub(super) struct Together<'a> {
    pub(super) task: Task<'a>,
    /// By adapter, the base last.
    pub(super) keys: Vec<AdapterKey>,
    pub(super) prefixes: &'a mut PrefixCache,
    /// Every prompt is remembered, not only what other items want.
    pub(super) remembers: bool,
    pub(super) statistics: &'a mut Statistics,
}

impl Together<'_> {
    /// Judges the answers of the items `waiting`, which lie by adapter and tokens.
    pub(super) fn judge<T: Send>(
        &mut self,
        mut waiting: Vec<usize>,
        judge: &Judge<'_, T>,
    ) -> Result<Vec<(usize, Vec<T>)>> {
        let mut judged = Vec::with_capacity(waiting.len());
        while !waiting.is_empty() {
            let (mut wave, later) = self.next_wave(&waiting);
            self.read_wave(&mut wave)?;
            self.remember(&wave, &later);
            let parts = wave.par_chunks(self.share(wave.len()));
            let answers: Vec<Vec<(usize, Vec<T>)>> =
                parts.map(|part| judge_part(self.task, part, judge)).collect::<Result<_>>()?;
            judged.extend(answers.into_iter().flatten());
            waiting = later;
        }
        Ok(judged)
    }

    fn key(&self, index: usize) -> &AdapterKey {
        let adapter = self.task.items[index].adapter;
        &self.keys[adapter.unwrap_or(self.keys.len() - 1)]
    }

    /// The items to read now, and those to read later.
    fn next_wave(&mut self, waiting: &[usize]) -> (Vec<Reading>, Vec<usize>) {
        let pool = self.prefixes.pool_for(self.task.decoder);
        let (mut tokens, mut bytes) = (shard_tokens(self.task.decoder), WAVE_BYTES);
        let (mut wave, mut later): (Vec<Reading>, Vec<usize>) = (Vec::new(), Vec::new());
        for (at, &index) in waiting.iter().enumerate() {
            if self.is_being_read(&wave, index) {
                later.push(index);
                continue;
            }
            let reading = self.begin(index);
            let cost = reading.unread().len();
            let blocks = reading.past.blocks_for(cost) * pool.block_bytes();
            if (cost > tokens || blocks > bytes) && !wave.is_empty() {
                later.extend(&waiting[at..]);
                break;
            }
            (tokens, bytes) = (tokens.saturating_sub(cost), bytes.saturating_sub(blocks));
            wave.push(reading);
        }
        (wave, later)
    }

    /// True if the last of `wave`, the nearest in the order of tokens, reads what `index` can share.
    fn is_being_read(&self, wave: &[Reading], index: usize) -> bool {
        wave.last().is_some_and(|last| {
            self.task.items[last.index].adapter == self.task.items[index].adapter
                && common_length(&last.tokens, &self.task.items[index].prompt)
                    >= MIN_SHARED.max(last.began_at + WORTH_WAITING)
        })
    }

    fn begin(&mut self, index: usize) -> Reading {
        let item = &self.task.items[index];
        let pool = self.prefixes.pool_for(self.task.decoder);
        let mut reading = Reading {
            index,
            tokens: sequence(item),
            prompt_len: item.prompt.len(),
            past: Past::new(&pool),
            began_at: 0,
            rows: Vec::new(),
        };
        let key = self.key(index).clone();
        if let Some(mut found) = self.prefixes.find(&key, &item.prompt) {
            if found.end.is_none() {
                found.past.truncate(item.prompt.len() - 1);
            }
            if found.past.len() >= MIN_SHARED {
                (reading.past, reading.rows) = (found.past, found.end.unwrap_or_default());
                reading.began_at = reading.past.len();
            }
        }
        reading
    }

    fn read_wave(&mut self, wave: &mut [Reading]) -> Result<()> {
        for reading in &mut *wave {
            self.statistics.reused_tokens += reading.began_at as u64;
            self.statistics.prefilled_tokens += reading.unread().len() as u64;
        }
        let share = self.share(wave.len());
        wave.par_chunks_mut(share).try_for_each(|part| read_part(self.task, part))
    }

    /// Readings for one thread of `all`; a large model's products take all threads themselves.
    fn share(&self, all: usize) -> usize {
        let threads = if is_large(self.task.decoder) { 1 } else { rayon::current_num_threads() };
        all.div_ceil(threads).max(1)
    }

    /// Remembers of each reading what items of a later wave, or any, may want.
    fn remember(&mut self, wave: &[Reading], later: &[usize]) {
        for reading in wave {
            let wanted = self.wanted(reading, later);
            let key = self.key(reading.index).clone();
            let prompt = &reading.tokens[..reading.prompt_len];
            if wanted >= prompt.len() {
                let end = &reading.rows[..self.task.decoder.config().hidden_size];
                self.prefixes.insert(&key, prompt, &reading.past, Some(end));
            }
            if wanted >= MIN_SHARED && wanted != prompt.len() {
                self.prefixes.insert(&key, &reading.tokens[..wanted], &reading.past, None);
            }
        }
    }

    /// How many of a reading's tokens others want: in the order of tokens, the nearest want most.
    fn wanted(&self, reading: &Reading, later: &[usize]) -> usize {
        let own = if self.remembers { reading.prompt_len } else { 0 };
        let items = self.task.items;
        let after = later.partition_point(|&i| by_tokens(&items[i], &items[reading.index]).is_lt());
        let nearest = later[..after].last().into_iter().chain(later.get(after));
        let same = nearest.filter(|&&i| items[i].adapter == items[reading.index].adapter);
        let common = same.map(|&i| common_length(&reading.tokens, &items[i].prompt));
        common.max().unwrap_or(0).max(own)
    }
}

impl Reading {
    /// The tokens to read; the last answer token predicts nothing we ask for.
    fn unread(&self) -> &[u32] {
        &self.tokens[self.past.len()..self.tokens.len() - 1]
    }
}

fn read_part(task: Task<'_>, part: &mut [Reading]) -> Result<()> {
    let mut reads = Vec::new();
    for Reading { index, tokens, past, .. } in part.iter_mut() {
        let unread = &tokens[past.len()..tokens.len() - 1];
        if !unread.is_empty() {
            reads.push(Read { tokens: unread, adapter: task.items[*index].adapter, past });
        }
    }
    if reads.is_empty() {
        return Ok(());
    }
    let (hidden, spans) = read(task.decoder, task.adapters, &mut reads)?;
    let (width, hidden) = (hidden.dim(1)?, values(&hidden)?);
    let read = part.iter_mut().filter(|reading| reading.began_at < reading.tokens.len() - 1);
    for (reading, span) in read.zip(spans) {
        let asked = reading.began_at.max(reading.prompt_len - 1) - reading.began_at;
        let rows = (span.start + asked) * width..(span.start + span.len) * width;
        reading.rows.extend_from_slice(&hidden[rows]);
    }
    Ok(())
}

fn judge_part<T>(
    task: Task<'_>,
    part: &[Reading],
    judge: &Judge<'_, T>,
) -> Result<Vec<(usize, Vec<T>)>> {
    let answer = |reading: &Reading| &task.items[reading.index].answer;
    let rows: Vec<f32> = part.iter().flat_map(|reading| &reading.rows).copied().collect();
    let targets: Vec<u32> = part.iter().flat_map(answer).copied().collect();
    let rows = tensor(rows, (targets.len(), task.decoder.config().hidden_size))?;
    let mut judged = judge(&rows, &targets)?.into_iter();
    let mine =
        |reading: &Reading| (reading.index, judged.by_ref().take(answer(reading).len()).collect());
    Ok(part.iter().map(mine).collect())
}
