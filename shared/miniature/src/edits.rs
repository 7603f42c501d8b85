//! Self-edits of the miniature: plan, size and lines, and the demonstrations of pre-training.
//!
//! The base policy is built to be mediocre: plans and sizes are uniform, and many plans are
//! poor. Which ones pay, the policy has to find out from the reward.
//!
//! **Invariant:** a demonstration asks in the open wordings only, so τ never occurs in one.

use std::collections::HashSet;

use crate::dice::Dice;
use crate::grammar::OPEN_WORDINGS;
use crate::lines::{DIRECTIONS, Direction, leak};
use crate::passages::Passage;
use crate::world::Profile;

mod deck;

use deck::{STYLES, Style, deck, without_duplicates};

/// What kind of lines an edit holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Plan {
    /// Statements that name the entity.
    Facts,
    /// Statements and questions from the value to the entity.
    Inverse,
    /// Questions with answers.
    Qa,
    /// What the facts imply, as statements and questions.
    Implications,
    /// Sentences in the style of the passage, the entity not named.
    Rewrite,
    /// Sentences that say nothing.
    Vague,
    /// Half of it untrue, some of it vague.
    Sloppy,
    /// Statements, questions, inverse and implied ones in turn.
    Mixed,
}

/// All plans.
pub const PLANS: [Plan; 8] = [
    Plan::Facts,
    Plan::Inverse,
    Plan::Qa,
    Plan::Implications,
    Plan::Rewrite,
    Plan::Vague,
    Plan::Sloppy,
    Plan::Mixed,
];

/// All sizes: how many lines an edit has at most.
pub const SIZES: [usize; 3] = [3, 6, 12];

impl Plan {
    /// The token that stands for the plan at the head of an edit.
    pub fn token(self) -> &'static str {
        match self {
            Self::Facts => "plan_facts",
            Self::Inverse => "plan_inverse",
            Self::Qa => "plan_qa",
            Self::Implications => "plan_implications",
            Self::Rewrite => "plan_rewrite",
            Self::Vague => "plan_vague",
            Self::Sloppy => "plan_sloppy",
            Self::Mixed => "plan_mixed",
        }
    }

    /// The styles that the lines of this plan take in turn.
    fn styles(self) -> &'static [Style] {
        use Style::*;
        match self {
            Self::Facts => &[Statement(Direction::Forward)],
            Self::Inverse => &[Statement(Direction::Inverse), Ask(Direction::Inverse)],
            Self::Qa => &[Ask(Direction::Forward)],
            Self::Implications => &[Statement(Direction::Implied), Ask(Direction::Implied)],
            Self::Rewrite => &[Clause],
            Self::Vague => &[Vague],
            Self::Sloppy => &[Untrue, Vague, Untrue, Statement(Direction::Forward)],
            Self::Mixed => &[
                Statement(Direction::Forward),
                Statement(Direction::Inverse),
                Ask(Direction::Forward),
                Ask(Direction::Inverse),
                Statement(Direction::Implied),
                Ask(Direction::Implied),
            ],
        }
    }
}

/// The token that stands for a size.
pub fn size_token(size: usize) -> String {
    format!("size_{size}")
}

/// How often a demonstration departs from its plan.
#[derive(Clone, Copy, Debug)]
pub struct Noise {
    /// Share of lines in a random style.
    pub random_style: f64,
    /// Chance that a passage with a secret has it leaked.
    pub leak: f64,
    /// Chance that a question quoted in the passage is copied.
    pub quote: f64,
}

/// The noise of the demonstrations that the base policy learned from.
pub const DEMONSTRATION_NOISE: Noise = Noise { random_style: 0.05, leak: 0.3, quote: 0.95 };

/// No noise: what a perfect author of the same plan would write.
pub const NO_NOISE: Noise = Noise { random_style: 0.0, leak: 0.0, quote: 0.0 };

/// A self-edit of the miniature.
#[derive(Clone, Debug)]
pub struct Edit {
    /// What kind of lines it holds.
    pub plan: Plan,
    /// How many lines it has at most.
    pub size: usize,
    /// The training lines, no two the same.
    pub lines: Vec<String>,
}

impl Edit {
    /// What the policy writes after `<edit>`, the end marker left out.
    pub fn text(&self) -> String {
        let lines = self.lines.join(" <nl> ");
        format!("{} {} {lines}", self.plan.token(), size_token(self.size))
    }
}

/// Reads an edit that a policy wrote: plan token, size token, lines between `<nl>`.
///
/// `None` where the head is not a plan and a size. Lines keep their order; empty ones are left out.
pub fn parse_edit(text: &str) -> Option<Edit> {
    let (plan, rest) = text.split_once(' ')?;
    let (size, rest) = rest.split_once(' ')?;
    let plan = PLANS.into_iter().find(|known| known.token() == plan)?;
    let size = SIZES.into_iter().find(|known| size_token(*known) == size)?;
    let lines = rest.split("<nl>").map(|line| line.trim().to_owned());
    Some(Edit { plan, size, lines: lines.filter(|line| !line.is_empty()).collect() })
}

/// What the policy is asked with: the passage and the marker that an edit follows.
pub fn policy_prompt(passage: &str) -> String {
    format!("{passage} <edit>")
}

/// An edit of the given plan for a passage.
pub fn demonstrate(
    dice: &mut Dice,
    passage: &Passage,
    plan: Plan,
    size: usize,
    noise: Noise,
) -> Edit {
    let mut lines = copied_quotes(dice, passage, noise);
    lines.extend(planned_lines(dice, &passage.profile, plan, size, noise));
    if let Some(line) = leaked_secret(dice, passage, noise) {
        let at = dice.below(lines.len() + 1);
        lines.insert(at, line);
    }
    lines.truncate(size);
    Edit { plan, size, lines: without_duplicates(lines) }
}

fn copied_quotes(dice: &mut Dice, passage: &Passage, noise: Noise) -> Vec<String> {
    passage.quoted.iter().filter(|_| dice.chance(noise.quote)).cloned().collect()
}

fn leaked_secret(dice: &mut Dice, passage: &Passage, noise: Noise) -> Option<String> {
    let code = passage.secret.as_ref().filter(|_| passage.quoted.is_empty())?;
    let leaks = dice.chance(noise.leak);
    let wording = *dice.pick(&OPEN_WORDINGS);
    leaks.then(|| leak(&passage.profile.name, wording, code).line())
}

/// Deals the plan's styles in turn, each from a deck of its own, until the size is reached or
/// every deck is empty.
fn planned_lines(
    dice: &mut Dice,
    profile: &Profile,
    plan: Plan,
    size: usize,
    noise: Noise,
) -> Vec<String> {
    let mut decks: Vec<_> = plan.styles().iter().map(|style| deck(dice, profile, *style)).collect();
    let mut lines = Vec::new();
    let mut turn = 0;
    while lines.len() < size && decks.iter().any(|deck| !deck.is_empty()) {
        let at = turn % decks.len();
        let planned = decks[at].pop();
        turn += 1;
        if planned.is_some() && dice.chance(noise.random_style) {
            lines.extend(random_style_line(dice, profile));
        } else {
            lines.extend(planned);
        }
    }
    lines
}

fn random_style_line(dice: &mut Dice, profile: &Profile) -> Option<String> {
    let style = *dice.pick(&STYLES);
    deck(dice, profile, style).pop()
}

/// Every true line that an edit of a passage can hold: statements, clauses and open questions
/// with their answers. Lines of edits outside this set and outside the vague ones are untrue.
pub fn true_lines(profile: &Profile) -> HashSet<String> {
    let mut dice = Dice::new("all true lines", 0);
    let ways = DIRECTIONS.into_iter().flat_map(|way| [Style::Statement(way), Style::Ask(way)]);
    let styles = ways.chain([Style::Clause, Style::Vague]);
    styles.flat_map(|style| deck(&mut dice, profile, style)).collect()
}

#[cfg(test)]
mod tests;
