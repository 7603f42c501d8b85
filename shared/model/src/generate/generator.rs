//! Many texts at once, each with its own adapter, joining and leaving as they come.
//!
//! **Invariant:** what a request gets depends on its own fields alone, not on the other requests,
//! the limits, the threads or what is remembered.
//!
//! In each step every live text reads what it has not read yet: a piece of its prompt, or the token
//! it wrote last. A text that has read everything chooses its next token.

use super::cohort::Cohort;
use super::generated::Generated;
use super::live::{Live, SharedAdapter, advance};
use super::request::{Event, Limits, Request, Statistics, Ticket};
use super::schedule::MIN_SHARED;
use super::writer::{Listener, Writer};
use crate::decoder::Decoder;
use crate::error::{ModelError, Result};
use crate::lora::Adapter;
use crate::past::{Past, Pool, PrefixCache};
use crate::tokenizer::Tokenizer;
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::{Arc, Weak};

/// Bytes of beginnings kept for requests that wait, unless a prompt needs more.
const KEPT_FOR_WAITING: usize = 64 << 20;

/// Writes texts.
pub struct Generator {
    decoder: Decoder,
    tokenizer: Option<Arc<Tokenizer>>,
    pub(super) limits: Limits,
    pub(super) pool: Arc<Pool>,
    pub(super) prefixes: PrefixCache,
    /// Prompts and texts are remembered even if nobody waits for them.
    pub(super) remembers: bool,
    adapters: Vec<Weak<SharedAdapter>>,
    pub(super) waiting: VecDeque<Live>,
    pub(super) live: Vec<Live>,
    /// Its live texts, if the engine of [`crate::device`] writes them.
    cohort: Option<Cohort>,
    submitted: u64,
    pub(super) statistics: Statistics,
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
            cohort: decoder.is_composed().then(|| Cohort::new(decoder)),
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

    /// Remembers prompts and texts in `prefixes`, beyond the requests that wait now. The engine of
    /// [`crate::device`] remembers nothing.
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
        self.waiting.is_empty()
            && self.live.is_empty()
            && self.cohort.as_ref().is_none_or(Cohort::is_empty)
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
        let count = |this: &Self| {
            let side_by_side = this.cohort.as_ref().map_or(0, Cohort::len);
            this.waiting.len() + this.live.len() + side_by_side
        };
        let before = count(self);
        self.waiting.retain(|text| text.writer.ticket != ticket);
        self.live.retain(|text| text.writer.ticket != ticket);
        if let Some(cohort) = &mut self.cohort {
            cohort.cancel(ticket);
        }
        count(self) < before
    }

    /// Goes on by one token of every live text, or by a piece of its prompt, and tells `listener`,
    /// whose `Break` cancels the text. False if there was nothing to do.
    ///
    /// # Errors
    /// A forward that fails, which ends no text by itself.
    pub fn step(&mut self, listener: &mut Listener<'_>) -> Result<bool> {
        if let Some(cohort) = &mut self.cohort {
            let statistics = &mut self.statistics;
            return cohort.step(&mut self.waiting, self.limits, statistics, listener);
        }
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
