//! Candidates that are trained in the same forwards.

use super::Outcome;
use super::candidate::Candidate;
use crate::backward::{AdapterGradients, Gradients, Keep, accumulate};
use crate::batch::{Forward, forwards};
use crate::error::Result;
use crate::optimizer::OptimRecipe;
use crate::options::TrainOptions;
use crate::recipe::InnerRecipe;
use crate::watchdog::Diverged;
use seal_model::{Adapter, Decoder};

/// Candidates that are as far as each other.
pub(super) struct Group<'a, 'o> {
    decoder: &'a Decoder,
    recipe: &'a InnerRecipe,
    options: &'o TrainOptions<'o>,
    optimizer: OptimRecipe,
    step: u64,
    candidates: Vec<Candidate<'a>>,
    /// One for each candidate.
    gradients: Vec<Vec<f32>>,
    given_up: Vec<Diverged>,
    /// The forwards of a step on all sequences, which is the same every time.
    whole: Option<Vec<Forward>>,
}

impl<'a, 'o> Group<'a, 'o> {
    pub(super) fn new(
        decoder: &'a Decoder,
        recipe: &'a InnerRecipe,
        options: &'o TrainOptions<'o>,
        candidates: Vec<Candidate<'a>>,
    ) -> Self {
        Self {
            decoder,
            recipe,
            options,
            optimizer: recipe.optimizer(),
            step: candidates.first().map_or(0, Candidate::steps_done),
            candidates,
            gradients: Vec::new(),
            given_up: Vec::new(),
            whole: None,
        }
    }

    /// Takes all steps that are left; `stepped` hears of steps times candidates.
    pub(super) fn run(mut self, stepped: &(dyn Fn(u64) + Sync)) -> Result<Vec<Outcome>> {
        let everyone = self.candidates.len() as u64;
        if self.step > 0 {
            stepped(self.step * everyone);
        }
        while self.step < self.recipe.steps {
            if !self.candidates.is_empty() {
                self.take_step()?;
            }
            self.step += 1;
            self.save()?;
            stepped(everyone);
        }
        self.outcomes()
    }

    fn take_step(&mut self) -> Result<()> {
        let mut forwards = match self.whole.take() {
            Some(whole) => whole,
            None => {
                let count = self.recipe.sequences_per_step;
                let drawn: Vec<_> = self.candidates.iter_mut().map(|c| c.draw(count)).collect();
                forwards(&drawn, self.recipe.cuts())
            }
        };
        let losses = self.gradients(&mut forwards)?;
        if self.recipe.sequences_per_step.is_none() {
            self.whole = Some(forwards);
        }
        self.learn(&losses);
        Ok(())
    }

    /// Fills `gradients` and returns each candidate's loss.
    fn gradients(&mut self, forwards: &mut [Forward]) -> Result<Vec<f64>> {
        let (config, spec) = (self.decoder.config(), &self.recipe.lora);
        let adapters: Vec<Adapter> = self
            .candidates
            .iter()
            .map(|c| c.adapter(self.decoder, self.recipe))
            .collect::<Result<_>>()?;
        self.gradients.resize_with(adapters.len(), Vec::new);
        for (gradient, candidate) in self.gradients.iter_mut().zip(&self.candidates) {
            gradient.clear();
            gradient.resize(candidate.parameter_count(), 0.0);
        }
        let adapters: Vec<&Adapter> = adapters.iter().collect();
        let mut losses = vec![0.0; adapters.len()];
        for forward in forwards {
            if spec.dropout > 0.0 {
                let places = self.candidates.iter().zip(&forward.first_rows);
                let dropouts = places.map(|(c, &first_row)| c.dropout(spec.dropout, 0, first_row));
                forward.batch.inputs.dropouts = dropouts.collect();
            }
            let sink = AdapterGradients::new(config, spec, &mut self.gradients);
            accumulate(
                self.decoder,
                &forward.batch,
                &adapters,
                Keep::from(self.options),
                &mut losses,
                &mut Gradients::Adapters(sink),
            )?;
        }
        Ok(losses)
    }

    /// One optimizer step of every candidate; those that diverge leave the group.
    fn learn(&mut self, losses: &[f64]) {
        let mut left = Vec::with_capacity(self.candidates.len());
        let all = self.candidates.drain(..).zip(&self.gradients).zip(losses);
        for ((mut candidate, gradient), &loss) in all {
            match candidate.learn(gradient, loss, &self.optimizer, self.recipe.steps) {
                Ok(()) => left.push(candidate),
                Err(diverged) => {
                    self.given_up.push(diverged);
                    self.whole = None;
                }
            }
        }
        self.candidates = left;
    }

    fn save(&self) -> Result<()> {
        let is_time = self.options.saves.is_some_and(|saves| self.step % saves.every_steps == 0);
        if is_time && self.step < self.recipe.steps {
            self.candidates.iter().try_for_each(Candidate::save)?;
        }
        Ok(())
    }

    /// What became of each, in the order of the jobs.
    fn outcomes(self) -> Result<Vec<Outcome>> {
        let given_up = self.given_up.into_iter().map(|one| (one.candidate, Err(one)));
        let mut all: Vec<(usize, Outcome)> = given_up.collect();
        for candidate in self.candidates {
            let index = candidate.index;
            all.push((index, Ok(candidate.finish(self.decoder, self.recipe)?)));
        }
        all.sort_by_key(|(index, _)| *index);
        Ok(all.into_iter().map(|(_, outcome)| outcome).collect())
    }
}
