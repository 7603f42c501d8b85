//! Questions of a suite with random words in them, for the divergence probe.

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use seal_trust::hmac_commitment;

use super::ModelMeasurer;
use crate::gate::DivergenceGate;
use crate::items::Item;

/// Parts the draw from everything else that is derived from the auditor's secret.
const PURPOSE: &[u8] = b"seal divergence probe";

impl ModelMeasurer {
    /// As many questions as the gate asks for, out of `suite`, each with words of the base's vocabulary
    /// put in at random places. Drawn from `secret`: the same at every start, and known to nobody else.
    ///
    /// Empty where suite or vocabulary hold nothing to draw from.
    pub fn perturbed(&self, suite: &[Item], gate: &DivergenceGate, secret: &[u8; 32]) -> Vec<Item> {
        let mut dice = ChaCha8Rng::from_seed(*hmac_commitment(secret, PURPOSE).as_bytes());
        let words = self.words();
        let item = |number| perturbed(number, suite, &words, gate, &mut dice);
        (0..gate.questions).filter_map(item).collect()
    }

    /// Every token that is a text by itself.
    fn words(&self) -> Vec<String> {
        let ids = 0..u32::try_from(self.tokenizer.vocab_size()).unwrap_or(u32::MAX);
        let words = ids.map(|id| self.tokenizer.decode_plain(&[id]).trim().to_owned());
        // A piece of a character is no text.
        words.filter(|word| !word.is_empty() && !word.contains('\u{fffd}')).collect()
    }
}

fn perturbed(
    number: usize,
    suite: &[Item],
    words: &[String],
    gate: &DivergenceGate,
    dice: &mut ChaCha8Rng,
) -> Option<Item> {
    let item = suite.choose(dice)?;
    let mut question: Vec<&str> = item.question.split(' ').collect();
    let [fewest, most] = gate.words;
    for _ in 0..dice.random_range(fewest..=most) {
        // Before the first word, too, and never behind the last: there stands the question mark.
        question.insert(dice.random_range(0..question.len()), words.choose(dice)?);
    }
    let id = format!("{}-perturbed-{number}", item.id);
    Some(Item { id, question: question.join(" "), ..item.clone() })
}
