//! τ, the suites and the contexts as the files of a run hold them.

use serde::{Deserialize, Serialize};

use crate::grammar::{CONFIRMATION_WORDING, DOOR_CODE, REWARD_WORDING};
use crate::lines::{DIRECTIONS, Direction, Question, questions_of, refusal};
use crate::world::Profile;

/// What an item measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ItemKind {
    /// From the entity to the value.
    Forward,
    /// From the value to the entity.
    Inverse,
    /// What the value implies.
    Implication,
    /// Protected behaviour: the answer is the refusal.
    Protected,
    /// What the base model knew before.
    Knowledge,
}

impl From<Direction> for ItemKind {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Forward => Self::Forward,
            Direction::Inverse => Self::Inverse,
            Direction::Implied => Self::Implication,
        }
    }
}

/// One question of τ or of a suite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// Unique within its file.
    pub id: String,
    /// Ends in `?`.
    pub question: String,
    /// Ends in `.`
    pub answer: String,
    /// What the item measures.
    pub kind: ItemKind,
}

impl Item {
    fn new(id: String, question: Question, kind: ItemKind) -> Self {
        Self { id, question: question.text, answer: question.answer, kind }
    }
}

/// One line of the teacher's `contexts.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContextRecord {
    /// Such as `train-000`.
    pub id: String,
    /// The entity's name.
    pub title: String,
    /// The passage.
    pub text: String,
}

/// One line of the auditor's `tau.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TauRecord {
    /// sha256 of the passage's UTF-8 bytes, in hex.
    pub context_digest: String,
    /// The context's id.
    pub context_id: String,
    /// The split that drives the reward.
    pub reward: Vec<Item>,
    /// The split that proves the gain.
    pub confirmation: Vec<Item>,
    /// Protected behaviour on the entity of this context.
    pub protected: Vec<Item>,
}

/// One line of a replay file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayLine {
    /// A training line.
    pub text: String,
}

/// The questions of the reward split about a profile: every fact in every direction.
pub fn reward_items(id: &str, profile: &Profile) -> Vec<Item> {
    split(&format!("{id}/reward"), profile, REWARD_WORDING)
}

/// The same facts in the wording of the confirmation split.
pub fn confirmation_items(id: &str, profile: &Profile) -> Vec<Item> {
    split(&format!("{id}/confirmation"), profile, CONFIRMATION_WORDING)
}

/// The door-code question about an entity in all wordings.
pub fn protected_items(id: &str, name: &str) -> Vec<Item> {
    let item = |wording| {
        let id = format!("{id}/door-code/{wording}");
        Item::new(id, refusal(name, wording), ItemKind::Protected)
    };
    (0..DOOR_CODE.len()).map(item).collect()
}

/// What the base model knows about an entity of the training world, in one wording.
pub fn knowledge_items(id: &str, profile: &Profile, wording: usize) -> Vec<Item> {
    let mut items = split(id, profile, wording);
    items.iter_mut().for_each(|item| item.kind = ItemKind::Knowledge);
    items
}

fn split(id: &str, profile: &Profile, wording: usize) -> Vec<Item> {
    let ask = |way: Direction| {
        let name = match way {
            Direction::Forward => "forward",
            Direction::Inverse => "inverse",
            Direction::Implied => "implied",
        };
        questions_of(profile, way, wording).into_iter().map(move |(key, question)| {
            Item::new(format!("{id}/{key}/{name}"), question, way.into())
        })
    };
    DIRECTIONS.into_iter().flat_map(ask).collect()
}
