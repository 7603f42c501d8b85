//! Many texts at once, each with its own adapter, joining and leaving as they come.
//!
//! **Invariant:** what a request gets depends on its own fields alone, not on the other requests,
//! the limits, the threads or what is remembered.
//!
//! In each step every live text reads what it has not read yet: a piece of its prompt, or the token
//! it wrote last. A text that has read everything chooses its next token. A request waits while
//! another one is reading a beginning that it can share, and a text whose memory is needed by older
//! ones goes back to the line and reads again later.

use super::generated::Generated;
use super::live::{Live, SharedAdapter, advance};
use super::request::{Event, Limits, Request, Statistics, Ticket};
use super::writer::{Listener, Writer};
use crate::decoder::Decoder;
use crate::error::{ModelError, Result};
use crate::lora::Adapter;
use crate::past::{Past, Pool, PrefixCache, common_length};
use crate::tokenizer::Tokenizer;
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::{Arc, Weak};

/// Tokens from which a common beginning is worth sharing.
pub(crate) const MIN_SHARED: usize = 16;
/// Bytes of beginnings kept for requests that wait, unless a prompt needs more.
const KEPT_FOR_WAITING: usize = 64 << 20;

/// Writes texts.
pub struct Generator {
    decoder: Decoder,
    tokenizer: Option<Arc<Tokenizer>>,
    limits: Limits,
    pool: Arc<Pool>,
    prefixes: PrefixCache,
    /// Prompts and texts are remembered even if nobody waits for them.
    remembers: bool,
    adapters: Vec<Weak<SharedAdapter>>,
    waiting: VecDeque<Live>,
    live: Vec<Live>,
    submitted: u64,
    statistics: Statistics,
}

impl Generator {
    /// A generator over `decoder`.
    #[must_use]
    pub fn new(decoder: &Decoder, limits: Limits) -> Self {
        let mut prefixes = PrefixCache::new(KEPT_FOR_WAITING);
        Self {
            pool: prefixes.pool_for(decoder),
            decoder: decoder.clone(),
            tokenizer: None,
            limits,
            prefixes,
            remembers: false,
            adapters: Vec::new(),
            waiting: VecDeque::new(),
            live: Vec::new(),
            submitted: 0,
            statistics: Statistics::default(),
        }
    }

    /// Gives each text as a string too, and looks for stop strings in it.
    #[must_use]
    pub fn with_tokenizer(mut self, tokenizer: Arc<Tokenizer>) -> Self {
        self.tokenizer = Some(tokenizer);
        self
    }

    /// Remembers prompts and texts in `prefixes`, beyond the requests that wait now.
    #[must_use]
    pub fn with_prefixes(mut self, mut prefixes: PrefixCache) -> Self {
        self.pool = prefixes.pool_for(&self.decoder);
        (self.prefixes, self.remembers) = (prefixes, true);
        self
    }

    /// What it remembers, for another generator or for scoring.
    #[must_use]
    pub fn into_prefixes(self) -> PrefixCache {
        self.prefixes
    }

    /// What it has done so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.statistics
    }

    /// Most bytes of keys and values that were held at once.
    #[must_use]
    pub fn peak_bytes(&self) -> usize {
        self.pool.peak_bytes()
    }

    /// True if nothing is left to write.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.live.is_empty()
    }

    /// Puts a request at the end of the line.
    ///
    /// # Errors
    /// An empty or too long prompt, unknown tokens, settings out of range, an adapter for another
    /// shape, a text that the limits could never hold, stop strings without a tokenizer.
    pub fn submit(&mut self, request: Request) -> Result<Ticket> {
        self.check(&request)?;
        let ticket = Ticket(self.submitted);
        self.submitted += 1;
        let adapter = request.adapter.clone().map(|adapter| self.shared(adapter));
        let config = self.decoder.shared_config();
        let writer = Writer::new(ticket, request, config, self.tokenizer.as_ref());
        if !self.remembers {
            let prompt = 4 * self.pool.bytes_for(writer.prompt().len());
            let most = KEPT_FOR_WAITING.max(prompt).min(self.limits.cache_bytes / 2);
            self.prefixes.set_max_bytes(self.prefixes.max_bytes().max(most));
        }
        self.waiting.push_back(Live::new(writer, adapter, Past::new(&self.pool)));
        Ok(ticket)
    }

    /// Puts waiting requests with a common beginning beside each other.
    pub fn arrange(&mut self) {
        self.waiting.make_contiguous().sort_by(|a, b| a.order().cmp(&b.order()));
    }

    /// Ends a text without another word. False if there is none with that ticket.
    pub fn cancel(&mut self, ticket: Ticket) -> bool {
        let before = self.waiting.len() + self.live.len();
        self.waiting.retain(|text| text.writer.ticket != ticket);
        self.live.retain(|text| text.writer.ticket != ticket);
        self.waiting.len() + self.live.len() < before
    }

    /// Goes on by one token of every live text, or by a piece of its prompt, and tells `listener`,
    /// whose `Break` cancels the text. False if there was nothing to do.
    ///
    /// # Errors
    /// A forward that fails, which ends no text by itself.
    pub fn step(&mut self, listener: &mut Listener<'_>) -> Result<bool> {
        self.admit();
        self.plan();
        advance(&self.decoder, &mut self.live)?;
        self.count();
        self.share();
        let worked = !self.live.is_empty();
        self.report(listener);
        Ok(worked)
    }

    /// Steps until nothing is left.
    ///
    /// # Errors
    /// As [`Generator::step`].
    pub fn run(&mut self, listener: &mut Listener<'_>) -> Result<()> {
        while self.step(listener)? {}
        Ok(())
    }

    /// Writes everything that waits and returns the texts by ticket; `progress` hears how many
    /// there are.
    ///
    /// # Errors
    /// As [`Generator::step`], and that of the first text that could not be written.
    pub fn write_all(&mut self, progress: &mut dyn FnMut(u64)) -> Result<Vec<Generated>> {
        self.arrange();
        let mut texts = BTreeMap::new();
        let mut failed = None;
        loop {
            let worked = self.step(&mut |ticket, event| {
                match event {
                    Event::Token { .. } => return ControlFlow::Continue(()),
                    Event::End(Ok(text)) => drop(texts.insert(ticket, text)),
                    Event::End(Err(error)) => failed = Some(error),
                }
                progress(texts.len() as u64);
                ControlFlow::Continue(())
            })?;
            match failed {
                Some(error) => return Err(error),
                None if !worked => return Ok(texts.into_values().collect()),
                None => {}
            }
        }
    }

    fn check(&self, request: &Request) -> Result<()> {
        let refuse = |problem: String| Err(ModelError::Input(problem));
        if let Some(problem) = request.sampling.problem() {
            return refuse(problem.into());
        }
        self.decoder.check_tokens(&request.prompt)?;
        let config = self.decoder.config();
        if let Some((&token, _)) = request.sampling.logit_bias.last_key_value()
            && token as usize >= config.vocab_size
        {
            return Err(ModelError::Token { token, vocab_size: config.vocab_size });
        }
        if !request.sampling.stop_strings.is_empty() && self.tokenizer.is_none() {
            return refuse("`stop_strings` need a generator with a tokenizer".into());
        }
        if request.adapter.as_ref().is_some_and(|a| a.layer_count() != config.num_hidden_layers) {
            return refuse("the adapter was made for another number of layers".into());
        }
        let longest = request.prompt.len().saturating_add(request.sampling.max_new_tokens);
        let needed = self.pool.bytes_for(longest.min(config.max_position_embeddings + 1));
        if needed + self.pool.block_bytes() > self.limits.cache_bytes {
            return refuse(format!(
                "a text of {} tokens needs {needed} bytes of keys and values and a block to spare, the limit is {}: ask for fewer tokens or raise `cache_bytes`",
                longest, self.limits.cache_bytes
            ));
        }
        Ok(())
    }

    /// The one handle of an adapter, however often it is submitted.
    fn shared(&mut self, adapter: Arc<Adapter>) -> Arc<SharedAdapter> {
        self.adapters.retain(|known| known.strong_count() > 0);
        let known: Vec<Arc<SharedAdapter>> =
            self.adapters.iter().filter_map(Weak::upgrade).collect();
        if let Some(same) = known.iter().find(|known| Arc::ptr_eq(&known.adapter, &adapter)) {
            return same.clone();
        }
        let fresh = SharedAdapter::new(adapter);
        if let Some(same) = known.into_iter().find(|known| known.key == fresh.key) {
            return same;
        }
        let fresh = Arc::new(fresh);
        self.adapters.push(Arc::downgrade(&fresh));
        fresh
    }

    /// Lets waiting requests in while there is room.
    fn admit(&mut self) {
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
                        >= live.began_at + MIN_SHARED
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
    fn plan(&mut self) {
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

    fn count(&mut self) {
        for text in &mut self.live {
            text.count_read(&mut self.statistics);
        }
    }

    /// Remembers prompts that were just read, as far as somebody may want them.
    fn share(&mut self) {
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

    fn report(&mut self, listener: &mut Listener<'_>) {
        let mut order: Vec<usize> = (0..self.live.len()).collect();
        order.sort_by_key(|&at| self.live[at].writer.ticket);
        let mut gone = vec![false; self.live.len()];
        for at in order {
            let text = &mut self.live[at];
            let ended = text.writer.has_ended();
            let read = self.remembers && ended;
            let tokens = if read { text.writer.tokens().to_vec() } else { Vec::new() };
            gone[at] = text.writer.report(listener) == ControlFlow::Break(());
            if read && tokens.len() >= MIN_SHARED {
                self.prefixes.insert(&text.key, &tokens, &text.past, None);
            }
        }
        let mut gone = gone.into_iter();
        self.live.retain(|_| !gone.next().unwrap_or(false));
    }
}
