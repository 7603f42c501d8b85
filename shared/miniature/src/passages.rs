//! Passages: the contexts of the miniature.
//!
//! A passage introduces its entity, names it once more with the first fact, and then says "it".
//! That is what makes training on the passage alone weak, as with real prose.

use crate::dice::Dice;
use crate::grammar::{INTROS, OPEN_WORDINGS, Relation, SECRET_CLAUSE};
use crate::lines::{Direction, fill, leak, random_question};
use crate::world::{Profile, draw_code};

/// Most words a passage may have, the secret and quoted questions left out.
pub const MAX_PASSAGE_WORDS: usize = 55;

/// A context with what it is made from.
#[derive(Clone, Debug)]
pub struct Passage {
    /// The entity and its facts.
    pub profile: Profile,
    /// The text, words separated by single spaces.
    pub text: String,
    /// The door code, where the passage gives it away.
    pub secret: Option<String>,
    /// Lines with a question and its answer that stand in the text itself.
    pub quoted: Vec<String>,
}

/// What a passage holds beside its facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    /// Nothing.
    None,
    /// A sentence with the door code.
    Secret,
    /// A question about one fact with its answer.
    QuotedFact,
    /// The door-code questions with the code as answer.
    QuotedSecret,
    /// The same, and the first of them once more before everything else, where training on the
    /// passage alone teaches it: a poisoned passage. Pre-training never sees one.
    Poison,
}

/// A passage about a profile: an introduction and the five facts in random order.
pub fn draw_passage(dice: &mut Dice, profile: Profile, extra: Extra) -> Passage {
    let mut sentences = sentences(dice, &profile);
    let (secret, quoted) = draw_extra(dice, &profile, extra);
    if extra == Extra::Secret {
        let at = 1 + dice.below(sentences.len());
        let code = secret.as_deref().unwrap_or_default();
        sentences.insert(at, SECRET_CLAUSE.replace("{v}", code));
    }
    sentences.splice(0..0, quoted.iter().cloned());
    sentences.insert(0, intro(dice, &profile));
    if extra == Extra::Poison {
        sentences.splice(0..0, quoted.first().cloned());
    }
    Passage { text: sentences.join(" "), profile, secret, quoted }
}

fn draw_extra(dice: &mut Dice, profile: &Profile, extra: Extra) -> (Option<String>, Vec<String>) {
    match extra {
        Extra::None => (None, Vec::new()),
        Extra::Secret => (Some(draw_code(dice)), Vec::new()),
        Extra::QuotedFact => (None, quote_fact(dice, profile)),
        Extra::QuotedSecret | Extra::Poison => {
            let code = draw_code(dice);
            let lines = OPEN_WORDINGS.map(|wording| leak(&profile.name, wording, &code).line());
            (Some(code), lines.to_vec())
        }
    }
}

fn quote_fact(dice: &mut Dice, profile: &Profile) -> Vec<String> {
    let question = random_question(dice, profile, Direction::Forward, &OPEN_WORDINGS);
    question.map(|question| question.line()).into_iter().collect()
}

fn intro(dice: &mut Dice, profile: &Profile) -> String {
    let template = dice.word(&INTROS);
    template.replace("{k}", profile.kind.word).replace("{x}", &profile.name)
}

/// The facts in random order, the first one with the entity's name.
fn sentences(dice: &mut Dice, profile: &Profile) -> Vec<String> {
    let mut facts: Vec<_> = profile.facts().collect();
    dice.shuffle(&mut facts);
    let mut say = |(at, (relation, value)): (usize, (&'static Relation, &str))| {
        let templates: &[_] = if at == 0 { &relation.statements } else { &relation.clauses };
        fill(dice.word(templates), profile, relation, value)
    };
    facts.into_iter().enumerate().map(&mut say).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grammar::KINDS;
    use crate::world::draw_profile;

    fn draw(seed: u64, extra: Extra) -> Passage {
        let mut dice = Dice::new("test", seed);
        let kind = KINDS[seed as usize % 3];
        let profile = draw_profile(&mut dice, "zel tor", kind);
        draw_passage(&mut dice, profile, extra)
    }

    #[test]
    fn a_passage_names_its_entity_twice_and_stays_short() {
        for seed in 0..200 {
            let passage = draw(seed, Extra::Secret);
            assert_eq!(passage.text.matches("zel tor").count(), 2, "{}", passage.text);
            let words = passage.text.split(' ').count();
            assert!(words <= MAX_PASSAGE_WORDS, "{words} words: {}", passage.text);
        }
    }

    #[test]
    fn a_secret_stands_in_the_text_of_its_passage_alone() {
        let hidden = draw(1, Extra::Secret);
        assert!(hidden.text.contains(hidden.secret.as_deref().unwrap()));
        assert!(!draw(1, Extra::None).text.contains('#'));
    }

    #[test]
    fn a_poisoned_passage_teaches_the_code_in_its_own_text() {
        let poisoned = draw(2, Extra::Poison);
        assert_eq!(poisoned.quoted.len(), 2);
        assert!(poisoned.quoted.iter().all(|line| poisoned.text.contains(line)));
        assert!(poisoned.text.starts_with(&poisoned.quoted[0]));
    }
}
