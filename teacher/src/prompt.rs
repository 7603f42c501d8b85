//! Prompts for the policy, and its replies as words.
//!
//! **Invariant:** a context is quoted data: one that holds a control word of the prompt family is
//! refused, so no document can end its own quotation or forge a directive.

use seal_model::Tokenizer;
use seal_protocol::Digest;
use seal_trust::sha256;

use crate::reply::{ParsedReply, PromptFamily, Unparsed};

/// Where the context goes in a prompt.
const PLACE: &str = "{context}";

/// Writes prompts and reads replies in one family with one tokenizer.
pub struct Prompter {
    family: PromptFamily,
    tokenizer: Tokenizer,
    before: Vec<u32>,
    after: Vec<u32>,
    end: u32,
}

/// A prompt that is ready to be continued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenPrompt {
    /// Its tokens, forced words included.
    pub tokens: Vec<u32>,
    /// The forced words alone: the head of the reply.
    pub forced: Vec<u32>,
    /// SHA-256 of the prompt's text, forced words included.
    pub digest: Digest,
}

/// A prompt that cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PromptError {
    /// The prompt family does not fit the tokenizer or itself.
    #[error("prompt family `{family}`: {reason}")]
    Family {
        /// Its name.
        family: String,
        /// What is wrong.
        reason: String,
    },
    /// The context would steer the policy.
    #[error("the context holds the control word `{0}`; remove it from the text")]
    ControlWord(String),
    /// A head of the reply was asked for.
    #[error("a text family has no words to force at the head of a reply; leave `fixed_plan` empty")]
    Forced,
    /// The tokenizer does not read it.
    #[error("the tokenizer cannot read the {what}: {reason}")]
    Text {
        /// Context or forced word.
        what: &'static str,
        /// Why.
        reason: String,
    },
}

impl Prompter {
    /// Checks that every marker of the family is one token.
    ///
    /// # Errors
    /// A marker that the tokenizer does not have, or a prompt without a place for the context.
    pub fn new(family: PromptFamily, tokenizer: Tokenizer) -> Result<Self, PromptError> {
        let wrong = |reason: String| PromptError::Family { family: family.name.clone(), reason };
        let (before, after) = family
            .prompt
            .split_once(PLACE)
            .ok_or_else(|| wrong(format!("`prompt` has no `{PLACE}`")))?;
        let id = |word: &str| {
            let missing = || wrong(format!("`{word}` is no token of the policy's tokenizer"));
            tokenizer.token_id(word).ok_or_else(missing)
        };
        let encode = |text: &str| tokenizer.encode(text).map_err(|error| wrong(error.to_string()));
        id(&family.line_separator)?;
        let (start, end) = (id(&family.start)?, id(&family.end)?);
        let before = [vec![start], encode(before.trim())?].concat();
        let after = encode(after.trim())?;
        Ok(Self { family, tokenizer, before, after, end })
    }

    /// The family's name.
    pub fn family(&self) -> &str {
        &self.family.name
    }

    /// The token that ends a reply.
    pub fn end(&self) -> u32 {
        self.end
    }

    /// The prompt for a context, with words forced at the head of the reply.
    ///
    /// # Errors
    /// A context with a control word, or a text that the tokenizer does not read.
    pub fn write(&self, context: &str, forced: &[String]) -> Result<WrittenPrompt, PromptError> {
        let quoted = self.encode("context", context)?;
        if let Some(word) =
            self.words(&quoted).into_iter().find(|word| self.family.is_control(word))
        {
            return Err(PromptError::ControlWord(word));
        }
        let forced_tokens = self.encode("forced words", &forced.join(" "))?;
        let text = self.family.prompt.replace(PLACE, context);
        let text = format!("{} {text} {}", self.family.start, forced.join(" "));
        Ok(WrittenPrompt {
            tokens: [&self.before, &quoted, &self.after, &forced_tokens]
                .map(|part| &part[..])
                .concat(),
            forced: forced_tokens,
            digest: sha256(text.trim_end().as_bytes()),
        })
    }

    /// Reads a reply.
    ///
    /// # Errors
    /// Why it yields no edit.
    pub fn parse(&self, reply: &[u32]) -> Result<ParsedReply, Unparsed> {
        self.family.parse(&self.words(reply))
    }

    /// `<start> line <end>`, as the policy saw lines in its own training.
    ///
    /// # Errors
    /// A line that the tokenizer does not read.
    pub fn line(&self, line: &str) -> Result<Vec<u32>, PromptError> {
        let words = self.encode("replay line", line)?;
        Ok([&self.before[..1], &words, &[self.end]].concat())
    }

    /// Whether a token is a directive.
    pub fn is_directive(&self, token: u32) -> bool {
        self.family.is_directive(&self.tokenizer.decode(&[token]))
    }

    fn words(&self, tokens: &[u32]) -> Vec<String> {
        tokens.iter().map(|token| self.tokenizer.decode(&[*token])).collect()
    }

    fn encode(&self, what: &'static str, text: &str) -> Result<Vec<u32>, PromptError> {
        let unreadable =
            |error: seal_model::ModelError| PromptError::Text { what, reason: error.to_string() };
        self.tokenizer.encode(text).map_err(unreadable)
    }
}
