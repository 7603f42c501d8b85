//! Replies sampled from a model of ours, many side by side.
//!
//! **Invariant:** a reply is fixed by policy, prompt, temperature and seed; the batch it was drawn in
//! changes nothing.

use seal_model::{SamplingConfig, Tokenizer, generate};
use seal_protocol::Digest;

use super::{Backend, Order, Outcome, Prompt, Sampling, Written};
use crate::config::SamplingSettings;
use crate::error::TeacherError;
use crate::policies::Policies;
use crate::teacher::Report;

/// The policies and how replies are drawn from them.
pub(crate) struct Local {
    policies: Policies,
    tokenizer: Tokenizer,
    stop: Vec<u32>,
    settings: SamplingSettings,
}

impl Local {
    /// `stop` ends a reply, besides the model's own end tokens.
    pub(crate) fn new(
        policies: Policies,
        tokenizer: Tokenizer,
        stop: Vec<u32>,
        settings: SamplingSettings,
    ) -> Self {
        Self { policies, tokenizer, stop, settings }
    }

    fn prompt(&self, order: &Order) -> Result<seal_model::Prompt, String> {
        let tokens = match &order.prompt {
            Prompt::Tokens { tokens, .. } => tokens.clone(),
            Prompt::Text(text) => self.tokenizer.encode(text).map_err(|error| error.to_string())?,
            Prompt::Chat(_) => {
                return Err("a local policy continues texts; set `layout = \"plain\"`".to_owned());
            }
        };
        Ok(seal_model::Prompt { adapter: None, tokens, seed: order.seed })
    }

    fn written(&self, order: &Order, sampled: &[u32]) -> Written {
        let (tokens, text) = match &order.prompt {
            Prompt::Tokens { forced, .. } => {
                let tokens = [forced, sampled].concat();
                let text = self.tokenizer.decode(&tokens);
                (tokens, text)
            }
            // A text family reads what people would read.
            _ => (sampled.to_vec(), self.tokenizer.decode_plain(sampled)),
        };
        Written { text, tokens, prompt_digest: order.prompt_digest }
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
        let settings = SamplingConfig {
            max_new_tokens: self.settings.max_new_tokens,
            temperature: sampling.temperature.to_f64(),
            stop: self.stop.clone(),
            ..SamplingConfig::default()
        };
        let asked: Vec<Result<seal_model::Prompt, String>> =
            orders.iter().map(|order| self.prompt(order)).collect();
        let prompts: Vec<_> =
            asked.iter().filter_map(|asked| asked.as_ref().ok().cloned()).collect();
        let total = prompts.len() as u64;
        let mut replies = Vec::new();
        for batch in prompts.chunks(self.settings.batch.max(1)) {
            let before = replies.len() as u64;
            let mut inside = |done: u64, of: u64| {
                report(before + done * batch.len() as u64 / of.max(1), total);
            };
            replies.extend(generate(&policy, &[], batch, &settings, &mut inside)?);
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
