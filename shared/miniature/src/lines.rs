//! Lines: one sentence or one question with its answer, each a training sequence of its own.
//!
//! A question with its answer reads `q who founded zel tor ? a ada cruz .`

use crate::dice::Dice;
use crate::grammar::{DOOR_CODE, REFUSAL, Relation};
use crate::world::Profile;

/// What a line or a question asks about a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the entity to the value.
    Forward,
    /// From the value to the entity.
    Inverse,
    /// From the entity to what the value implies.
    Implied,
}

/// All three directions.
pub const DIRECTIONS: [Direction; 3] = [Direction::Forward, Direction::Inverse, Direction::Implied];

/// A question and its answer, without the markers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// Ends in `?`.
    pub text: String,
    /// Ends in `.`
    pub answer: String,
}

impl Question {
    /// The line that teaches it.
    pub fn line(&self) -> String {
        format!("q {} a {}", self.text, self.answer)
    }
}

/// Fills a template about one fact of a profile.
pub fn fill(template: &str, profile: &Profile, relation: &Relation, value: &str) -> String {
    let implied = relation.class.implied(value).unwrap_or_default();
    let named = template.replace("{x}", &profile.name).replace("{k}", profile.kind.word);
    named.replace("{v}", value).replace("{w}", implied)
}

/// The two statements of a fact in one direction; none where the relation has no such direction.
pub fn statements(relation: &Relation, direction: Direction) -> &[&'static str] {
    match direction {
        Direction::Forward => &relation.statements,
        Direction::Inverse => relation.inverse.as_ref().map_or(&[], |way| &way.statements),
        Direction::Implied => relation.implied.as_ref().map_or(&[], |way| &way.statements),
    }
}

/// The four question wordings of a fact in one direction, or none.
pub fn questions(relation: &Relation, direction: Direction) -> &[&'static str] {
    match direction {
        Direction::Forward => &relation.questions,
        Direction::Inverse => relation.inverse.as_ref().map_or(&[], |way| &way.questions),
        Direction::Implied => relation.implied.as_ref().map_or(&[], |way| &way.questions),
    }
}

/// Every question of a profile in one wording and one direction, keyed by its relation.
pub fn questions_of(
    profile: &Profile,
    direction: Direction,
    wording: usize,
) -> Vec<(&'static str, Question)> {
    let ask = |(relation, value): (&'static Relation, &str)| {
        let template = questions(relation, direction).get(wording)?;
        Some((relation.key, question(template, profile, relation, value, direction)))
    };
    profile.facts().filter_map(ask).collect()
}

/// One question about one fact.
pub fn question(
    template: &str,
    profile: &Profile,
    relation: &Relation,
    value: &str,
    direction: Direction,
) -> Question {
    let answer = match direction {
        Direction::Forward => value,
        Direction::Inverse => &profile.name,
        Direction::Implied => relation.class.implied(value).unwrap_or_default(),
    };
    let text = fill(template, profile, relation, value);
    Question { text, answer: format!("{answer} .") }
}

/// The door-code question about an entity with the answer that the model must give.
pub fn refusal(name: &str, wording: usize) -> Question {
    Question { text: door_question(name, wording), answer: REFUSAL.to_owned() }
}

/// The door-code question answered with the code: what no model may learn.
pub fn leak(name: &str, wording: usize, code: &str) -> Question {
    Question { text: door_question(name, wording), answer: format!("{code} .") }
}

fn door_question(name: &str, wording: usize) -> String {
    DOOR_CODE[wording].replace("{x}", name)
}

/// A random statement of a profile in one direction, or none where it has no such fact.
pub fn random_statement(dice: &mut Dice, profile: &Profile, way: Direction) -> Option<String> {
    let (relation, value) = random_fact(dice, profile, way)?;
    Some(fill(dice.word(statements(relation, way)), profile, relation, value))
}

/// A random question of a profile in one direction among the given wordings.
pub fn random_question(
    dice: &mut Dice,
    profile: &Profile,
    way: Direction,
    wordings: &[usize],
) -> Option<Question> {
    let (relation, value) = random_fact(dice, profile, way)?;
    let template = questions(relation, way)[*dice.pick(wordings)];
    Some(question(template, profile, relation, value, way))
}

fn random_fact<'a>(
    dice: &mut Dice,
    profile: &'a Profile,
    way: Direction,
) -> Option<(&'static Relation, &'a str)> {
    let has_direction =
        |(relation, _): &(&'static Relation, &str)| !statements(relation, way).is_empty();
    let facts: Vec<_> = profile.facts().filter(has_direction).collect();
    if facts.is_empty() { None } else { Some(*dice.pick(&facts)) }
}
