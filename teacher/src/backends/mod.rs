//! Who writes replies: a model of ours, an API, or a file of recorded replies.
//!
//! A backend takes prompts and gives texts. What a prompt says and what is read from a text is the
//! prompt family's business, before and behind it.
//!
//! **Invariant:** an order without a reply is an outcome of its own and stops no other, unless the
//! backend can do no more work at all; what was paid for until then is kept and never paid again.

mod local;
mod openai;
mod prompt;
mod recorded;

use std::path::PathBuf;

use seal_endpoint::{OpenAi, OpenAiConfig};
use seal_protocol::{Digest, Micro, ReplySchema};
use serde::Deserialize;

use crate::error::TeacherError;
use crate::policies::Policies;
use crate::teacher::Report;

pub(crate) use local::{Held, Local};
pub(crate) use openai::Api;
pub(crate) use prompt::Prompt;
pub(crate) use recorded::Recorded;
pub use recorded::{RecordedConfig, RecordedError};

/// `[backend]` of `teacher.toml`. Left out: `kind = "local"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum BackendConfig {
    /// A model on this machine: `policy`, a folder or a GGUF file, else `base_model`.
    Local(LocalConfig),
    /// An endpoint that speaks OpenAI's protocol.
    OpenAi(Box<OpenAiConfig>),
    /// Replies that were written before.
    Recorded(RecordedConfig),
}

/// See `policy` and `[sampling]` too.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LocalConfig {
    /// Folder with the `tokenizer.json` of a policy in a GGUF file, and with its chat template; absent:
    /// what the file itself says.
    pub tokenizer: Option<PathBuf>,
}

impl BackendConfig {
    /// Paths in it, to be taken from the config's folder.
    pub(crate) fn files(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        match self {
            Self::Local(config) => config.tokenizer.as_mut(),
            Self::OpenAi(config) => config.api_key_file.as_mut(),
            Self::Recorded(config) => Some(&mut config.file),
        }
        .into_iter()
    }
}

impl Default for BackendConfig {
    fn default() -> Self {
        Self::Local(LocalConfig::default())
    }
}

/// One reply that is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    /// What to continue.
    pub(crate) prompt: Prompt,
    /// SHA-256 of the prompt as text.
    pub(crate) prompt_digest: Digest,
    /// Digest of the context it is about.
    pub(crate) context_digest: Digest,
    /// The context's name in the run.
    pub(crate) context_id: String,
    /// Which of its proposals.
    pub(crate) proposal: u32,
    /// Fixes the sample, where the backend can.
    pub(crate) seed: u64,
}

/// How all orders of one request are carried out.
#[derive(Clone, Debug)]
pub(crate) struct Sampling {
    /// Which policy writes.
    pub(crate) policy: Digest,
    /// What an API calls it, where it is not the model that the config names.
    pub(crate) model: Option<String>,
    /// 0 is greedy.
    pub(crate) temperature: Micro,
}

/// What came of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A reply.
    Written(Written),
    /// None, and why.
    Missed(String),
}

/// A reply as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// As text, word for word.
    pub(crate) text: String,
    /// As tokens of the local policy; empty where another program's model wrote it.
    pub(crate) tokens: Vec<u32>,
    /// SHA-256 of the prompt that was answered.
    pub(crate) prompt_digest: Digest,
    /// What held it to the family's schema; absent where there is none.
    pub(crate) schema: Option<ReplySchema>,
}

/// Writes replies.
pub(crate) trait Backend {
    /// Names the writer before any policy update: its weights, or where and what it is.
    fn first_policy(&self) -> Digest;

    /// One outcome for each order, in their order.
    ///
    /// # Errors
    /// What keeps the backend from any further work.
    fn write(
        &mut self,
        orders: &[Order],
        sampling: &Sampling,
        report: Report<'_>,
    ) -> Result<Vec<Outcome>, TeacherError>;

    /// The policies whose weights are here and can be trained, if any.
    fn policies(&mut self) -> Option<&mut Policies> {
        None
    }

    /// The endpoint that writes, if one does.
    fn endpoint(&mut self) -> Option<&mut OpenAi> {
        None
    }
}
