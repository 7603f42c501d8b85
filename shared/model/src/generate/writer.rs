//! One text being written: its tokens, how the next one is chosen and when it ends.

use super::constraint::{TokenConstraint, TokenMask};
use super::generated::{Finish, Generated};
use super::request::{Event, Request, Ticket};
use super::sampler::Sampler;
use super::transcript::Transcript;
use crate::decoder::DecoderConfig;
use crate::error::{ModelError, Result};
use crate::log_probs::{TokenLogProb, token_log_prob};
use crate::tokenizer::Tokenizer;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Receives what happens to texts; `Break` cancels the text.
pub(super) type Listener<'a> = dyn FnMut(Ticket, Event<'_>) -> ControlFlow<()> + 'a;

/// A token that was not reported yet, and the text it adds.
struct News {
    token: u32,
    text: String,
}

pub(super) struct Writer {
    pub(super) ticket: Ticket,
    /// Prompt and text.
    tokens: Vec<u32>,
    prompt_len: usize,
    config: Arc<DecoderConfig>,
    sampler: Sampler,
    constraint: Option<Box<dyn TokenConstraint>>,
    transcript: Option<Transcript>,
    /// Stop strings that are one special token, which is no part of the text.
    special_stops: Vec<(u32, usize)>,
    log_probs: Vec<TokenLogProb>,
    news: Vec<News>,
    outcome: Option<Result<Finish>>,
}

impl Writer {
    pub(super) fn new(
        ticket: Ticket,
        request: Request,
        config: Arc<DecoderConfig>,
        tokenizer: Option<&Arc<Tokenizer>>,
    ) -> Self {
        let nothing_to_do = request.sampling.max_new_tokens == 0;
        let special_stops = tokenizer.map_or(Vec::new(), |tokenizer| {
            special_stops(tokenizer, &request.sampling.stop_strings)
        });
        Self {
            ticket,
            prompt_len: request.prompt.len(),
            config,
            sampler: Sampler::new(request.sampling, &request.prompt, request.seed),
            tokens: request.prompt,
            constraint: request.constraint,
            transcript: tokenizer.map(|tokenizer| Transcript::new(tokenizer.clone())),
            special_stops,
            log_probs: Vec::new(),
            news: Vec::new(),
            outcome: nothing_to_do.then_some(Ok(Finish::Length)),
        }
    }

    pub(super) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    pub(super) fn prompt(&self) -> &[u32] {
        &self.tokens[..self.prompt_len]
    }

    pub(super) fn prompt_len(&self) -> usize {
        self.prompt_len
    }

    pub(super) fn has_ended(&self) -> bool {
        self.outcome.is_some()
    }

    fn text_len(&self) -> usize {
        self.tokens.len() - self.prompt_len
    }

    /// Most tokens of prompt and text.
    pub(super) fn most_tokens(&self) -> usize {
        let most = self.prompt_len.saturating_add(self.sampler.config().max_new_tokens);
        most.min(self.config.max_position_embeddings)
    }

    /// Tokens that it may still write.
    pub(super) fn tokens_left(&self) -> usize {
        self.most_tokens().saturating_sub(self.tokens.len())
    }

    /// True if its next token is simply the most likely one, and nothing else is asked.
    pub(super) fn takes_best(&self) -> bool {
        self.constraint.is_none()
            && self.sampler.config().takes_best()
            && self.forbidden().is_empty()
    }

    /// Takes the most likely token as the next one; none is there if the logits are no numbers.
    pub(super) fn take(&mut self, token: Option<u32>) {
        let not_finite = || ModelError::NotFinite { what: format!("prompt {}", self.ticket.0) };
        if let Err(error) = token.ok_or_else(not_finite).and_then(|token| self.push(token)) {
            self.outcome = Some(Err(error));
        }
    }

    /// Chooses the next token, and those that must follow it, by the logits after the last one.
    pub(super) fn choose(&mut self, logits: &mut [f32]) {
        if let Err(error) = self.try_choose(logits) {
            self.outcome = Some(Err(error));
        }
    }

    fn try_choose(&mut self, logits: &mut [f32]) -> Result<()> {
        let allowed = self.constraint.as_mut().map(|c| c.allowed()).transpose()?;
        if allowed.as_ref().is_some_and(TokenMask::is_empty) {
            let problem = "the constraint allows no token, and does not end the text either";
            return Err(ModelError::Input(format!("prompt {}: {problem}", self.ticket.0)));
        }
        let plain = self.sampler.config().log_probs.map(|n| (logits.to_vec(), n));
        let forbidden = self.forbidden();
        let Some(token) = self.sampler.draw(logits, allowed.as_ref(), &forbidden) else {
            return Err(ModelError::NotFinite { what: format!("prompt {}", self.ticket.0) });
        };
        let judged = plain.map(|(logits, n)| token_log_prob(&logits, token, n));
        let wants_judgement = judged.is_some();
        self.log_probs.extend(judged);
        self.push(token)?;
        if !wants_judgement {
            self.push_forced()?;
        }
        Ok(())
    }

    /// Tokens that would end the text too early.
    fn forbidden(&self) -> Vec<u32> {
        let sampling = self.sampler.config();
        if self.text_len() >= sampling.min_new_tokens {
            return Vec::new();
        }
        let ends = self.config.eos_token_ids.iter().chain(&sampling.stop);
        ends.copied().filter(|&token| (token as usize) < self.config.vocab_size).collect()
    }

    fn push_forced(&mut self) -> Result<()> {
        while self.outcome.is_none() {
            let forced = self.constraint.as_mut().map_or(Vec::new(), |c| c.forced());
            if forced.is_empty() {
                break;
            }
            for token in forced {
                if self.outcome.is_none() {
                    self.sampler.skip();
                    self.push(token)?;
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, token: u32) -> Result<()> {
        self.tokens.push(token);
        self.sampler.push(token);
        let finish = self.finish_after(token)?;
        let stops = &self.sampler.config().stop_strings;
        let mut text = String::new();
        if let Some(transcript) = &mut self.transcript {
            text.push_str(transcript.news(finish.is_some(), stops));
        }
        self.news.push(News { token, text });
        self.outcome = finish.map(Ok);
        Ok(())
    }

    fn finish_after(&mut self, token: u32) -> Result<Option<Finish>> {
        let finish = self.finish_by_token(token)?;
        let Some(transcript) = self.transcript.as_mut().filter(|_| finish.is_some()) else {
            return Ok(finish);
        };
        // What was not decodable so far may still hold a stop string.
        let stopped = transcript.close(&self.sampler.config().stop_strings);
        Ok(stopped.map(Finish::StopString).or(finish))
    }

    fn finish_by_token(&mut self, token: u32) -> Result<Option<Finish>> {
        let sampling = self.sampler.config();
        if self.config.is_end(token) {
            return Ok(Some(Finish::EndToken(token)));
        }
        if sampling.stop.contains(&token) {
            return Ok(Some(Finish::StopToken(token)));
        }
        if let Some(&(_, stop)) = self.special_stops.iter().find(|&&(special, _)| special == token)
        {
            return Ok(Some(Finish::StopString(stop)));
        }
        if let Some(transcript) = &mut self.transcript {
            let early = self.tokens.len() - self.prompt_len < sampling.min_new_tokens;
            let stops = if early { &[][..] } else { &sampling.stop_strings };
            if let Some(stop) = transcript.push(token, stops) {
                return Ok(Some(Finish::StopString(stop)));
            }
        }
        if let Some(constraint) = &mut self.constraint {
            constraint.accept(token)?;
            if constraint.is_done() {
                return Ok(Some(Finish::Constraint));
            }
        }
        Ok(if self.text_len() >= self.sampler.config().max_new_tokens {
            Some(Finish::Length)
        } else if self.tokens.len() > self.config.max_position_embeddings {
            Some(Finish::Positions)
        } else {
            None
        })
    }

    /// Tells `listener` what it has not heard yet; `Break` if it does not care any more.
    pub(super) fn report(&mut self, listener: &mut Listener<'_>) -> ControlFlow<()> {
        let first = self.text_len() - self.news.len();
        for (at, news) in self.news.drain(..).enumerate() {
            let log_prob = self.log_probs.get(first + at);
            listener(self.ticket, Event::Token { token: news.token, text: &news.text, log_prob })?;
        }
        match self.outcome.take() {
            None => ControlFlow::Continue(()),
            Some(outcome) => {
                let generated = outcome.map(|finish| self.generated(finish));
                let _ = listener(self.ticket, Event::End(generated));
                ControlFlow::Break(())
            }
        }
    }

    fn generated(&mut self, finish: Finish) -> Generated {
        Generated {
            tokens: self.tokens.split_off(self.prompt_len),
            finish,
            text: self.transcript.as_ref().map(|transcript| transcript.text().to_owned()),
            log_probs: std::mem::take(&mut self.log_probs),
        }
    }
}

fn special_stops(tokenizer: &Tokenizer, stops: &[String]) -> Vec<(u32, usize)> {
    let tokens = stops.iter().enumerate();
    let tokens = tokens.filter_map(|(stop, string)| Some((tokenizer.token_id(string)?, stop)));
    tokens.filter(|&(token, _)| tokenizer.decode_plain(&[token]).is_empty()).collect()
}
