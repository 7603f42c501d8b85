//! The text of tokens as they come, and the stop strings in it.
//!
//! A character may take several tokens and a stop string may begin inside one, so the text lags
//! behind the tokens until it is certain.

use crate::tokenizer::Tokenizer;
use std::sync::Arc;

/// Tokens without a settled character after which an undecodable one is taken as it is. UTF-8 has
/// four bytes at most.
const MOST_OPEN: usize = 8;

/// The growing text of one sequence of tokens.
pub(super) struct Transcript {
    tokenizer: Arc<Tokenizer>,
    /// The settled tokens that the next ones are decoded after, then those not settled.
    window: Vec<u32>,
    settled: usize,
    text: String,
    shown: usize,
}

impl Transcript {
    pub(super) fn new(tokenizer: Arc<Tokenizer>) -> Self {
        Self { tokenizer, window: Vec::new(), settled: 0, text: String::new(), shown: 0 }
    }

    /// Appends a token. Returns the first of `stops` that the text now holds; the text then ends
    /// before it.
    pub(super) fn push(&mut self, token: u32, stops: &[String]) -> Option<usize> {
        self.window.push(token);
        self.settle(false, stops)
    }

    /// No more tokens will come: what is not certain yet becomes text.
    pub(super) fn close(&mut self, stops: &[String]) -> Option<usize> {
        self.settle(true, stops)
    }

    /// The text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// What was not returned before and cannot become part of a stop string any more; everything
    /// if the text is `closed`.
    pub(super) fn news(&mut self, closed: bool, stops: &[String]) -> &str {
        let end = if closed { self.text.len() } else { self.text.len() - self.held_back(stops) };
        let from = self.shown.min(end);
        self.shown = end;
        &self.text[from..end]
    }

    fn settle(&mut self, closing: bool, stops: &[String]) -> Option<usize> {
        let before = self.tokenizer.decode_plain(&self.window[..self.settled]);
        let now = self.tokenizer.decode_plain(&self.window);
        let open = self.window.len() - self.settled;
        if now.ends_with(char::REPLACEMENT_CHARACTER) && open < MOST_OPEN && !closing {
            return None;
        }
        let searched = self.text.len();
        self.text.push_str(now.get(before.len()..).unwrap_or(""));
        self.window.drain(..self.settled);
        self.settled = self.window.len();
        self.cut_at_stop(searched, stops)
    }

    fn cut_at_stop(&mut self, searched: usize, stops: &[String]) -> Option<usize> {
        let longest = stops.iter().map(String::len).max()?;
        let mut from = searched.saturating_sub(longest - 1);
        while !self.text.is_char_boundary(from) {
            from -= 1;
        }
        let found = stops.iter().enumerate();
        let (at, stop) = found
            .filter_map(|(stop, string)| Some((from + self.text[from..].find(string)?, stop)))
            .min()?;
        self.text.truncate(at);
        Some(stop)
    }

    /// Bytes at the end of the text with which a stop string may begin.
    fn held_back(&self, stops: &[String]) -> usize {
        let begins = |stop: &String| {
            let most = self.text.len().min(stop.len() - 1);
            (1..=most).rev().find(|&n| self.text.as_bytes().ends_with(&stop.as_bytes()[..n]))
        };
        stops.iter().filter_map(begins).max().unwrap_or(0)
    }
}
