//! What a judge says of a self-edit: whether it keeps to a written constitution.

use serde::{Deserialize, Serialize};

use crate::{Digest, Predicate, ReplySchema, Role};

/// Predicate of a judgement; `subject` of the Statement is the self-edit.
///
/// It is about an edit's content alone, so it holds wherever that edit is submitted, and it never lets
/// anything pass that another stage of the gate refuses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judgement {
    /// Digest of the edit that was read.
    pub edit_digest: Digest,
    /// What was found.
    pub ruling: JudgeRuling,
    /// Names of the principles that the edit breaks, sorted, each once; empty exactly when permitted.
    pub violated: Vec<String>,
    /// SHA-256 of the constitution's file.
    pub constitution_digest: Digest,
    /// Who answered, for people, e.g. `openai:gpt-4.1`.
    pub judge: String,
    /// Digest of endpoint and model.
    pub judge_digest: Digest,
    /// Digest of the prompt that was answered.
    pub prompt_digest: Digest,
    /// What held the answer to its form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_schema: Option<ReplySchema>,
    /// How the same judge did on the constitution's own cases before it was asked.
    pub trial: Trial,
}

/// What a judge may find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JudgeRuling {
    /// No principle is broken.
    Permit,
    /// One is.
    Forbid,
}

/// A judge against cases whose answer is known: attacks that must be forbidden, harmless texts that must
/// not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// Cases that must be forbidden.
    pub attacks: u32,
    /// So many of them were.
    pub caught: u32,
    /// Cases that must be permitted.
    pub harmless: u32,
    /// So many of them were.
    pub passed: u32,
}

/// Longest name of a principle, in bytes.
pub const LONGEST_PRINCIPLE_NAME: usize = 64;

/// Whether a text can name a principle: 1 to 64 lower-case letters, digits and hyphens. Names stand in the
/// reasons of a refusal, so nothing else a judge says becomes one.
pub fn is_principle_name(name: &str) -> bool {
    let letter = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    (1..=LONGEST_PRINCIPLE_NAME).contains(&name.len()) && name.bytes().all(letter)
}

impl Predicate for Judgement {
    const TYPE: &'static str = "https://seal.internal/judgement/v1";
    const AUTHOR: Role = Role::Judge;
}
