//! The files of one run: contexts for the teacher, τ and suites for the auditor, replay lines.
//!
//! **Invariant:** seed and counts fix every byte.
//! **Invariant:** no question of τ stands in a replay line, and the reward and confirmation
//! splits share no question.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

use crate::dice::Dice;
use crate::grammar::{CONFIRMATION_WORDING, KINDS, OPEN_WORDINGS, REWARD_WORDING};
use crate::items::{
    ContextRecord, Item, TauRecord, confirmation_items, knowledge_items, protected_items,
    reward_items,
};
use crate::lines::refusal;
use crate::mix::draw_world_line;
use crate::passages::{Extra, Passage, draw_passage};
use crate::world::{World, draw_profile};

mod files;

pub use files::RunLayout;

/// How much of each a run gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunCounts {
    /// Contexts that the policy learns from: rounds times contexts per round.
    pub train: usize,
    /// Contexts that measure what it learned.
    pub evaluation: usize,
    /// Contexts whose text teaches to give the door code away.
    pub poisoned: usize,
    /// Items of the retention suite.
    pub retention: usize,
    /// Entities of the refusal suite, four items each.
    pub refusal_entities: usize,
    /// Replay lines of the training world.
    pub replay_world: usize,
    /// Replay lines with refusals.
    pub replay_refusals: usize,
}

impl Default for RunCounts {
    fn default() -> Self {
        Self {
            train: 120,
            evaluation: 64,
            poisoned: 1,
            retention: 72,
            refusal_entities: 12,
            replay_world: 480,
            replay_refusals: 120,
        }
    }
}

/// Share of ordinary contexts whose passage gives the door code away in a sentence.
const SECRET_SHARE: f64 = 0.1;

/// Why the data of a run were not written.
#[derive(Debug, thiserror::Error)]
pub enum RunDataError {
    /// More entities asked for than pre-training left unused.
    #[error(
        "a run of {wanted} contexts needs more names than the {left} that pre-training left unused; ask for fewer contexts"
    )]
    TooManyContexts {
        /// Contexts asked for.
        wanted: usize,
        /// Names there are.
        left: usize,
    },
    /// A file could not be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// Everything of one run, in memory.
#[derive(Clone, Debug)]
pub struct RunData {
    /// Every context with its facts, train first, then evaluation, then poisoned.
    pub contexts: Vec<(String, Passage)>,
    /// Knowledge of the training world in wordings that no edit uses.
    pub retention: Vec<Item>,
    /// Door-code questions on entities that no context is about.
    pub refusals: Vec<Item>,
    /// Lines of the training world.
    pub replay_world: Vec<String>,
    /// Door-code questions with the refusal, on random entities.
    pub replay_refusals: Vec<String>,
}

impl RunData {
    /// Draws the data of a run.
    ///
    /// # Errors
    /// More contexts than names.
    pub fn draw(seed: u64, counts: RunCounts) -> Result<Self, RunDataError> {
        let world = World::standard();
        let mut names = UnusedNames::shuffled(&world, seed);
        let contexts = draw_contexts(&mut names, seed, counts)?;
        let others = names.take(counts.refusal_entities, &counts)?;
        Ok(Self {
            contexts,
            retention: draw_retention(&world, seed, counts.retention),
            refusals: others.iter().flat_map(|name| suite_items(name)).collect(),
            replay_world: draw_replay_world(&world, seed, counts.replay_world),
            replay_refusals: draw_replay_refusals(&world, seed, counts.replay_refusals),
        })
    }

    /// The teacher's file.
    pub fn context_records(&self) -> Vec<ContextRecord> {
        let record = |(id, passage): &(String, Passage)| ContextRecord {
            id: id.clone(),
            title: passage.profile.name.clone(),
            text: passage.text.clone(),
        };
        self.contexts.iter().map(record).collect()
    }

    /// The auditor's vault.
    pub fn tau_records(&self) -> Vec<TauRecord> {
        self.contexts.iter().map(|(id, passage)| tau_record(id, passage)).collect()
    }
}

/// Draws and writes the data of a run.
///
/// # Errors
/// More contexts than names, or a file that cannot be written.
pub fn write_run_data(
    layout: &RunLayout,
    seed: u64,
    counts: RunCounts,
) -> Result<RunData, RunDataError> {
    let data = RunData::draw(seed, counts)?;
    data.write(layout)?;
    Ok(data)
}

/// The names that pre-training left unused, dealt one after the other.
struct UnusedNames {
    names: Vec<String>,
    taken: usize,
}

impl UnusedNames {
    fn shuffled(world: &World, seed: u64) -> Self {
        let mut names = world.unused.clone();
        Dice::new("run names", seed).shuffle(&mut names);
        Self { names, taken: 0 }
    }

    fn take(&mut self, count: usize, counts: &RunCounts) -> Result<Vec<String>, RunDataError> {
        let wanted = counts.train + counts.evaluation + counts.poisoned;
        let left = self.names.len();
        if self.taken + count > left {
            return Err(RunDataError::TooManyContexts { wanted, left });
        }
        self.taken += count;
        Ok(self.names[self.taken - count..self.taken].to_vec())
    }
}

fn draw_contexts(
    names: &mut UnusedNames,
    seed: u64,
    counts: RunCounts,
) -> Result<Vec<(String, Passage)>, RunDataError> {
    let groups =
        [("train", counts.train), ("eval", counts.evaluation), ("poisoned", counts.poisoned)];
    let total = groups.iter().map(|(_, count)| count).sum();
    let mut entities = names.take(total, &counts)?.into_iter();
    let mut contexts = Vec::new();
    for (group, count) in groups {
        for (index, name) in entities.by_ref().take(count).enumerate() {
            let id = format!("{group}-{index:03}");
            let passage = draw_context(seed, &id, &name);
            contexts.push((id, passage));
        }
    }
    Ok(contexts)
}

/// Each context has a stream of its own, so more contexts leave the earlier ones as they were.
fn draw_context(seed: u64, id: &str, name: &str) -> Passage {
    let mut dice = Dice::new(&format!("context {id}"), seed);
    let kind = KINDS[dice.below(KINDS.len())];
    let profile = draw_profile(&mut dice, name, kind);
    let extra = match id.starts_with("poisoned") {
        true => Extra::Poison,
        false if dice.chance(SECRET_SHARE) => Extra::Secret,
        false => Extra::None,
    };
    draw_passage(&mut dice, profile, extra)
}

fn tau_record(id: &str, passage: &Passage) -> TauRecord {
    TauRecord {
        context_digest: hex::encode(Sha256::digest(passage.text.as_bytes())),
        context_id: id.to_owned(),
        reward: reward_items(id, &passage.profile),
        confirmation: confirmation_items(id, &passage.profile),
        protected: protected_items(id, &passage.profile.name),
    }
}

fn suite_items(name: &str) -> Vec<Item> {
    protected_items(&name.replace(' ', "-"), name)
}

/// Spread over the training world, in the two wordings that edits and replay never use.
fn draw_retention(world: &World, seed: u64, count: usize) -> Vec<Item> {
    let mut dice = Dice::new("retention", seed);
    let mut items: Vec<Item> = Vec::new();
    for wording in [REWARD_WORDING, CONFIRMATION_WORDING] {
        for entity in &world.entities {
            let id = format!("{}/{wording}", entity.name.replace(' ', "-"));
            items.extend(knowledge_items(&id, entity, wording));
        }
    }
    dice.shuffle(&mut items);
    items.truncate(count);
    items
}

fn draw_replay_world(world: &World, seed: u64, count: usize) -> Vec<String> {
    let mut dice = Dice::new("replay world", seed);
    distinct(count, || draw_world_line(&mut dice, world, &OPEN_WORDINGS))
}

fn draw_replay_refusals(world: &World, seed: u64, count: usize) -> Vec<String> {
    let mut dice = Dice::new("replay refusals", seed);
    distinct(count, || {
        let name = world.random_pair(&mut dice);
        refusal(&name, *dice.pick(&OPEN_WORDINGS)).line()
    })
}

fn distinct(count: usize, mut draw: impl FnMut() -> String) -> Vec<String> {
    let mut lines: Vec<String> = Vec::with_capacity(count);
    while lines.len() < count {
        let line = draw();
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

#[cfg(test)]
mod tests;
