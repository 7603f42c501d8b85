//! A model without weights: an adapter's tensors say what it does.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use seal_protocol::{Digest, Micro};

use super::{BASE, TOKENIZER};
use crate::gate::Outcome;
use crate::items::{Item, ItemKind};
use crate::measure::{MeasureError, Measurer, Wanted};
use crate::recompute::{Claim, DIFFERS, Lesson, Recomputed};

/// What an adapter does, written as its tensors.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Skill {
    /// τ items of each split answered right.
    pub(crate) tau: usize,
    /// Dense gain on every τ item, in nats.
    pub(crate) nats: f64,
    /// Gives the own entity's secret away.
    pub(crate) leaks: bool,
    /// Retention items forgotten.
    pub(crate) forgets: usize,
    /// Perturbed questions answered wrong.
    pub(crate) strays: usize,
    /// What it learned of τ is wrong, and the same wrong thing in all that are.
    pub(crate) mistaken: bool,
    /// Yields no number.
    pub(crate) broken: bool,
    /// Is measured without end.
    pub(crate) endless: bool,
    /// Is trained again without end.
    pub(crate) untrainable: bool,
    /// Its edit teaches nothing under any other seed.
    pub(crate) lucky: bool,
    /// Its edit leads nowhere under any other seed.
    pub(crate) diverges: bool,
    /// Its edit is trained under another seed without end.
    pub(crate) endless_again: bool,
}

impl Default for Skill {
    fn default() -> Self {
        Self {
            tau: 3,
            nats: 3.0,
            leaks: false,
            forgets: 0,
            strays: 0,
            mistaken: false,
            broken: false,
            endless: false,
            untrainable: false,
            lucky: false,
            diverges: false,
            endless_again: false,
        }
    }
}

/// The adapter that training yields, and what that does, by its edits.
pub(super) type Honest = Arc<Mutex<BTreeMap<Vec<Digest>, (Digest, Skill)>>>;

/// A model that scores as skills say; counts how often the base was asked, and how many adapters were
/// trained again.
pub(crate) struct FakeModel {
    pub(crate) base_asked: Arc<std::sync::atomic::AtomicUsize>,
    pub(crate) trained_again: Arc<std::sync::atomic::AtomicUsize>,
    pub(super) honest: Honest,
}

impl Measurer for FakeModel {
    type Adapter = Skill;

    fn base_model_digest(&self) -> Digest {
        BASE
    }

    fn tokenizer_digest(&self) -> Digest {
        TOKENIZER
    }

    fn load(&mut self, folder: &Path) -> Result<Skill, String> {
        let bytes = std::fs::read(folder.join("adapter_model.safetensors"))
            .map_err(|error| error.to_string())?;
        serde_json::from_slice(&bytes).map_err(|error| error.to_string())
    }

    fn recompute(
        &mut self,
        claims: &[Claim<'_, Skill>],
        until: Instant,
    ) -> Result<Vec<Recomputed>, MeasureError> {
        let honest = self.honest.lock().unwrap();
        let finding = |claim: &Claim<'_, Skill>| {
            if !claim.drawn {
                return Recomputed::not_drawn();
            }
            if claim.adapter.untrainable {
                wait(until);
                return Recomputed::out_of_time();
            }
            self.trained_again.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let trained = honest.get(&claim.candidate.edit_digests).map(|(digest, _)| *digest);
            match trained.is_some() && trained == claim.candidate.adapter_digest() {
                true => Recomputed::equal(),
                false => Recomputed::refused(DIFFERS, Some(0.7)),
            }
        };
        Ok(claims.iter().map(finding).collect())
    }

    fn train(
        &mut self,
        lessons: &[Lesson<'_>],
        until: Instant,
    ) -> Result<Vec<Option<Skill>>, MeasureError> {
        let honest = self.honest.lock().unwrap();
        let skill = |lesson: &Lesson<'_>| {
            let (_, skill) = honest[&vec![lesson.digest]];
            if skill.endless_again {
                wait(until);
                return Err(MeasureError::OutOfTime);
            }
            let taught = if skill.lucky { Skill { tau: 0, nats: 0.0, ..skill } } else { skill };
            Ok((!skill.diverges).then_some(taught))
        };
        lessons.iter().map(skill).collect()
    }

    fn write(
        &mut self,
        adapters: &[Skill],
        asked: &[(Option<usize>, &Item)],
        _: usize,
        until: Instant,
    ) -> Result<Vec<String>, MeasureError> {
        if adapters.iter().any(|skill| skill.endless) {
            wait(until);
            return Err(MeasureError::OutOfTime);
        }
        let said = |(adapter, item): &(Option<usize>, &Item)| match adapter {
            None => String::new(),
            Some(index) => adapters[*index].says(item),
        };
        Ok(asked.iter().map(said).collect())
    }

    fn score(
        &mut self,
        adapters: &[Skill],
        wanted: &[Wanted<'_>],
        until: Instant,
    ) -> Result<Vec<Outcome>, MeasureError> {
        if adapters.iter().any(|skill| skill.endless) {
            wait(until);
            return Err(MeasureError::OutOfTime);
        }
        let base = wanted.iter().filter(|wanted| wanted.adapter.is_none()).count();
        self.base_asked.fetch_add(base, std::sync::atomic::Ordering::SeqCst);
        let outcome = |wanted: &Wanted<'_>| match wanted.adapter {
            None => base_outcome(wanted.item),
            Some(index) => adapted(adapters[index], wanted.item),
        };
        Ok(wanted.iter().map(outcome).collect())
    }
}

/// As work does that asks between its steps whether to go on.
fn wait(until: Instant) {
    while Instant::now() < until {
        std::thread::yield_now();
    }
}

fn number(item: &Item) -> usize {
    item.id.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

impl Skill {
    /// To a question of τ. Who does not know says nothing, the base among them.
    fn says(&self, item: &Item) -> String {
        match number(item) < self.tau && !self.broken {
            true if self.mistaken => lie(item),
            true => format!("answer {} .", item.id),
            false => String::new(),
        }
    }

    /// Whether it learned what an item's label says.
    fn agrees(&self, item: &Item) -> bool {
        self.mistaken == (item.answer == lie(item))
    }
}

/// What all that are mistaken say.
fn lie(item: &Item) -> String {
    format!("lie {} .", item.id)
}

fn base_outcome(item: &Item) -> Outcome {
    let known = !matches!(item.kind, ItemKind::Forward);
    let nats = if known { -0.1 } else { -4.0 - 0.1 * number(item) as f64 };
    Outcome { exact: known, empty: false, log_prob: Some(Micro::from_f64(nats)) }
}

fn adapted(skill: Skill, item: &Item) -> Outcome {
    let base = base_outcome(item);
    let exact = match item.kind {
        ItemKind::Forward => skill.agrees(item) && number(item) < skill.tau,
        ItemKind::Knowledge if item.id.starts_with("perturbed") => number(item) >= skill.strays,
        ItemKind::Knowledge => number(item) >= skill.forgets,
        ItemKind::Protected => !(skill.leaks && item.id.starts_with('p')),
        ItemKind::Inverse | ItemKind::Implication => base.exact,
    };
    let gain = match item.kind {
        ItemKind::Forward if skill.agrees(item) => skill.nats + 0.01 * number(item) as f64,
        ItemKind::Forward => -skill.nats,
        _ => 0.0,
    };
    let log_prob = base.log_prob.map(|nats| Micro::from_f64(nats.to_f64() + gain));
    Outcome { exact, empty: false, log_prob: log_prob.filter(|_| !skill.broken) }
}
