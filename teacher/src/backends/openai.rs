//! Replies from an endpoint that speaks OpenAI's protocol.

use std::path::Path;
use std::sync::Arc;

use seal_endpoint::{Answer, Ask, EgressConfig, OpenAi, OpenAiConfig, WantedReply, WayOut};
use seal_protocol::Digest;
use seal_service::clock::Clock;

use super::{Backend, Order, Outcome, Prompt, Sampling, Written};
use crate::error::TeacherError;
use crate::teacher::Report;

/// The backend.
pub(crate) struct Api {
    endpoint: OpenAi,
}

impl Api {
    /// Opens record and store in the state folder. `wanted` is what every reply has to be.
    pub(crate) fn open(
        config: &OpenAiConfig,
        egress: &EgressConfig,
        wanted: WantedReply,
        way_out: Option<WayOut>,
        state: &Path,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, TeacherError> {
        let endpoint = OpenAi::open(config, egress, wanted, way_out, state, clock)?;
        Ok(Self { endpoint })
    }
}

impl Backend for Api {
    fn first_policy(&self) -> Digest {
        self.endpoint.identity()
    }

    fn write(
        &mut self,
        orders: &[Order],
        sampling: &Sampling,
        report: Report<'_>,
    ) -> Result<Vec<Outcome>, TeacherError> {
        let asks: Result<Vec<Ask>, TeacherError> = orders.iter().map(ask).collect();
        let (asks, temperature) = (asks?, sampling.temperature.to_f64());
        let answers = match &sampling.model {
            None => self.endpoint.ask(&asks, temperature, report)?,
            Some(model) => self.endpoint.ask_model(model, &asks, temperature, report)?,
        };
        Ok(answers.into_iter().map(outcome).collect())
    }

    fn endpoint(&mut self) -> Option<&mut OpenAi> {
        Some(&mut self.endpoint)
    }
}

fn ask(order: &Order) -> Result<Ask, TeacherError> {
    let Order { context_digest, proposal, seed, .. } = *order;
    let prompt = match &order.prompt {
        Prompt::Words(prompt) => prompt.clone(),
        Prompt::Tokens { .. } => {
            let what = "tokens of a local policy stay here; set `prompt_family` to a text family";
            return Err(TeacherError::Config(what.to_owned()));
        }
    };
    Ok(Ask { prompt, context_digest, proposal, seed })
}

fn outcome(answer: Answer) -> Outcome {
    match answer {
        Answer::Missed(reason) => Outcome::Missed(reason),
        Answer::Written(seal_endpoint::Written { text, prompt_digest, schema }) => {
            Outcome::Written(Written { text, tokens: Vec::new(), prompt_digest, schema })
        }
    }
}
