//! The mix of pre-training: lines about the training world and edit documents.
//!
//! Two kinds of sequences go into each step. Lines put facts, implications and refusals into the
//! weights; documents teach to write edits from a passage, which is copying names and values.

use crate::dice::Dice;
use crate::edits::{DEMONSTRATION_NOISE, Edit, PLANS, SIZES, demonstrate, policy_prompt};
use crate::grammar::{DOOR_CODE, KINDS};
use crate::lines::{Direction, random_question, random_statement, refusal};
use crate::passages::{Extra, Passage, draw_passage};
use crate::world::{Profile, World, draw_profile};

/// All four wordings: what pre-training asks in.
const ALL_WORDINGS: [usize; 4] = [0, 1, 2, 3];

/// Share of door-code questions among the lines.
const REFUSAL_SHARE: f64 = 0.05;
/// Statements, inverse and implied ones, then questions likewise: shares among the other lines.
const WORLD_LINE_SHARES: [f64; 6] = [25.0, 6.0, 8.0, 28.0, 12.0, 16.0];
/// Share of documents about fresh entities; the others are about the training world.
const FRESH_SHARE: f64 = 0.9;
/// Share of fresh documents whose entity has a random pair of syllables as its name.
const RANDOM_PAIR_SHARE: f64 = 0.6;
/// Shares of passages with nothing more, a secret, a quoted fact and a quoted secret.
const EXTRA_SHARES: [f64; 4] = [0.82, 0.10, 0.04, 0.04];

/// A training line about the training world: statement or question, in the given wordings.
pub fn draw_world_line(dice: &mut Dice, world: &World, wordings: &[usize]) -> String {
    let entity = dice.pick(&world.entities);
    let way = [Direction::Forward, Direction::Inverse, Direction::Implied];
    let choice = dice.weighted(&WORLD_LINE_SHARES);
    let line = match choice {
        0..3 => random_statement(dice, entity, way[choice]),
        _ => random_question(dice, entity, way[choice - 3], wordings).map(|asked| asked.line()),
    };
    line.unwrap_or_else(|| draw_world_line(dice, world, wordings))
}

/// A line of pre-training.
pub fn draw_line(dice: &mut Dice, world: &World) -> String {
    if dice.chance(REFUSAL_SHARE) {
        let name = any_name(dice, world);
        return refusal(&name, dice.below(DOOR_CODE.len())).line();
    }
    draw_world_line(dice, world, &ALL_WORDINGS)
}

/// A passage with an edit for it.
#[derive(Clone, Debug)]
pub struct Document {
    /// What the edit is about.
    pub passage: Passage,
    /// The demonstration.
    pub edit: Edit,
}

impl Document {
    /// The prompt of the policy, up to and with `<edit>`.
    pub fn prompt(&self) -> String {
        policy_prompt(&self.passage.text)
    }
}

/// A document of pre-training: plan and size uniform.
pub fn draw_document(dice: &mut Dice, world: &World) -> Document {
    let profile = document_profile(dice, world);
    let extras = [Extra::None, Extra::Secret, Extra::QuotedFact, Extra::QuotedSecret];
    let extra = extras[dice.weighted(&EXTRA_SHARES)];
    let passage = draw_passage(dice, profile, extra);
    let (plan, size) = (*dice.pick(&PLANS), *dice.pick(&SIZES));
    let edit = demonstrate(dice, &passage, plan, size, DEMONSTRATION_NOISE);
    Document { passage, edit }
}

fn document_profile(dice: &mut Dice, world: &World) -> Profile {
    if !dice.chance(FRESH_SHARE) {
        return dice.pick(&world.entities).clone();
    }
    let name = match dice.chance(RANDOM_PAIR_SHARE) {
        true => world.random_pair(dice),
        false => dice.pick(&world.fresh).clone(),
    };
    let kind = KINDS[dice.below(KINDS.len())];
    draw_profile(dice, &name, kind)
}

/// Half the refusals are about known entities, half about names never seen.
fn any_name(dice: &mut Dice, world: &World) -> String {
    if dice.chance(0.5) {
        return dice.pick(&world.entities).name.clone();
    }
    world.random_pair(dice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::Vocabulary;

    #[test]
    fn documents_fit_the_model_and_its_vocabulary() {
        let world = World::standard();
        let vocabulary = Vocabulary::new();
        let mut dice = Dice::new("test", 1);
        for _ in 0..500 {
            let document = draw_document(&mut dice, &world);
            let text = format!("{} {}", document.prompt(), document.edit.text());
            let tokens = vocabulary.encode(&text).unwrap().len() + 2;
            assert!(tokens <= 250, "{tokens} tokens: {text}");
        }
    }

    #[test]
    fn documents_and_lines_never_name_an_unused_entity() {
        let world = World::standard();
        let unused: std::collections::HashSet<&str> =
            world.unused.iter().map(String::as_str).collect();
        let mut dice = Dice::new("test", 1);
        for _ in 0..300 {
            let document = draw_document(&mut dice, &world);
            assert!(!unused.contains(document.passage.profile.name.as_str()));
            assert!(
                document
                    .passage
                    .profile
                    .values
                    .iter()
                    .all(|value| !unused.contains(value.as_str()))
            );
            let words: Vec<String> =
                draw_line(&mut dice, &world).split(' ').map(str::to_owned).collect();
            assert!(words.windows(2).all(|pair| !unused.contains(pair.join(" ").as_str())));
        }
    }

    #[test]
    fn every_twentieth_line_refuses() {
        let world = World::standard();
        let mut dice = Dice::new("test", 1);
        let lines = (0..2000).map(|_| draw_line(&mut dice, &world));
        let refusals = lines.filter(|line| line.contains("door")).count();
        assert!((60..=140).contains(&refusals), "{refusals} of 2000");
    }
}
