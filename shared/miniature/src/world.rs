//! Entities and their facts: the training world, and profiles drawn for passages.
//!
//! **Invariant:** the 1600 names fall into three sets: 200 of the training world, 800 "fresh"
//! ones for the documents of pre-training, and 600 that pre-training never uses. Runs take their
//! contexts from the last set, so the base model cannot know anything about them.

use crate::dice::Dice;
use crate::grammar::{KINDS, Kind, Relation};
use crate::lexicon::{CODES, Class, GIVEN, HEADS, PASSAGE_FAMILIES, TAILS, WORLD_FAMILIES};

/// The seed of the world that the embedded base model was trained in.
pub const WORLD_SEED: u64 = 1;

/// Entities of the training world.
pub const WORLD_ENTITIES: usize = 200;
/// Names used in the documents of pre-training.
pub const FRESH_NAMES: usize = 800;

/// An entity with its five facts.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Two words.
    pub name: String,
    /// Company, service or device.
    pub kind: &'static Kind,
    /// One value per relation of the kind, in its order.
    pub values: [String; 5],
}

impl Profile {
    /// The facts: relation and value.
    pub fn facts(&self) -> impl Iterator<Item = (&'static Relation, &str)> {
        let values = self.values.iter().map(String::as_str);
        self.kind.relations.iter().zip(values)
    }

    /// The same entity with one other value for a relation: an untrue fact.
    pub fn with_value(&self, relation: usize, value: String) -> Self {
        let mut other = self.clone();
        other.values[relation] = value;
        other
    }
}

/// Everything that the base model knows by heart, and the names it does not.
pub struct World {
    /// The entities whose facts are in the weights.
    pub entities: Vec<Profile>,
    /// Names for the documents of pre-training.
    pub fresh: Vec<String>,
    /// Names that pre-training never uses.
    pub unused: Vec<String>,
}

impl World {
    /// The world of the embedded base model.
    pub fn standard() -> Self {
        Self::new(WORLD_SEED)
    }

    /// The world of a seed.
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::new("world", seed);
        let mut names = all_names();
        dice.shuffle(&mut names);
        let unused = names.split_off(WORLD_ENTITIES + FRESH_NAMES);
        let fresh = names.split_off(WORLD_ENTITIES);
        Self { entities: training_world(&mut dice, &names), fresh, unused }
    }

    /// A random ordered pair of any two syllables that is no unused name: such names teach the
    /// model to copy a name instead of completing it from memory.
    pub fn random_pair(&self, dice: &mut Dice) -> String {
        let syllables = [HEADS, TAILS].concat();
        loop {
            let name = pair(dice.word(&syllables), dice.word(&syllables));
            if !self.unused.contains(&name) {
                return name;
            }
        }
    }
}

/// Facts for a passage about `name`.
pub fn draw_profile(dice: &mut Dice, name: &str, kind: &'static Kind) -> Profile {
    let values = kind.relations.each_ref().map(|relation| draw_value(dice, relation.class));
    Profile { name: name.to_owned(), kind, values }
}

/// A value of a class, as passages use them (persons never of the training world).
pub fn draw_value(dice: &mut Dice, class: Class) -> String {
    match class {
        Class::Person => pair(dice.word(&GIVEN), dice.word(&PASSAGE_FAMILIES)),
        _ => dice.word(&class.words()).to_owned(),
    }
}

/// Two parts of a door code.
pub fn draw_code(dice: &mut Dice) -> String {
    pair(dice.word(&CODES), dice.word(&CODES))
}

fn all_names() -> Vec<String> {
    HEADS.iter().flat_map(|head| TAILS.iter().map(move |tail| pair(head, tail))).collect()
}

fn pair(first: &str, second: &str) -> String {
    format!("{first} {second}")
}

/// Each person heads one entity, so that every inverse question has exactly one answer.
fn training_world(dice: &mut Dice, names: &[String]) -> Vec<Profile> {
    let mut persons = world_persons();
    dice.shuffle(&mut persons);
    let facts = |(index, (name, person)): (usize, (&String, String))| {
        let mut profile = draw_profile(dice, name, KINDS[index % KINDS.len()]);
        let head =
            profile.kind.relations.iter().position(|relation| relation.class == Class::Person);
        if let Some(head) = head {
            profile.values[head] = person;
        }
        profile
    };
    names.iter().zip(persons).enumerate().map(facts).collect()
}

fn world_persons() -> Vec<String> {
    GIVEN.iter().flat_map(|given| WORLD_FAMILIES.iter().map(move |f| pair(given, f))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// The values that inverse questions start from.
    fn names_among_the_values(world: &World) -> Vec<&str> {
        let facts = world.entities.iter().flat_map(Profile::facts);
        let named = facts.filter(|(relation, _)| relation.inverse.is_some());
        named.map(|(_, value)| value).collect()
    }

    #[test]
    fn one_seed_makes_one_world() {
        let facts = |seed| format!("{:?}", World::new(seed).entities);
        assert_eq!(facts(1), facts(1));
        assert_ne!(facts(1), facts(2));
    }

    #[test]
    fn the_three_name_sets_are_disjoint() {
        let world = World::standard();
        let names: HashSet<_> = world.entities.iter().map(|entity| &entity.name).collect();
        assert_eq!(names.len(), WORLD_ENTITIES);
        let fresh: HashSet<_> = world.fresh.iter().collect();
        let unused: HashSet<_> = world.unused.iter().collect();
        assert_eq!((fresh.len(), unused.len()), (FRESH_NAMES, 600));
        assert!(names.is_disjoint(&fresh) && names.is_disjoint(&unused));
        assert!(fresh.is_disjoint(&unused));
    }

    #[test]
    fn every_inverse_question_of_the_training_world_has_one_answer() {
        let world = World::standard();
        let values = names_among_the_values(&world);
        assert_eq!(values.iter().collect::<HashSet<_>>().len(), values.len());
    }

    #[test]
    fn persons_of_passages_are_not_of_the_training_world() {
        let world = World::standard();
        let known = names_among_the_values(&world);
        let mut dice = Dice::new("test", 1);
        assert!((0..500).all(|_| !known.contains(&draw_value(&mut dice, Class::Person).as_str())));
    }

    #[test]
    fn random_pairs_never_hit_an_unused_name() {
        let world = World::standard();
        let mut dice = Dice::new("test", 1);
        assert!((0..3000).all(|_| !world.unused.contains(&world.random_pair(&mut dice))));
    }
}
