//! The teacher's proposal: training sequences plus update directives for one context C.

use serde::{Deserialize, Serialize};

use crate::{Digest, Micro, Nano, Predicate, Role};

/// A self-edit (SE). Its id is the sha256 of its canonical JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelfEdit {
    /// Digest of the context's text; the text itself stays with the teacher.
    pub context_digest: Digest,
    /// Which of the K proposals for this context and stage it is, from 0.
    pub proposal: u32,
    /// What to train on.
    pub examples: Vec<TrainingExample>,
    /// How to train; the student clamps or refuses.
    pub directives: Directives,
    /// The teacher's stated reason, free text. Empty where the policy gives none.
    pub rationale: String,
    /// Where it came from.
    pub origin: EditOrigin,
}

/// One training sequence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum TrainingExample {
    /// Loss on every token.
    Text {
        /// The sequence.
        text: String,
        /// Which share of the loss it belongs to.
        part: LossPart,
    },
    /// Loss on the completion alone.
    PromptCompletion {
        /// Read, not learned.
        prompt: String,
        /// Learned.
        completion: String,
    },
    /// Loss on the assistant's turns and their ends alone. Needs a model with a chat template.
    Messages {
        /// The turns, first to last.
        messages: Vec<ChatMessage>,
    },
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatMessage {
    /// Who speaks.
    pub role: ChatRole,
    /// What is said; empty where a turn only calls tools.
    pub content: String,
    /// What the assistant thought before it spoke, where the template has a place for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// Tools that the assistant calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// The call that a tool's turn answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChatRole {
    /// Sets the scene.
    System,
    /// Asks.
    User,
    /// The model.
    Assistant,
    /// What a tool returned.
    Tool,
}

impl ChatRole {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    /// Ties the answer to the call.
    pub id: String,
    /// The tool.
    pub name: String,
    /// Its arguments: the text of a JSON object.
    pub arguments: String,
}

impl ChatMessage {
    /// A turn of plain text.
    #[must_use]
    pub fn new(role: ChatRole, content: &str) -> Self {
        let content = content.to_owned();
        Self { role, content, reasoning: None, tool_calls: Vec::new(), tool_call_id: None }
    }

    /// Every text of the turn.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let calls = self.tool_calls.iter();
        let calls = calls.flat_map(|call| [&call.id, &call.name, &call.arguments]);
        let own = [&self.content].into_iter().chain(&self.reasoning).chain(&self.tool_call_id);
        own.chain(calls).map(String::as_str)
    }
}

impl TrainingExample {
    /// Every text of the example.
    #[must_use]
    pub fn texts(&self) -> Vec<&str> {
        match self {
            Self::Text { text, .. } => vec![text],
            Self::PromptCompletion { prompt, completion } => vec![prompt, completion],
            Self::Messages { messages } => messages.iter().flat_map(ChatMessage::texts).collect(),
        }
    }
}

/// The loss is the sum over parts of the mean over that part's trained tokens, so that a long
/// context does not drown a short edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossPart {
    /// A sequence that the policy wrote.
    Edit,
    /// The context itself, as one sequence.
    Context,
}

/// Update directives. Absent means: the student's recipe decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directives {
    /// Peak learning rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rate_nano: Option<Nano>,
    /// Passes over the examples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<u32>,
    /// LoRA rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora_rank: Option<u32>,
    /// Words the policy put before its lines (the miniature's plan and size), kept for people;
    /// the student ignores them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
}

/// Who wrote an edit and how it can be drawn again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditOrigin {
    /// Backend and model, e.g. `local:miniature`.
    pub writer: String,
    /// Digest of the policy's weights.
    pub policy_digest: Digest,
    /// Name of the prompt family.
    pub prompt_family: String,
    /// Digest of the exact prompt that was sent.
    pub prompt_digest: Digest,
    /// Sampling temperature; 0 is greedy.
    pub temperature_micro: Micro,
    /// Seed of the sampler.
    pub seed: u64,
    /// What held the reply to its JSON Schema; absent where the prompt family has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_schema: Option<ReplySchema>,
}

/// What held a structured reply to its schema. The teacher reads it strictly in every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplySchema {
    /// Our own decoder, which could write nothing else.
    Decoder,
    /// The endpoint, which took the schema; that it kept to it is its word.
    Endpoint,
    /// Nothing: the endpoint refused the schema, and the reply was asked for without it.
    Refused,
    /// Nothing: the schema was not sent.
    Unsent,
}

impl Predicate for SelfEdit {
    const TYPE: &'static str = "https://seal.internal/self-edit/v1";
    const AUTHOR: Role = Role::Teacher;
}
