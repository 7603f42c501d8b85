//! Asking a model whether texts keep to a constitution.

use std::path::Path;
use std::sync::Arc;

use seal_endpoint::{Answer, Ask, OpenAi, Report, Unanswered, WantedReply, WayOut};
use seal_protocol::{Digest, ReplySchema};
use seal_service::clock::Clock;
use seal_trust::sha256;

use crate::config::JudgeConfig;
use crate::constitution::Constitution;
use crate::error::JudgeError;
use crate::prompt;
use crate::ruling::{Ruling, read_ruling};
use crate::trial::Tried;

/// Judging is no matter of taste.
const TEMPERATURE: f64 = 0.0;

/// A model with a constitution.
pub(crate) struct Asking {
    pub(crate) constitution: Constitution,
    endpoint: OpenAi,
}

/// What is asked about.
pub(crate) struct Material<'a> {
    /// One or several texts that belong together.
    pub(crate) texts: Vec<&'a str>,
    /// For the record of what left: what it is about, and which of it.
    pub(crate) about: (Digest, u32),
}

/// What came of one question.
pub(crate) struct Said {
    /// What was found, or why there is no ruling.
    pub(crate) ruling: Result<Ruling, String>,
    /// Of the prompt that was answered.
    pub(crate) prompt_digest: Digest,
    /// What held the answer to its form.
    pub(crate) schema: Option<ReplySchema>,
}

impl Asking {
    /// Reads the constitution, opens record and paid answers under `state`.
    ///
    /// # Errors
    /// A constitution that cannot try a judge; a state folder that cannot be written or is damaged.
    pub(crate) fn open(
        config: &JudgeConfig,
        way_out: Option<WayOut>,
        state: &Path,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, JudgeError> {
        let constitution = Constitution::read(&config.constitution)?;
        let (max_tokens, schema) = (config.max_answer_tokens, Some(prompt::schema(&constitution)));
        let wanted = WantedReply { max_tokens, schema };
        let (backend, egress) = (&config.backend, &config.egress);
        let endpoint = OpenAi::open(backend, egress, wanted, way_out, state, clock)?;
        Ok(Self { constitution, endpoint })
    }

    /// Digest of endpoint and model.
    pub(crate) fn judge_digest(&self) -> Digest {
        self.endpoint.identity()
    }

    /// One saying for each material, in their order.
    ///
    /// # Errors
    /// An endpoint that answers no further; what was answered until then is stored.
    pub(crate) fn about(
        &mut self,
        materials: &[Material<'_>],
        report: Report<'_>,
    ) -> Result<Vec<Said>, Unanswered> {
        let ask = |material: &Material<'_>| {
            let (prompt, seed) = prompt::asked(&self.constitution, &material.texts);
            let (context_digest, proposal) = material.about;
            Ask { prompt, context_digest, proposal, seed }
        };
        let asks: Vec<Ask> = materials.iter().map(ask).collect();
        let answers = self.endpoint.ask(&asks, TEMPERATURE, report)?;
        Ok(answers.into_iter().map(|answer| self.said(answer)).collect())
    }

    /// The constitution's own cases.
    ///
    /// # Errors
    /// As for [`Self::about`].
    pub(crate) fn about_cases(&mut self) -> Result<Vec<Tried>, Unanswered> {
        let cases = self.constitution.cases.clone();
        let said =
            self.about(&singly(cases.iter().map(|case| case.text.as_str())), &mut |_, _| {})?;
        Ok(said.into_iter().map(|said| said.ruling).collect())
    }

    fn said(&self, answer: Answer) -> Said {
        match answer {
            Answer::Missed(reason) => {
                Said { ruling: Err(reason), prompt_digest: sha256(b""), schema: None }
            }
            Answer::Written(written) => Said {
                ruling: read_ruling(&self.constitution, &written.text).map_err(str::to_owned),
                prompt_digest: written.prompt_digest,
                schema: written.schema,
            },
        }
    }
}

/// Texts that are each asked about alone.
pub(crate) fn singly<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<Material<'a>> {
    let material = |(index, text): (usize, &'a str)| Material {
        texts: vec![text],
        about: (sha256(text.as_bytes()), u32::try_from(index).unwrap_or(u32::MAX)),
    };
    texts.enumerate().map(material).collect()
}
