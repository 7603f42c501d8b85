//! Texts that follow a grammar: JSON Schema, regular expression or Lark.
//!
//! [`Grammars`] knows one model's tokens as bytes, compiles grammars within fixed limits and gives
//! out a [`TokenConstraint`](crate::TokenConstraint) for each text. Parsing is llguidance's; the
//! tokens' bytes, the limits and the errors are ours.
//!
//! **Invariant:** what a constraint allows is a function of grammar and tokens, and a special token
//! is never part of a text.
//! **Invariant:** no grammar, however hostile, panics, asks the network or takes unbounded memory.

mod constraint;
mod limits;
mod schema;
mod vocabulary;

use self::constraint::GrammarConstraint;
use crate::decoder::DecoderConfig;
use crate::generate::TokenConstraint;
use crate::tokenizer::Tokenizer;
use llguidance::api::{GrammarInit, TopLevelGrammar};
use llguidance::{Matcher, ParserFactory, panic_utils};
use serde_json::Value;
use toktrie::InferenceCapabilities;

/// What a text must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Grammar {
    /// A JSON value of this schema. Between its parts there is at most one space, or one line break
    /// with its indentation.
    JsonSchema(Value),
    /// A whole match of this regular expression, in the syntax of the `regex` crate without
    /// anchors and look-around.
    Regex(String),
    /// A text of this grammar in llguidance's dialect of Lark, from its rule `start`.
    Lark(String),
}

impl Grammar {
    fn kind(&self) -> &'static str {
        match self {
            Self::JsonSchema(_) => "JSON Schema",
            Self::Regex(_) => "regular expression",
            Self::Lark(_) => "Lark grammar",
        }
    }
}

/// Why there is no constraint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// The tokens of this tokenizer are no pieces of text that could be put together.
    #[error("grammars need a byte-level or byte-fallback tokenizer: {0}")]
    Tokenizer(String),
    /// A part of the schema is wrong, or not supported.
    #[error("JSON Schema at `{path}`: {problem}")]
    Schema {
        /// JSON pointer, `#` for the whole.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// A grammar beyond the limits that hold for all of them.
    #[error("{kind} is too large: {problem}")]
    TooLarge {
        /// What it is.
        kind: &'static str,
        /// Which limit.
        problem: String,
    },
    /// A regular expression or Lark grammar that is none.
    #[error("{kind}: {problem}")]
    Syntax {
        /// What it is.
        kind: &'static str,
        /// What is wrong.
        problem: String,
    },
}

/// What is wrong with a grammar that no text follows.
const NO_TEXT: &str = "no text follows it";

/// Compiles grammars for one model and tokenizer.
pub struct Grammars {
    factory: ParserFactory,
    vocab_size: usize,
}

/// A grammar for many texts.
#[derive(Clone)]
pub struct CompiledGrammar {
    matcher: Matcher,
    vocab_size: usize,
}

impl Grammars {
    /// Reads the tokens' bytes.
    ///
    /// # Errors
    /// A tokenizer whose tokens are no bytes of a text: a word-level one, say.
    pub fn new(tokenizer: &Tokenizer, config: &DecoderConfig) -> Result<Self, GrammarError> {
        let environment = vocabulary::environment(tokenizer, config)?;
        let slices = llguidance::earley::SlicedBiasComputer::general_slices();
        let capabilities = InferenceCapabilities { ff_tokens: false, ..Default::default() };
        let mut factory = ParserFactory::new(&environment, capabilities, &slices)
            .map_err(|error| GrammarError::Tokenizer(message(&error)))?;
        factory.quiet();
        *factory.limits_mut() = limits::parser_limits();
        Ok(Self { factory, vocab_size: config.vocab_size })
    }

    /// Compiles a grammar.
    ///
    /// # Errors
    /// A grammar that is malformed, empty, too large or uses what is not supported.
    pub fn compile(&self, grammar: &Grammar) -> Result<CompiledGrammar, GrammarError> {
        limits::check(grammar)?;
        let source = source(grammar);
        let compiled = limits::with_large_stack(|| {
            let parser = panic_utils::catch_unwind(std::panic::AssertUnwindSafe(|| {
                self.factory.create_parser(source)
            }));
            let matcher = Matcher::new(parser);
            match matcher.deep_clone().compute_mask_or_eos() {
                Ok(mask) if mask.is_zero() => Err(NO_TEXT.to_owned()),
                Ok(_) => Ok(matcher),
                Err(error) => Err(message(&error)),
            }
        });
        let matcher = compiled.map_err(|problem| self.explain(grammar, problem))?;
        Ok(CompiledGrammar { matcher, vocab_size: self.vocab_size })
    }

    /// What is wrong with a grammar that did not compile.
    fn explain(&self, grammar: &Grammar, problem: String) -> GrammarError {
        let kind = grammar.kind();
        match grammar {
            _ if limits::is_exhaustion(&problem) => GrammarError::TooLarge { kind, problem },
            Grammar::JsonSchema(schema) => {
                let compile = |schema: Value| self.check_schema(schema);
                let (path, problem) = schema::locate(schema, problem, &compile);
                GrammarError::Schema { path, problem }
            }
            _ => GrammarError::Syntax { kind, problem },
        }
    }

    /// Compiles a schema as far as its own rules go, without its lexer.
    fn check_schema(&self, schema: Value) -> Result<(), String> {
        let source = source(&Grammar::JsonSchema(schema));
        limits::with_large_stack(|| {
            let checked = panic_utils::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let environment = self.factory.tok_env().clone();
                GrammarInit::Serialized(source)
                    .to_internal(Some(environment), limits::parser_limits())
            }));
            checked.map(drop).map_err(|error| message(&error))
        })
    }
}

impl CompiledGrammar {
    /// The constraint of a new text.
    #[must_use]
    pub fn constraint(&self) -> Box<dyn TokenConstraint> {
        // Deep: texts of one grammar are advanced on several threads.
        Box::new(GrammarConstraint::new(self.matcher.deep_clone(), self.vocab_size))
    }
}

fn source(grammar: &Grammar) -> TopLevelGrammar {
    match grammar {
        Grammar::JsonSchema(schema) => {
            TopLevelGrammar::from_json_schema(schema::with_our_options(schema))
        }
        Grammar::Regex(regex) => TopLevelGrammar::from_regex(regex),
        Grammar::Lark(lark) => TopLevelGrammar::from_lark(lark.clone()),
    }
}

/// The message of an error on one line, without what is meant for llguidance's authors.
fn message(error: &anyhow::Error) -> String {
    let text = error.to_string();
    let text = text.split("<backtrace>").next().unwrap_or_default();
    let text = text.split("<non-verbose/>").next().unwrap_or_default();
    let words: Vec<&str> = text.split_whitespace().collect();
    match words.join(" ") {
        stopped if stopped.starts_with("NoExtension") => NO_TEXT.to_owned(),
        text => text.chars().take(400).collect(),
    }
}
