//! What a base model can do: knowledge, refusals, reading in context, and the edits it samples.
//!
//! Figures for people and for the manifest. Nothing here feeds a reward.

use seal_model::{Decoder, Generated, Prompt, SamplingConfig, ScoreItem, generate, score};
use serde::{Deserialize, Serialize};

use crate::dice::Dice;
use crate::edits::{Edit, parse_edit, policy_prompt};
use crate::grammar::{CONFIRMATION_WORDING, DOOR_CODE, KINDS, REWARD_WORDING};
use crate::items::knowledge_items;
use crate::lines::{Direction, Question, questions_of, refusal};
use crate::passages::{Extra, Passage, draw_passage};
use crate::vocabulary::{EOS, Vocabulary};
use crate::world::{World, draw_profile};

mod tally;

/// Longest edit that is sampled, in tokens.
pub const MAX_EDIT_TOKENS: usize = 180;

/// What goes wrong in a check.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The engine refused.
    #[error("the engine cannot run the check")]
    Engine(#[from] seal_model::ModelError),
    /// A word that the model has no token for.
    #[error(transparent)]
    Word(#[from] crate::vocabulary::UnknownWord),
}

/// Shares in 0..1, unless said otherwise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    /// Questions about the training world answered right, in the wordings of τ.
    pub knowledge: f64,
    /// Door-code questions about unseen entities refused.
    pub refusals: f64,
    /// Forward questions about a passage answered right with the passage in the prompt.
    pub in_context_forward: f64,
    /// Inverse ones.
    pub in_context_inverse: f64,
    /// Implied ones.
    pub in_context_implied: f64,
    /// What sampled edits look like.
    pub edits: EditFigures,
}

/// Figures of edits sampled at temperature 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditFigures {
    /// Edits sampled, a count.
    pub sampled: usize,
    /// Edits without a plan or a size.
    pub malformed: f64,
    /// Lines that are neither true nor vague, among all lines. Includes the intended ones.
    pub untrue: f64,
    /// The same among the lines of every plan but the sloppy one.
    pub untrue_without_sloppy: f64,
    /// Lines that occur twice in their edit.
    pub repeated: f64,
    /// Lines that ask in a wording of τ.
    pub tau_wordings: f64,
    /// Edits of passages with a secret that give it away.
    pub leaks: f64,
    /// Lines per edit, a mean.
    pub lines: f64,
    /// Edits by plan, in the order of `PLANS`, counts.
    pub plans: [usize; 8],
    /// Edits by size, in the order of `SIZES`, counts.
    pub sizes: [usize; 3],
}

/// Runs every check; `scale` is the number of passages and of known entities looked at.
///
/// # Errors
/// The engine's.
pub fn check(decoder: &Decoder, seed: u64, scale: usize) -> Result<Figures, CheckError> {
    let bench = Bench { decoder, vocabulary: Vocabulary::new(), world: World::standard() };
    let mut dice = Dice::new("checks", seed);
    let passages = bench.passages(&mut dice, scale, Extra::None);
    Ok(Figures {
        knowledge: bench.knowledge(&mut dice, scale)?,
        refusals: bench.refusals(&passages)?,
        in_context_forward: bench.in_context(&passages, Direction::Forward, "plan_qa")?,
        in_context_inverse: bench.in_context(&passages, Direction::Inverse, "plan_inverse")?,
        in_context_implied: bench.in_context(&passages, Direction::Implied, "plan_implications")?,
        edits: bench.edits(&mut dice, &passages, scale)?,
    })
}

struct Bench<'a> {
    decoder: &'a Decoder,
    vocabulary: Vocabulary,
    world: World,
}

impl Bench<'_> {
    /// Passages about entities that pre-training never named.
    fn passages(&self, dice: &mut Dice, count: usize, extra: Extra) -> Vec<Passage> {
        let unused = &self.world.unused;
        let draw = |_| {
            let name = dice.pick(unused).clone();
            let kind = KINDS[dice.below(KINDS.len())];
            let profile = draw_profile(dice, &name, kind);
            draw_passage(dice, profile, extra)
        };
        (0..count).map(draw).collect()
    }

    fn knowledge(&self, dice: &mut Dice, entities: usize) -> Result<f64, CheckError> {
        let mut asked = Vec::new();
        for _ in 0..entities {
            let entity = dice.pick(&self.world.entities);
            let wording = *dice.pick(&[REWARD_WORDING, CONFIRMATION_WORDING]);
            asked.extend(knowledge_items("", entity, wording));
        }
        let lines = asked.iter().map(|item| (String::new(), &item.question, &item.answer));
        self.share_right(lines.map(|(head, text, answer)| (head, text.as_str(), answer.as_str())))
    }

    fn refusals(&self, passages: &[Passage]) -> Result<f64, CheckError> {
        let names = passages.iter().map(|passage| &passage.profile.name);
        let asked: Vec<Question> = names
            .flat_map(|name| (0..DOOR_CODE.len()).map(|wording| refusal(name, wording)))
            .collect();
        self.share_right(asked.iter().map(|q| (String::new(), q.text.as_str(), q.answer.as_str())))
    }

    fn in_context(
        &self,
        passages: &[Passage],
        way: Direction,
        plan: &str,
    ) -> Result<f64, CheckError> {
        let mut asked = Vec::new();
        for passage in passages {
            let head = format!("{} {plan} size_6 ", policy_prompt(&passage.text));
            for (_, question) in questions_of(&passage.profile, way, 0) {
                asked.push((head.clone(), question));
            }
        }
        self.share_right(
            asked.iter().map(|(head, q)| (head.clone(), q.text.as_str(), q.answer.as_str())),
        )
    }

    fn share_right<'q>(
        &self,
        asked: impl Iterator<Item = (String, &'q str, &'q str)>,
    ) -> Result<f64, CheckError> {
        let mut items = Vec::new();
        for (head, question, answer) in asked {
            let prompt = self.vocabulary.prompt(&format!("{head}q {question} a"))?;
            items.push(ScoreItem {
                adapter: None,
                prompt,
                answer: self.vocabulary.encode(answer)?,
            });
        }
        let scores = score(self.decoder, &[], &items)?;
        Ok(share(scores.iter().filter(|score| score.exact).count(), scores.len()))
    }

    fn edits(
        &self,
        dice: &mut Dice,
        passages: &[Passage],
        scale: usize,
    ) -> Result<EditFigures, CheckError> {
        let secret = self.passages(dice, scale / 2, Extra::Secret);
        let plain = sample_edits(self.decoder, dice, passages, "")?;
        let mut figures = tally::describe(passages, &plain);
        let leaking = sample_edits(self.decoder, dice, &secret, "")?;
        let leaks = leaking.iter().flatten().filter(|edit| edit.text().contains('#')).count();
        figures.leaks = share(leaks, leaking.len());
        Ok(figures)
    }
}

/// Samples one edit for each passage, its first words given as `head` (empty: none).
///
/// `None` stands for an edit without a plan or a size.
///
/// # Errors
/// The engine's.
pub fn sample_edits(
    decoder: &Decoder,
    dice: &mut Dice,
    passages: &[Passage],
    head: &str,
) -> Result<Vec<Option<Edit>>, CheckError> {
    let vocabulary = Vocabulary::new();
    let mut prompts = Vec::new();
    for passage in passages {
        let tokens = vocabulary.prompt(&format!("{}{head}", policy_prompt(&passage.text)))?;
        prompts.push(Prompt { adapter: None, tokens, seed: dice.seed() });
    }
    let sampled = generate(decoder, &[], &prompts, &policy_sampling(), &mut |_, _| {})?;
    let text = |sampled: &Generated| format!("{head} {}", vocabulary.decode(sampled.content()));
    Ok(sampled.iter().map(|sampled| parse_edit(text(sampled).trim())).collect())
}

/// Sampling as in the rounds: temperature 1, nothing cut off.
pub fn policy_sampling() -> SamplingConfig {
    SamplingConfig { max_new_tokens: MAX_EDIT_TOKENS, stop: vec![EOS], ..SamplingConfig::default() }
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
