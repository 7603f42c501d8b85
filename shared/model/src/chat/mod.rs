//! Chat templates: from a conversation to the text that a model was trained on.
//!
//! minijinja parses and runs a template. Between its parser and its compiler every operator becomes
//! a call of our own (`compile`), which gives it Python's meaning and lets nothing be made that was
//! not paid for (`meter`). So templates render as in `transformers.apply_chat_template`, and a
//! hostile one ends in an error.
//!
//! **Invariant:** template, conversation and date fix the text; no clock has a say.
//! **Invariant:** a template is peer input: it can neither panic us, nor loop, nor fill the memory.

mod compile;
mod conversation;
mod error;
mod filters;
pub(crate) mod folder;
mod format;
mod functions;
mod json;
mod learned;
mod meter;
mod methods;
mod operators;
mod predicates;
mod print;
mod render;
mod source;

pub use conversation::{Chat, Json, Message};
pub use error::ChatError;
pub use format::{ChatFormat, ChatSettings};
pub use learned::Learned;
pub use render::Rendered;

use conversation::{aliases, field, with_fields};
use jiff::civil::{Date, DateTime, Time};
use minijinja::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// The date that templates see where nobody names one: the one that Llama's own fall back to.
const DATE: Date = jiff::civil::date(2024, 7, 26);
/// Marks the end of the part of a message that is to be continued.
const CONTINUE: &str = "CONTINUE_FINAL_MESSAGE_TAG ";

/// The chat templates of a model folder with the special tokens they are given.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    templates: BTreeMap<String, Source>,
    specials: BTreeMap<String, String>,
    now: DateTime,
}

#[derive(Clone, Debug)]
struct Source {
    text: String,
    has_generation: bool,
}

impl ChatTemplate {
    /// Reads the templates of a model folder.
    ///
    /// # Errors
    /// A folder without one, a file that is damaged or too long, or a text that is no template.
    pub fn load(dir: &Path) -> Result<Self, ChatError> {
        let templates = folder::templates(dir)?;
        if templates.is_empty() {
            return Err(ChatError::Missing { dir: dir.to_path_buf() });
        }
        Self::new(templates, folder::special_tokens(dir)?)
    }

    /// A template by itself, with special tokens such as `bos_token`.
    ///
    /// # Errors
    /// A text that is no template.
    pub fn from_source(
        source: &str,
        specials: BTreeMap<String, String>,
    ) -> Result<Self, ChatError> {
        Self::new(BTreeMap::from([("default".to_owned(), source.to_owned())]), specials)
    }

    fn new(
        templates: BTreeMap<String, String>,
        specials: BTreeMap<String, String>,
    ) -> Result<Self, ChatError> {
        let checked = |(name, text): (String, String)| {
            let has_generation = render::check(&text)?;
            Ok((name, Source { text, has_generation }))
        };
        let templates = templates.into_iter().map(checked).collect::<Result<_, ChatError>>()?;
        Ok(Self { templates, specials, now: DATE.to_datetime(Time::midnight()) })
    }

    /// The same with another date for `strftime_now`.
    #[must_use]
    pub fn at(mut self, date: Date) -> Self {
        self.now = date.to_datetime(Time::midnight());
        self
    }

    /// The text of a conversation.
    ///
    /// # Errors
    /// A conversation that cannot be rendered or that the template refuses; a template that fails,
    /// or asks for too much.
    pub fn render(&self, chat: &Chat) -> Result<String, ChatError> {
        Ok(self.rendered(chat, false)?.text)
    }

    /// The text of a conversation and which part of it the assistant wrote, as far as the template
    /// says so in `{% generation %}` blocks.
    ///
    /// # Errors
    /// As [`Self::render`], and a conversation whose last turn is to be continued.
    pub fn render_spans(&self, chat: &Chat) -> Result<Rendered, ChatError> {
        if chat.continue_final_message.is_some() {
            let problem = "is to be continued; which of it the assistant wrote is then undecided";
            return Err(ChatError::Conversation(problem.to_owned()));
        }
        self.rendered(chat, true)
    }

    /// Whether the template for this conversation says which parts the assistant wrote.
    ///
    /// # Errors
    /// A template that the folder does not have.
    pub fn marks_assistant(&self, chat: &Chat) -> Result<bool, ChatError> {
        Ok(self.source(chat)?.has_generation)
    }

    /// The text of a special token.
    pub(super) fn special(&self, name: &str) -> Option<&str> {
        self.specials.get(name).map(String::as_str)
    }

    fn rendered(&self, chat: &Chat, marked: bool) -> Result<Rendered, ChatError> {
        let source = self.source(chat)?;
        let input = chat.check(marked)?;
        let mut messages = chat.normalised();
        let continued = match &chat.continue_final_message {
            Some(field) => Some(open_last(&mut messages, field, &source.text)?),
            None => None,
        };
        let context = chat.context(messages, &self.specials);
        let mut rendered = render::render(&source.text, context, input, self.now, marked)?;
        if let Some(said) = continued {
            rendered.text = cut_after(rendered.text, &said)?;
        }
        Ok(rendered)
    }

    fn source(&self, chat: &Chat) -> Result<&Source, ChatError> {
        let by_name = |name: &str| self.templates.get(name);
        let found = match (&chat.template, &chat.tools) {
            (Some(name), _) => by_name(name),
            (None, Some(_)) => by_name("tool_use").or_else(|| by_name("default")),
            (None, None) => by_name("default"),
        };
        found.ok_or_else(|| ChatError::Unknown {
            name: chat.template.clone().unwrap_or_else(|| "default".to_owned()),
            known: self.templates.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }
}

/// Marks where the last turn is to go on; returns what it says so far.
fn open_last(messages: &mut [Value], name: &str, source: &str) -> Result<String, ChatError> {
    let refused = |problem: String| Err(ChatError::Conversation(problem));
    let Some(last) = messages.last_mut() else { return refused("has no message".to_owned()) };
    let Some(said) = field(last, name) else {
        return refused(format!("is to be continued, but its last message has no `{name}`"));
    };
    let names: Vec<&str> = aliases(name)
        .into_iter()
        .filter(|alias| field(last, alias).as_ref() == Some(&said))
        .collect();
    if !names.iter().any(|name| source.contains(name)) {
        return refused(format!(
            "is to be continued in `{name}`, which the template does not read"
        ));
    }
    let (said, opened) = opened(&said)?;
    *last = with_fields(last, [], names.into_iter().map(|name| (name, opened.clone())));
    Ok(said)
}

/// A text with the mark at its end; in a list of blocks, the last block with a text.
fn opened(said: &Value) -> Result<(String, Value), ChatError> {
    if let Some(text) = said.as_str() {
        return Ok((text.to_owned(), Value::from(format!("{text}{CONTINUE}"))));
    }
    let mut blocks: Vec<Value> = said.try_iter().into_iter().flatten().collect();
    for block in blocks.iter_mut().rev() {
        if let Some(text) = field(block, "text").and_then(|text| text.as_str().map(str::to_owned)) {
            *block = with_fields(block, [], [("text", Value::from(format!("{text}{CONTINUE}")))]);
            return Ok((text, Value::from(blocks)));
        }
    }
    Err(ChatError::Conversation("is to be continued, but its last message has no text".to_owned()))
}

/// The text up to the mark. A template that trims the message also loses its spaces at the end.
fn cut_after(mut text: String, said: &str) -> Result<String, ChatError> {
    let mark = CONTINUE.trim_end();
    let found = text.rfind(mark).filter(|_| text.contains(said.trim()));
    let Some(at) = found else {
        let problem = "is to be continued, but the template does not write its last message whole";
        return Err(ChatError::Conversation(problem.to_owned()));
    };
    let keeps_spaces = text[at..].starts_with(CONTINUE);
    text.truncate(at);
    if !keeps_spaces {
        text.truncate(methods::strip_end(&text, None).len());
    }
    Ok(text)
}
