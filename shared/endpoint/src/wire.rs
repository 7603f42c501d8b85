//! The two calls as this program writes and reads them. Writing is exact, since the bytes are kept;
//! reading takes whatever servers of this kind send and asks only for what is used.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ask::{Prompt, Turn};
use crate::config::{Api, MaxTokensField, OpenAiConfig};
use crate::fault::Fault;

/// A request, for either call.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Request<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<Vec<Turn>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<String>,
    temperature: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<&'a Value>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
    #[serde(flatten)]
    extra: &'a BTreeMap<String, Value>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct StreamOptions {
    include_usage: bool,
}

/// Names that this program sets itself.
pub(crate) const OWN_FIELDS: [&str; 12] = [
    "model",
    "messages",
    "prompt",
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "seed",
    "stop",
    "response_format",
    "stream",
    "stream_options",
];

impl<'a> Request<'a> {
    /// The request for one prompt, or why the call cannot carry it.
    pub(crate) fn new(
        config: &'a OpenAiConfig,
        model: &'a str,
        prompt: Prompt,
        temperature: f64,
        max_tokens: usize,
        seed: u64,
    ) -> Result<Self, &'static str> {
        let (messages, prompt) = match (config.api, prompt) {
            (Api::Chat, Prompt::Chat(turns)) => (Some(turns), None),
            (Api::Chat, Prompt::Text(text)) => (Some(vec![Turn::user(text)]), None),
            (Api::Completions, Prompt::Text(text)) => (None, Some(text)),
            (Api::Completions, Prompt::Chat(_)) => {
                return Err("a conversation does not fit `api = \"completions\"`");
            }
        };
        let modern = config.max_tokens_field == MaxTokensField::MaxCompletionTokens;
        Ok(Self {
            model,
            messages,
            prompt,
            temperature,
            top_p: config.top_p,
            max_tokens: (!modern).then_some(max_tokens),
            max_completion_tokens: modern.then_some(max_tokens),
            seed: config.send_seed.then_some(seed),
            stop: (!config.stop.is_empty()).then_some(&config.stop),
            response_format: None,
            stream: config.stream,
            stream_options: config.stream.then_some(StreamOptions { include_usage: true }),
            extra: &config.extra,
        })
    }

    /// The same request, with a field that holds the reply to a form.
    pub(crate) fn held_to(self, format: Option<&'a Value>) -> Self {
        Self { response_format: format, ..self }
    }
}

/// An answer, or one event of a stream.
#[derive(Debug, Deserialize)]
pub(crate) struct Piece {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    #[serde(default, alias = "delta")]
    message: Option<Message>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
}

/// Tokens as the endpoint counts them.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Usage {
    #[serde(default)]
    pub(crate) prompt_tokens: u64,
    #[serde(default)]
    pub(crate) completion_tokens: u64,
}

/// A reply that is put together from its pieces.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    pub(crate) text: String,
    pub(crate) refusal: String,
    pub(crate) finish: Option<String>,
    pub(crate) usage: Option<Usage>,
    choices: usize,
}

impl Reply {
    /// Adds a piece.
    ///
    /// # Errors
    /// It is an error that was sent as an answer.
    pub(crate) fn push(&mut self, piece: Piece) -> Result<(), Fault> {
        if piece.error.is_some_and(|error| !error.is_null()) {
            return Err(Fault::Server(200, None));
        }
        self.usage = piece.usage.or(self.usage);
        for choice in piece.choices {
            self.choices += 1;
            if let Some(message) = choice.message {
                self.text.push_str(&message.content.unwrap_or_default());
                self.refusal.push_str(&message.refusal.unwrap_or_default());
            }
            self.text.push_str(&choice.text.unwrap_or_default());
            self.finish = choice.finish_reason.or(self.finish.take());
        }
        Ok(())
    }

    /// Whether what was put together is a reply.
    ///
    /// # Errors
    /// Nothing came, it did not end, it is a refusal, or it is empty.
    pub(crate) fn check(&self, streamed: bool) -> Result<(), Fault> {
        let blank = self.text.trim().is_empty();
        match self.finish.as_deref() {
            _ if self.choices == 0 && !streamed => Err(Fault::Malformed),
            None if streamed => Err(Fault::CutOff),
            Some("content_filter") => Err(Fault::Declined),
            _ if blank && !self.refusal.trim().is_empty() => Err(Fault::Declined),
            _ if blank => Err(Fault::Empty),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(pieces: &[&str], streamed: bool) -> Result<String, &'static str> {
        let mut reply = Reply::default();
        for piece in pieces {
            let piece = serde_json::from_str(piece).map_err(|_| "malformed")?;
            reply.push(piece).map_err(|fault| fault.code())?;
        }
        reply.check(streamed).map_err(|fault| fault.code()).map(|()| reply.text)
    }

    #[test]
    fn whole_answers_of_both_calls_read() {
        let chat = r#"{"choices":[{"message":{"role":"assistant","content":"a b"},
            "finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#;
        assert_eq!(gathered(&[chat], false).unwrap(), "a b");
        let plain = r#"{"choices":[{"text":"a b","index":0,"logprobs":null}]}"#;
        assert_eq!(gathered(&[plain], false).unwrap(), "a b");
    }

    #[test]
    fn events_are_put_together() {
        let pieces = [
            r#"{"choices":[{"delta":{"role":"assistant"}}]}"#,
            r#"{"choices":[{"delta":{"content":"a "}}]}"#,
            r#"{"choices":[{"delta":{"content":"b"},"finish_reason":null}]}"#,
            r#"{"choices":[{"delta":{},"finish_reason":"length"}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#,
        ];
        assert_eq!(gathered(&pieces, true).unwrap(), "a b");
        assert_eq!(gathered(&pieces[..3], true), Err("cut_off"));
        assert_eq!(gathered(&[], true), Err("cut_off"));
    }

    #[test]
    fn what_is_no_reply_has_a_name() {
        let with = |rest: &str| format!(r#"{{"choices":[{{{rest}}}]}}"#);
        for (answer, code) in [
            (r#"{"choices":[]}"#.to_owned(), "malformed"),
            ("{}".to_owned(), "malformed"),
            (r#"{"error":{"message":"overloaded"}}"#.to_owned(), "server_error"),
            (with(r#""message":{"content":null,"refusal":"No."}"#), "declined"),
            (with(r#""message":{"content":"a"},"finish_reason":"content_filter""#), "declined"),
            (with(r#""message":{"content":" \n"},"finish_reason":"stop""#), "empty"),
            (with(r#""message":{"content":7}"#), "malformed"),
        ] {
            assert_eq!(gathered(&[&answer], false), Err(code), "{answer}");
        }
    }
}
