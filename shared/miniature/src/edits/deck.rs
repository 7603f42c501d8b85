//! The lines of one style about one profile, dealt so that a short edit covers many facts.

use std::collections::HashSet;

use crate::dice::Dice;
use crate::grammar::{OPEN_WORDINGS, VAGUE};
use crate::lines::{Direction, fill, question, questions, statements};
use crate::world::{Profile, draw_value};

/// How one line is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Style {
    Statement(Direction),
    Ask(Direction),
    Clause,
    Vague,
    Untrue,
}

/// All styles.
pub(super) const STYLES: [Style; 9] = [
    Style::Statement(Direction::Forward),
    Style::Statement(Direction::Inverse),
    Style::Statement(Direction::Implied),
    Style::Ask(Direction::Forward),
    Style::Ask(Direction::Inverse),
    Style::Ask(Direction::Implied),
    Style::Clause,
    Style::Vague,
    Style::Untrue,
];

/// Every line of a style: each fact once in random order, then each once more in its other
/// wording, so that a short edit covers as many facts as it can.
pub(super) fn deck(dice: &mut Dice, profile: &Profile, style: Style) -> Vec<String> {
    let mut rounds: Vec<Vec<String>> = Vec::new();
    for relation in 0..profile.values.len() {
        let mut wordings = lines_of(dice, profile, relation, style);
        dice.shuffle(&mut wordings);
        for (round, line) in wordings.into_iter().enumerate() {
            rounds.resize(rounds.len().max(round + 1), Vec::new());
            rounds[round].push(line);
        }
    }
    rounds.iter_mut().for_each(|round| dice.shuffle(round));
    rounds.reverse();
    without_duplicates(rounds.concat())
}

fn lines_of(dice: &mut Dice, profile: &Profile, relation: usize, style: Style) -> Vec<String> {
    let fact = &profile.kind.relations[relation];
    let value = profile.values[relation].as_str();
    let say = |templates: &[&'static str]| -> Vec<String> {
        templates.iter().map(|template| fill(template, profile, fact, value)).collect()
    };
    match style {
        Style::Statement(way) => say(statements(fact, way)),
        Style::Ask(way) => asked(profile, relation, way),
        Style::Clause => say(&fact.clauses),
        Style::Vague => say(&VAGUE),
        Style::Untrue => untrue(dice, profile, relation),
    }
}

fn asked(profile: &Profile, relation: usize, way: Direction) -> Vec<String> {
    let fact = &profile.kind.relations[relation];
    let open = questions(fact, way).iter().take(OPEN_WORDINGS.len());
    let ask = |template: &&'static str| {
        question(template, profile, fact, &profile.values[relation], way).line()
    };
    open.map(ask).collect()
}

fn untrue(dice: &mut Dice, profile: &Profile, relation: usize) -> Vec<String> {
    let class = profile.kind.relations[relation].class;
    let truth = &profile.values[relation];
    let wrong = std::iter::repeat_with(|| draw_value(dice, class)).find(|value| value != truth);
    let liar = profile.with_value(relation, wrong.unwrap_or_default());
    lines_of(dice, &liar, relation, Style::Statement(Direction::Forward))
}

pub(super) fn without_duplicates(lines: Vec<String>) -> Vec<String> {
    let mut seen = HashSet::new();
    lines.into_iter().filter(|line| seen.insert(line.clone())).collect()
}
