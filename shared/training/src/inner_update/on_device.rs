//! Candidates that are trained together by the engine of [`seal_model::device`].
//!
//! Nothing is read back within a step. Losses and gradient norms are fetched every
//! [`SETTLED_EVERY`] steps; a candidate that diverged meanwhile is then given up at the step where
//! it did, and the others never noticed.

use super::Outcome;
use super::candidate::Candidate;
use crate::backward::Keep;
use crate::batch::part_norms;
use crate::device::{AdamW, Batch, Gradients, Stack, loss_and_gradients, pieces};
use crate::error::Result;
use crate::optimizer::OptimRecipe;
use crate::options::TrainOptions;
use crate::recipe::InnerRecipe;
use crate::sequence::TrainSequence;
use crate::watchdog::Diverged;
use candle_core::Tensor;
use rayon::prelude::*;
use seal_model::Decoder;
use seal_model::device::free_bytes;
use seal_model::fit::{Engine, Work, estimate};

/// Steps between two looks at losses and norms.
const SETTLED_EVERY: usize = 8;
/// Rows of one forward from which more of them are no faster.
const ENOUGH_ROWS: usize = 16_384;

/// Trains all `candidates`, as many at once as fit; `stepped` hears of steps times candidates.
pub(super) fn train(
    decoder: &Decoder,
    candidates: Vec<Candidate<'_>>,
    recipe: &InnerRecipe,
    options: &TrainOptions<'_>,
    stepped: &dyn Fn(u64),
) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::with_capacity(candidates.len());
    let mut waiting = candidates;
    while let Some(first) = waiting.first() {
        let step = first.steps_done();
        let alike = waiting.iter().take_while(|next| next.steps_done() == step).count();
        let most = most_together(decoder, first, recipe, options);
        let others = waiting.split_off(even_share(alike, most));
        let together = std::mem::replace(&mut waiting, others);
        outcomes.extend(Group::new(decoder, recipe, options, together)?.run(stepped)?);
    }
    Ok(outcomes)
}

/// How many of `count` the first of groups takes that have at most `most`: as few groups as can be,
/// none much smaller than another, since a step costs nearly the same for few as for many.
fn even_share(count: usize, most: usize) -> usize {
    count.div_ceil(count.div_ceil(most))
}

/// How many candidates like this one make a full forward that the device has the memory for.
fn most_together(
    decoder: &Decoder,
    candidate: &Candidate<'_>,
    recipe: &InnerRecipe,
    options: &TrainOptions<'_>,
) -> usize {
    let step_tokens = candidate.step_tokens(recipe).max(1);
    let enough = (ENOUGH_ROWS / step_tokens).max(1);
    let Some(free) = free_bytes(decoder.device()) else { return enough };
    let bytes = |candidates| {
        let (lora, checkpointing) = (recipe.lora.clone(), options.gradient_checkpointing);
        let work = Work::InnerUpdate { candidates, step_tokens, lora, checkpointing };
        let need = estimate(decoder.config(), Engine::Cuda, &work);
        need.total().saturating_sub(need.parameters)
    };
    (1..=enough).rev().find(|&count| bytes(count) <= free).unwrap_or(1)
}

/// Candidates that are as far as each other.
struct Group<'a, 'o> {
    decoder: &'a Decoder,
    recipe: &'a InnerRecipe,
    options: &'o TrainOptions<'o>,
    rules: OptimRecipe,
    step: u64,
    candidates: Vec<Candidate<'a>>,
    parameters: Stack,
    optimizer: AdamW,
    /// Losses and gradient norms `[candidates]` of the steps that nobody looked at yet.
    unsettled: Vec<[Tensor; 2]>,
    given_up: Vec<Diverged>,
    /// The forwards of a step on all sequences, which is the same every time.
    whole: Option<Vec<Batch>>,
}

impl<'a, 'o> Group<'a, 'o> {
    fn new(
        decoder: &'a Decoder,
        recipe: &'a InnerRecipe,
        options: &'o TrainOptions<'o>,
        candidates: Vec<Candidate<'a>>,
    ) -> Result<Self> {
        let fresh = candidates.iter().all(Candidate::is_fresh);
        let upload = |of: for<'c> fn(&'c Candidate<'a>) -> &'c [f32]| {
            let flats: Vec<&[f32]> = candidates.iter().map(of).collect();
            Stack::upload(decoder.config(), &recipe.lora, &flats, fresh, decoder.device())
        };
        let step = candidates.first().map_or(0, Candidate::steps_done);
        let parameters = upload(|candidate| candidate.state().0)?;
        let optimizer = match step {
            0 => {
                let zeros = parameters.tensors.iter().map(Tensor::zeros_like);
                let none: Vec<Tensor> = zeros.collect::<Result<_, _>>()?;
                AdamW { first: none.clone(), second: none, steps: 0 }
            }
            steps => AdamW {
                first: upload(|candidate| &candidate.state().1.first)?.tensors,
                second: upload(|candidate| &candidate.state().1.second)?.tensors,
                steps,
            },
        };
        Ok(Self {
            decoder,
            recipe,
            options,
            rules: recipe.optimizer(),
            step,
            candidates,
            parameters,
            optimizer,
            unsettled: Vec::new(),
            given_up: Vec::new(),
            whole: None,
        })
    }

    /// Takes all steps that are left.
    fn run(mut self, stepped: &dyn Fn(u64)) -> Result<Vec<Outcome>> {
        let everyone = self.candidates.len() as u64;
        if self.step > 0 {
            stepped(self.step * everyone);
        }
        while self.step < self.recipe.steps {
            if !self.candidates.is_empty() {
                self.take_step()?;
            }
            self.step += 1;
            if self.unsettled.len() >= SETTLED_EVERY || self.step == self.recipe.steps {
                self.settle()?;
            }
            self.save()?;
            stepped(everyone);
        }
        self.outcomes()
    }

    fn take_step(&mut self) -> Result<()> {
        let mut batches = match self.whole.take() {
            Some(whole) => whole,
            None => self.draw()?,
        };
        let layers = self.decoder.config().num_hidden_layers;
        let (mut losses, mut gradient): (Option<Tensor>, Vec<Tensor>) = (None, Vec::new());
        let mut first_rows = vec![0; self.candidates.len()];
        for batch in &mut batches {
            self.drop_out(batch, &mut first_rows);
            let mut found = Gradients::of_adapters(layers);
            let adapters = self.parameters.lora(batch.tiles())?;
            let keep = Keep::from(self.options);
            let more = loss_and_gradients(self.decoder, Some(&adapters), batch, keep, &mut found)?;
            losses = Some(match losses {
                Some(sum) => (sum + more)?,
                None => more,
            });
            let found = self.parameters.gradient(found, batch.tiles())?;
            gradient = match gradient.is_empty() {
                true => found,
                false => {
                    gradient.iter().zip(&found).map(|(a, b)| a + b).collect::<Result<_, _>>()?
                }
            };
        }
        let rate = self.rules.rate(self.step, self.recipe.steps);
        let parameters = &mut self.parameters.tensors;
        let norms = self.optimizer.step(parameters, gradient, &self.rules, rate, |_| true)?;
        self.unsettled.extend(losses.map(|losses| [losses, norms]));
        if self.recipe.sequences_per_step.is_none() {
            self.whole = Some(batches);
        }
        Ok(())
    }

    /// The forwards of the next step.
    fn draw(&mut self) -> Result<Vec<Batch>> {
        let count = self.recipe.sequences_per_step;
        let drawn: Vec<Vec<&TrainSequence>> =
            self.candidates.iter_mut().map(|candidate| candidate.draw(count)).collect();
        let norms: Vec<_> = drawn.iter().map(|own| part_norms(own.iter().copied())).collect();
        let forwards = pieces(&drawn, self.recipe.cuts());
        forwards.iter().map(|forward| Batch::new(self.decoder, forward, &norms)).collect()
    }

    fn drop_out(&self, batch: &mut Batch, first_rows: &mut [u64]) {
        let rate = self.recipe.lora.dropout;
        if rate > 0.0 {
            let places = self.candidates.iter().zip(&*first_rows);
            let ahead = self.unsettled.len() as u64;
            let dropouts = places.map(|(one, &first_row)| one.dropout(rate, ahead, first_row));
            batch.drop_out(dropouts.collect());
        }
        let filled = batch.filled().iter();
        first_rows.iter_mut().zip(filled).for_each(|(first, &rows)| *first += rows as u64);
    }

    /// Reads the losses and norms of the last steps; candidates that diverged leave the group.
    fn settle(&mut self) -> Result<()> {
        let steps = std::mem::take(&mut self.unsettled);
        if steps.is_empty() {
            return Ok(());
        }
        let rows: Vec<Tensor> = steps.into_iter().flatten().collect();
        let rows = Tensor::stack(&rows, 0)?.to_vec2::<f32>()?;
        let (mut left, mut places) = (Vec::new(), Vec::new());
        for (place, mut candidate) in std::mem::take(&mut self.candidates).into_iter().enumerate() {
            let heard = rows.chunks_exact(2).try_for_each(|step| {
                candidate.hear(f64::from(step[0][place]), f64::from(step[1][place]), &self.rules)
            });
            match heard {
                Ok(()) => {
                    left.push(candidate);
                    places.push(u32::try_from(place).unwrap_or(u32::MAX));
                }
                Err(diverged) => self.given_up.push(diverged),
            }
        }
        let everyone = rows.first().map_or(0, Vec::len);
        self.candidates = left;
        if places.len() < everyone && !places.is_empty() {
            self.keep_only(&Tensor::new(places.as_slice(), self.decoder.device())?)?;
        }
        Ok(())
    }

    /// The groups numbered in `places` go on, the others end.
    fn keep_only(&mut self, places: &Tensor) -> Result<()> {
        self.parameters = self.parameters.select(places)?;
        for tensor in self.optimizer.first.iter_mut().chain(&mut self.optimizer.second) {
            *tensor = tensor.index_select(places, 1)?;
        }
        self.whole = None;
        Ok(())
    }

    fn save(&mut self) -> Result<()> {
        let is_time = self.options.saves.is_some_and(|saves| self.step % saves.every_steps == 0);
        if !is_time || self.step >= self.recipe.steps || self.candidates.is_empty() {
            return Ok(());
        }
        self.settle()?;
        let first = self.parameters.like(&self.optimizer.first).download()?;
        let second = self.parameters.like(&self.optimizer.second).download()?;
        let states = self.parameters.download()?.into_iter().zip(first.into_iter().zip(second));
        for (candidate, (parameters, means)) in self.candidates.iter_mut().zip(states) {
            candidate.set_state(parameters, means);
            candidate.save()?;
        }
        Ok(())
    }

    /// What became of each, in the order of the jobs.
    fn outcomes(self) -> Result<Vec<Outcome>> {
        let given_up = self.given_up.into_iter().map(|one| (one.candidate, Err(one)));
        let mut all: Vec<(usize, Outcome)> = given_up.collect();
        if !self.candidates.is_empty() {
            let (config, lora) = (self.decoder.config(), &self.recipe.lora);
            let parameters = &self.parameters;
            let finished = self.candidates.into_par_iter().enumerate().map(|(place, one)| {
                let adapter = parameters.adapter(config, lora, place)?;
                Ok((one.index, Ok(one.finish_with(adapter))))
            });
            all.extend(finished.collect::<Result<Vec<_>>>()?);
        }
        all.sort_by_key(|(index, _)| *index);
        Ok(all.into_iter().map(|(_, outcome)| outcome).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_few_and_even() {
        let shares = |mut count, most| {
            let mut shares = Vec::new();
            while count > 0 {
                shares.push(even_share(count, most));
                count -= shares[shares.len() - 1];
            }
            shares
        };
        assert_eq!(shares(41, 40), [21, 20]);
        assert_eq!(shares(174, 40), [35, 35, 35, 35, 34]);
        assert_eq!(shares(3, 40), [3]);
        assert_eq!(shares(4, 1), [1, 1, 1, 1]);
    }
}
