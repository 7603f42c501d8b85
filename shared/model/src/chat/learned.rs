//! From a conversation to what is trained on: loss on the assistant's turns, their ends included.
//!
//! A template with `{% generation %}` blocks says itself what the assistant wrote. With any other
//! one, a turn is what follows the rendering of all before it. Templates that write earlier turns
//! in another way than the last one (Qwen3 leaves out their reasoning) yield one sequence per turn,
//! each as the model would have seen it.
//!
//! **Invariant:** every learned turn ends with a learned end-of-turn token, or nothing is learned.

use super::{Chat, ChatError, ChatTemplate, Rendered};
use crate::tokenizer::Tokenizer;
use std::ops::Range;

/// One sequence to train on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learned {
    /// The tokens of the conversation.
    pub tokens: Vec<u32>,
    /// Which of them carry loss.
    pub learned: Vec<bool>,
    /// The token that ends its last turn.
    pub end: u32,
}

impl ChatTemplate {
    /// The tokens of a conversation; special tokens are the template's own, none is added.
    ///
    /// # Errors
    /// As [`Self::render`], and a text that the tokenizer refuses.
    pub fn tokens(&self, tokenizer: &Tokenizer, chat: &Chat) -> Result<Vec<u32>, ChatError> {
        Ok(tokenizer.encode(&self.render(chat)?)?)
    }

    /// The tokens of a conversation, and which of them `{% generation %}` blocks wrote; a token counts
    /// if any of its bytes does.
    ///
    /// # Errors
    /// As [`Self::render_spans`], and a text that the tokenizer refuses.
    pub fn token_mask(
        &self,
        tokenizer: &Tokenizer,
        chat: &Chat,
    ) -> Result<(Vec<u32>, Vec<bool>), ChatError> {
        masked(tokenizer, &self.render_spans(chat)?)
    }

    /// What is learned from a conversation; `ends` are the tokens that end a turn.
    ///
    /// # Errors
    /// As [`Self::render`]; a conversation without an assistant turn; a turn whose end would not be
    /// learned.
    pub fn learned(
        &self,
        tokenizer: &Tokenizer,
        ends: &[u32],
        chat: &Chat,
    ) -> Result<Vec<Learned>, ChatError> {
        let rendered = match self.marks_assistant(chat)? {
            true => vec![self.render_spans(chat)?],
            false => self.by_prefixes(chat)?,
        };
        if rendered.iter().all(|rendered| rendered.assistant.is_empty()) {
            let problem = "has no assistant turn, so nothing could be learned from it";
            return Err(ChatError::Conversation(problem.to_owned()));
        }
        rendered.iter().map(|rendered| learned(tokenizer, ends, rendered)).collect()
    }

    /// Each assistant turn as the text that follows the question it answers; all in one text where
    /// the template keeps earlier turns as they were.
    fn by_prefixes(&self, chat: &Chat) -> Result<Vec<Rendered>, ChatError> {
        let is_assistant = |at: &usize| chat.messages[*at].role() == "assistant";
        let turns: Vec<Rendered> = (0..chat.messages.len())
            .filter(is_assistant)
            .map(|at| self.turn(chat, at))
            .collect::<Result<_, _>>()?;
        let Some(last) = turns.last() else { return Ok(Vec::new()) };
        if turns.iter().any(|turn| !last.text.starts_with(&turn.text)) {
            return Ok(turns);
        }
        let text = last.text.clone();
        Ok(vec![Rendered {
            text,
            assistant: turns.into_iter().flat_map(|t| t.assistant).collect(),
        }])
    }

    /// The conversation up to turn `at`, which the assistant wrote.
    fn turn(&self, chat: &Chat, at: usize) -> Result<Rendered, ChatError> {
        let up_to = |end: usize| Chat { messages: chat.messages[..end].to_vec(), ..chat.clone() };
        if at == 0 {
            let problem = "begins with the assistant, which answers nobody; begin with a user turn";
            return Err(ChatError::Conversation(problem.to_owned()));
        }
        let asked = self.render(&up_to(at).to_be_answered())?;
        let text = self.render(&Chat { add_generation_prompt: false, ..up_to(at + 1) })?;
        if !text.starts_with(&asked) {
            return Err(ChatError::Conversation(format!(
                "cannot be learned from with this template: it writes what stands before turn {at} \
                 in another way once that turn is answered; put {{% generation %}} blocks around \
                 the assistant's turns of the template"
            )));
        }
        let answer = asked.len()..text.len();
        Ok(Rendered { text, assistant: Vec::from([answer]) })
    }
}

fn masked(tokenizer: &Tokenizer, rendered: &Rendered) -> Result<(Vec<u32>, Vec<bool>), ChatError> {
    let (tokens, places) = tokenizer.encode_places(&rendered.text)?;
    let mask = places.iter().map(|place| span_of(place, &rendered.assistant).is_some()).collect();
    Ok((tokens, mask))
}

/// The first span that a token lies in, if only in part.
fn span_of(token: &Range<usize>, spans: &[Range<usize>]) -> Option<usize> {
    let at = spans.partition_point(|span| span.end <= token.start);
    spans.get(at).filter(|span| span.start < token.end).map(|_| at)
}

/// What a template writes behind the end of a turn, mostly a line end, is never generated and so not
/// learned.
fn learned(tokenizer: &Tokenizer, ends: &[u32], rendered: &Rendered) -> Result<Learned, ChatError> {
    let (tokens, places) = tokenizer.encode_places(&rendered.text)?;
    let span_of = |place: &Range<usize>| span_of(place, &rendered.assistant);
    let spans: Vec<Option<usize>> = places.iter().map(span_of).collect();
    let mut learned = vec![false; tokens.len()];
    let mut last_end = None;
    for turn in 0..rendered.assistant.len() {
        let own = |at: &usize| spans[*at] == Some(turn);
        let Some(first) = (0..tokens.len()).find(own) else { continue };
        let end = (0..tokens.len()).rfind(|at| own(at) && ends.contains(&tokens[*at]));
        let Some(end) = end else { return Err(ChatError::NeverStops { turn: turn + 1 }) };
        learned[first..=end].fill(true);
        last_end = Some(tokens[end]);
    }
    let end = last_end.ok_or(ChatError::NeverStops { turn: 1 })?;
    Ok(Learned { tokens, learned, end })
}
