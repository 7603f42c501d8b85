//! Who reads what in a step: joining, memory and the sharing of beginnings.
//!
//! A request waits while another one is reading a beginning that it can share. A text whose memory
//! older ones need goes back to the line and reads again later.
//!
//! **Invariant:** the oldest live text always goes on, so every request comes to its end.

use super::generator::Generator;
use super::live::Live;
use crate::past::{Pool, common_length};

/// Tokens from which a common beginning is worth sharing.
pub(crate) const MIN_SHARED: usize = 16;
/// Tokens from which it is worth waiting until another sequence has read them.
pub(crate) const WORTH_WAITING: usize = 8;

impl Generator {
    /// Lets waiting requests in while there is room.
    pub(super) fn admit(&mut self) {
        let mut skipped = Vec::new();
        let mut looked_at = 0;
        while self.live.len() < self.limits.live && looked_at < self.limits.live {
            let Some(mut text) = self.waiting.pop_front() else { break };
            looked_at += 1;
            if self.sibling_is_reading(&text) {
                skipped.push(text);
                continue;
            }
            if text.writer.has_ended() {
                self.live.push(text);
                continue;
            }
            text.begin(&mut self.prefixes);
            let blocks = text.blocks_to_read() + self.live.len() + 1;
            if !self.make_room(blocks) && !self.live.is_empty() {
                text.release(&self.pool);
                skipped.push(text);
                break;
            }
            self.statistics.reused_tokens += text.count_reused();
            self.live.push(text);
        }
        skipped.into_iter().rev().for_each(|text| self.waiting.push_front(text));
        self.live.sort_by_key(|text| text.adapter_order());
    }

    /// True if a live text is reading a longer common beginning than is remembered already.
    fn sibling_is_reading(&self, text: &Live) -> bool {
        self.prefixes.max_bytes() > 0
            && self.live.iter().filter(|live| live.is_reading_prompt()).any(|live| {
                live.same_adapter(text)
                    && common_length(live.writer.prompt(), text.writer.prompt())
                        >= MIN_SHARED.max(live.began_at + WORTH_WAITING)
            })
    }

    /// Frees remembered beginnings until `blocks` fit. False if that was not enough.
    fn make_room(&mut self, blocks: usize) -> bool {
        let needed = blocks * self.pool.block_bytes();
        let fits = |pool: &Pool| pool.bytes_in_use() + needed <= self.limits.cache_bytes;
        while !fits(&self.pool) && self.prefixes.bytes() > 0 {
            let surplus = self.pool.bytes_in_use() + needed - self.limits.cache_bytes;
            self.prefixes.shrink(self.prefixes.bytes().saturating_sub(surplus));
        }
        fits(&self.pool)
    }

    /// Decides how many tokens each live text reads now, within memory and the limits.
    pub(super) fn plan(&mut self) {
        loop {
            let mut left = self.limits.read_tokens.max(1);
            for text in &mut self.live {
                text.plan(&mut left);
            }
            let blocks = self.live.iter().map(Live::blocks_planned).sum();
            if self.make_room(blocks) || self.live.len() <= 1 {
                return;
            }
            self.put_back_youngest();
        }
    }

    fn put_back_youngest(&mut self) {
        let youngest = (0..self.live.len()).max_by_key(|&at| self.live[at].writer.ticket);
        if let Some(at) = youngest {
            let mut text = self.live.remove(at);
            text.release(&self.pool);
            self.waiting.push_front(text);
        }
    }

    pub(super) fn count(&mut self) {
        for text in &mut self.live {
            text.count_read(&mut self.statistics);
        }
    }

    /// Remembers prompts that were just read, as far as somebody may want them.
    pub(super) fn share(&mut self) {
        for text in self.live.iter().filter(|text| text.has_just_read_prompt()) {
            let prompt = text.writer.prompt();
            let common = |other: &Live| common_length(prompt, other.writer.prompt());
            let wanted = if self.remembers {
                prompt.len()
            } else {
                let next = self.waiting.iter().take(self.limits.live);
                next.filter(|other| other.same_adapter(text)).map(common).max().unwrap_or(0)
            };
            if wanted >= MIN_SHARED {
                let end = text.end.as_deref().filter(|_| wanted == text.past.len());
                self.prefixes.insert(&text.key, &prompt[..wanted], &text.past, end);
            }
        }
    }
}
