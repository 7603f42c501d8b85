//! Replies sampled from a model of ours, many side by side.
//!
//! **Invariant:** a reply is fixed by policy, prompt, temperature and seed; the batch it was drawn in
//! changes nothing.
//! **Invariant:** where the prompt family has a schema, a reply that ends is one of its objects: no
//! other token is drawn.

use std::sync::Arc;

use seal_model::grammar::{CompiledGrammar, Grammar, Grammars};
use seal_model::{Decoder, Generated, Generator, Limits, Request, SamplingConfig};
use seal_protocol::{Digest, ReplySchema};
use serde_json::Value;

use super::{Backend, Order, Outcome, Prompt, Sampling, Written};
use crate::asking::Reader;
use crate::error::TeacherError;
use crate::first_policy::FirstPolicy;
use crate::policies::Policies;
use crate::sampling::SamplingSettings;
use crate::teacher::Report;

/// The policies and how replies are drawn from them.
pub(crate) struct Local {
    policies: Policies,
    reader: Reader,
    stop: Vec<u32>,
    settings: SamplingSettings,
    held: Held,
}

/// What holds replies to the schema of the prompt family.
pub(crate) enum Held {
    /// There is none.
    NoSchema,
    /// Nothing: the config says so.
    Unsent,
    /// The decoder.
    Decoder(Box<CompiledGrammar>),
}

impl Held {
    /// Compiles a schema for a policy. Its updates have its shape, so once is enough.
    ///
    /// # Errors
    /// A tokenizer whose tokens are no pieces of text.
    pub(crate) fn to(schema: &Value, policy: &FirstPolicy) -> Result<Self, TeacherError> {
        let grammars = Grammars::new(policy.tokenizer(), policy.shape());
        let compiled = grammars
            .and_then(|grammars| grammars.compile(&Grammar::JsonSchema(schema.clone())))
            .map_err(|error| {
                TeacherError::Config(format!(
                    "the policy in `{}` cannot be held to the schema of the prompt family: {error}; \
                     take a policy with another tokenizer, or set `constrain = false` under [sampling]",
                    policy.path().display()
                ))
            })?;
        Ok(Self::Decoder(Box::new(compiled)))
    }

    fn grammar(&self) -> Option<&CompiledGrammar> {
        match self {
            Self::Decoder(grammar) => Some(grammar),
            Self::NoSchema | Self::Unsent => None,
        }
    }

    fn named(&self) -> Option<ReplySchema> {
        match self {
            Self::NoSchema => None,
            Self::Unsent => Some(ReplySchema::Unsent),
            Self::Decoder(_) => Some(ReplySchema::Decoder),
        }
    }
}

impl Local {
    /// `stop` ends a reply, besides the model's own end tokens.
    pub(crate) fn new(
        policies: Policies,
        reader: Reader,
        stop: Vec<u32>,
        settings: SamplingSettings,
        held: Held,
    ) -> Self {
        Self { policies, reader, stop, settings, held }
    }

    fn prompt(&self, order: &Order) -> Result<seal_model::Prompt, String> {
        let tokens = self.reader.tokens(&order.prompt)?;
        Ok(seal_model::Prompt { adapter: None, tokens, seed: order.seed })
    }

    fn written(&self, order: &Order, sampled: &[u32]) -> Written {
        let (tokens, text) = match &order.prompt {
            Prompt::Tokens { forced, .. } => {
                let tokens = [forced, sampled].concat();
                let text = self.reader.tokenizer.decode(&tokens);
                (tokens, text)
            }
            // A text family reads what people would read.
            _ => (sampled.to_vec(), self.reader.tokenizer.decode_plain(sampled)),
        };
        Written { text, tokens, prompt_digest: order.prompt_digest, schema: self.held.named() }
    }

    /// One batch of replies, in the order of the prompts.
    fn replies(
        &self,
        policy: &Decoder,
        prompts: &[seal_model::Prompt],
        sampling: &Arc<SamplingConfig>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Vec<Generated>, TeacherError> {
        let mut generator = Generator::new(policy, Limits::of(policy));
        for prompt in prompts {
            generator.submit(Request {
                prompt: prompt.tokens.clone(),
                adapter: None,
                seed: prompt.seed,
                sampling: sampling.clone(),
                constraint: self.held.grammar().map(CompiledGrammar::constraint),
            })?;
        }
        Ok(generator.write_all(progress)?)
    }
}

impl Backend for Local {
    fn first_policy(&self) -> Digest {
        self.policies.first_digest()
    }

    fn write(
        &mut self,
        orders: &[Order],
        sampling: &Sampling,
        report: Report<'_>,
    ) -> Result<Vec<Outcome>, TeacherError> {
        let policy = self.policies.get(sampling.policy)?;
        let temperature = sampling.temperature.to_f64();
        let settings = Arc::new(self.settings.drawn(temperature, self.stop.clone()));
        let asked: Vec<Result<seal_model::Prompt, String>> =
            orders.iter().map(|order| self.prompt(order)).collect();
        let prompts: Vec<_> =
            asked.iter().filter_map(|asked| asked.as_ref().ok().cloned()).collect();
        let total = prompts.len() as u64;
        let mut replies = Vec::new();
        for batch in prompts.chunks(self.settings.batch.max(1)) {
            let before = replies.len() as u64;
            let mut inside = |done: u64| report(before + done, total);
            replies.extend(self.replies(&policy, batch, &settings, &mut inside)?);
        }
        let mut replies = replies.into_iter();
        let outcome = |(order, asked): (&Order, Result<_, String>)| match asked {
            Err(reason) => Outcome::Missed(reason),
            Ok(_) => match replies.next() {
                Some(reply) => Outcome::Written(self.written(order, &reply.tokens)),
                None => Outcome::Missed("the policy wrote nothing".to_owned()),
            },
        };
        Ok(orders.iter().zip(asked).map(outcome).collect())
    }

    fn policies(&mut self) -> Option<&mut Policies> {
        Some(&mut self.policies)
    }
}
