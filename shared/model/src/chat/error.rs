//! Why a conversation was not rendered.

use crate::error::ModelError;
use std::io;
use std::path::PathBuf;

/// Every error names the file or the turn at fault and, where there is one, the mend.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// The folder holds no template.
    #[error("`{}` has no chat template: no chat_template.jinja and no `chat_template` in tokenizer_config.json; copy chat_template.jinja from the instruction-tuned model of the family, or ask without `[chat]`", dir.display())]
    Missing {
        /// The model folder.
        dir: PathBuf,
    },
    /// A file could not be read.
    #[error("cannot access `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file of the folder is not what transformers writes there.
    #[error("`{}`: {problem}", path.display())]
    Folder {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the field's name.
        problem: String,
    },
    /// The folder has several templates, and not the one that is needed.
    #[error("the model folder has no chat template `{name}`; it has {known}")]
    Unknown {
        /// The name.
        name: String,
        /// Those there are.
        known: String,
    },
    /// The template is no sound template, or failed on this conversation.
    #[error("chat template, line {line}: {problem}")]
    Template {
        /// Where, from 1; 0 where it is not known.
        line: usize,
        /// What the engine said.
        problem: String,
    },
    /// The template itself refused the conversation.
    #[error("the chat template refuses this conversation: {0}")]
    Raised(String),
    /// The template asks for more than any chat template needs.
    #[error("the chat template exceeds {0}; it is damaged or hostile")]
    Limit(&'static str),
    /// The conversation is not one that can be rendered.
    #[error("the conversation {0}")]
    Conversation(String),
    /// A turn would be learned without its end.
    #[error(
        "assistant turn {turn} ends without a learned end-of-turn token, so the model would never learn to stop; put the token inside the template's {{% generation %}} block, or add its id to `eos_token_id` of generation_config.json"
    )]
    NeverStops {
        /// Which of the assistant's turns, from 1.
        turn: usize,
    },
    /// The tokenizer refused the rendered text.
    #[error(transparent)]
    Tokens(Box<ModelError>),
}

impl From<ModelError> for ChatError {
    fn from(error: ModelError) -> Self {
        Self::Tokens(Box::new(error))
    }
}
