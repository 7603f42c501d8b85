//! From annexes to the figures of the final table. Arithmetic alone; reading is `evidence`.

mod forgetting;
mod joint;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use seal_auditor::annex::{Annex, CandidateAnnex};
use seal_auditor::gate::{Outcome, Panel, PanelName};
use seal_auditor::statistics::bootstrap_mean;
use seal_conductor::plan::{Mode, sequence_stage};
use seal_protocol::{AuditPurpose, Decision, Digest, Labels, SelfEdit, TrainingExample};

use crate::evidence::{annexes, edit};
use crate::figures::{Condition, Consolidation, Difference, Estimate, Figures, Funnel, Signal};
use crate::run_dir::RunDir;

/// Stages of held-out contexts in the order of the table, with their labels.
const CONDITIONS: [(&str, &str); 4] = [
    ("eval-context-only", "passage only"),
    ("eval-untrained", "untrained self-edits"),
    ("eval-length-matched", "untrained, length-matched"),
    ("eval-fixed-plan", "best fixed plan, untrained"),
];

/// Everything the run showed.
pub(crate) fn figures(run: &RunDir) -> Result<Figures> {
    let settings = run.run_config()?.run;
    let annexes = annexes(run)?;
    let names: BTreeMap<Digest, String> =
        run.contexts()?.into_iter().map(|context| (context.digest, context.id)).collect();
    let reader = Reader { run, annexes: &annexes, names: &names };
    let conditions = match settings.mode {
        Mode::ContinuedPretraining => joint::conditions(&reader, settings.rounds)?,
        Mode::SinglePassage | Mode::Continual => reader.conditions(settings.rounds)?,
    };
    let selection_gains = reader.selection_gains();
    let sequences = forgetting::sequences(&annexes, &names, settings.rounds);
    Ok(Figures {
        seed: settings.seed,
        selection: annexes.first().map_or_else(
            || "strict".into(),
            |annex| crate::text::wire_name(&annex.settings.selection),
        ),
        labels: labels_of(annexes.iter().map(Annex::labels)),
        differences: differences(&conditions, settings.rounds, &selection_gains),
        selection_gains,
        conditions,
        funnels: reader.funnels(settings.rounds),
        consolidation: reader.consolidation(),
        forgetting: forgetting::forgetting(&sequences),
        sequences,
    })
}

struct Reader<'a> {
    run: &'a RunDir,
    annexes: &'a [Annex],
    names: &'a BTreeMap<Digest, String>,
}

impl Reader<'_> {
    fn of_stage<'a>(&'a self, stage: &'a str) -> impl Iterator<Item = &'a Annex> {
        self.annexes.iter().filter(move |annex| annex.stage == stage)
    }

    fn of_stage_named(&self, stage: String) -> impl Iterator<Item = &Annex> {
        self.annexes.iter().filter(move |annex| annex.stage == stage)
    }

    fn name(&self, context: &Digest) -> String {
        self.names.get(context).cloned().unwrap_or_else(|| context.short())
    }

    fn conditions(&self, rounds: u32) -> Result<Vec<Condition>> {
        let labelled: Vec<(String, String)> = CONDITIONS
            .iter()
            .map(|(stage, label)| ((*stage).to_owned(), (*label).to_owned()))
            .chain((1..=rounds).map(|r| (format!("eval-round-{r}"), format!("after round {r}"))))
            .collect();
        let Some(base) = self.base_condition() else { return Ok(Vec::new()) };
        let unchanged = base.per_context.clone();
        let mut conditions = vec![base];
        for (stage, label) in labelled {
            conditions.extend(self.condition(&stage, &label, &unchanged)?);
        }
        Ok(conditions)
    }

    /// The base on the same contexts and items, as it was measured beside the first condition.
    fn base_condition(&self) -> Option<Condition> {
        let stage = "eval-context-only";
        let per_context: Vec<(String, f64)> = self
            .of_stage(stage)
            .filter_map(|annex| {
                let tau = annex.panels.iter().filter(|panel| is_tau(panel));
                let outcomes: Vec<Outcome> = tau.flat_map(|panel| panel.base.clone()).collect();
                Some((self.name_of(annex)?, share(&outcomes)?))
            })
            .collect();
        let retention = self.of_stage(stage).next().and_then(|annex| {
            let panel = annex.panels.iter().find(|panel| panel.name == PanelName::Retention)?;
            share(&panel.base)
        });
        Some(Condition {
            stage: "base".into(),
            label: "base, no update".into(),
            accuracy: estimate(&values(&per_context))?,
            per_context,
            dense_gains: Vec::new(),
            empty_answers: 0,
            retention,
            lines_per_edit: 0.0,
        })
    }

    /// One condition. A context for which it has no edit, because the reply did not parse, keeps the
    /// base and counts with the base's accuracy: leaving it out would flatter the condition.
    fn condition(
        &self,
        stage: &str,
        label: &str,
        unchanged: &[(String, f64)],
    ) -> Result<Option<Condition>> {
        let mut per_context = Vec::new();
        let mut retention = Vec::new();
        let mut lines = Vec::new();
        let mut dense_gains = Vec::new();
        let mut empty_answers = 0;
        for annex in self.of_stage(stage) {
            let Some(candidate) = annex.candidates.first() else { continue };
            let tau = outcomes_of(&annex.panels, candidate, is_tau);
            let kept =
                outcomes_of(&annex.panels, candidate, |panel| panel.name == PanelName::Retention);
            // A candidate that could not be measured answers nothing: it counts as wrong.
            let name = self.name_of(annex).context("an annex without a context")?;
            dense_gains.extend(dense_gain(annex, candidate).map(|gain| (name.clone(), gain)));
            empty_answers += tau.iter().filter(|outcome| outcome.empty).count();
            per_context.push((name, share(&tau).unwrap_or(0.0)));
            retention.extend(share(&kept));
            for digest in &candidate.edit_digests {
                lines.push(line_count(&edit(self.run, digest)?) as f64);
            }
        }
        if per_context.is_empty() {
            return Ok(None);
        }
        let measured: BTreeSet<String> = per_context.iter().map(|(name, _)| name.clone()).collect();
        let without_edit = unchanged.iter().filter(|(name, _)| !measured.contains(name));
        per_context.extend(without_edit.cloned());
        per_context.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(estimate(&values(&per_context)).map(|accuracy| Condition {
            stage: stage.to_owned(),
            label: label.to_owned(),
            accuracy,
            per_context,
            dense_gains,
            empty_answers,
            retention: mean(&retention),
            lines_per_edit: mean(&lines).unwrap_or(0.0),
        }))
    }

    fn name_of(&self, annex: &Annex) -> Option<String> {
        Some(self.name(annex.candidates.first()?.context_digests.first()?))
    }

    fn funnels(&self, rounds: u32) -> Vec<Funnel> {
        (1..=rounds)
            .flat_map(|round| [format!("round-{round}"), sequence_stage(round)])
            .chain(["intake".to_owned()])
            .filter_map(|stage| self.funnel(&stage))
            .collect()
    }

    /// What selection is worth on questions that it never saw.
    fn selection_gains(&self) -> Vec<f64> {
        let rounds: Vec<&Annex> =
            self.annexes.iter().filter(|annex| annex.stage.starts_with("round-")).collect();
        confirmed(&rounds).into_iter().map(|(winner, random)| winner - random).collect()
    }

    fn funnel(&self, stage: &str) -> Option<Funnel> {
        // The steps of a sequence have its stage too; they ask for nothing.
        let asks = |annex: &&Annex| annex.purpose != AuditPurpose::Evaluation;
        let groups: Vec<&Annex> = self.of_stage(stage).filter(asks).collect();
        let all =
            || groups.iter().flat_map(|annex| annex.candidates.iter().map(move |c| (annex, c)));
        let rewards = |annex: &Annex| -> Vec<f64> {
            let reward = |candidate| score(annex, candidate, PanelName::TauReward);
            annex.candidates.iter().filter_map(reward).collect()
        };
        let mut refused: BTreeMap<String, usize> = BTreeMap::new();
        for (_, candidate) in all().filter(|(_, c)| c.ruling.decision == Decision::Reject) {
            let first = candidate.ruling.reasons.first().cloned();
            *refused.entry(first.unwrap_or_else(|| "not measured".into())).or_default() += 1;
        }
        let mut refused: Vec<(String, usize)> = refused.into_iter().collect();
        refused.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let best: Vec<f64> =
            groups.iter().filter_map(|annex| rewards(annex).into_iter().reduce(f64::max)).collect();
        let mean_rewards: Vec<f64> = groups.iter().flat_map(|annex| rewards(annex)).collect();
        let decided = |decision| all().filter(|(_, c)| c.ruling.decision == decision).count();
        let (winners, random): (Vec<f64>, Vec<f64>) = confirmed(&groups).into_iter().unzip();
        Some(Funnel {
            stage: stage.to_owned(),
            proposed: all().count(),
            accepted: decided(Decision::Accept),
            not_selected: decided(Decision::NotSelected),
            refused,
            mean_reward: mean(&mean_rewards)?,
            best_reward: mean(&best)?,
            accepted_confirmation: mean(&winners),
            random_confirmation: mean(&random),
            signal: Signal::of(groups.iter().map(|annex| (rewards(annex), has_winner(annex)))),
        })
    }

    fn consolidation(&self) -> Option<Consolidation> {
        let annex =
            self.annexes.iter().rev().find(|annex| annex.purpose == AuditPurpose::Promotion)?;
        let candidate = annex.candidates.first()?;
        let confirmation = |panel: &&Panel| panel.name == PanelName::TauConfirmation;
        let base: Vec<f64> =
            annex.panels.iter().filter(confirmation).filter_map(|p| share(&p.base)).collect();
        let adapted: Vec<f64> = annex
            .panels
            .iter()
            .zip(candidate.outcomes.as_ref()?)
            .filter(|(panel, _)| confirmation(panel))
            .filter_map(|(_, outcomes)| share(outcomes))
            .collect();
        let retention = annex.panels.iter().find(|panel| panel.name == PanelName::Retention)?;
        Some(Consolidation {
            contexts: candidate.context_digests.len(),
            accepted: candidate.ruling.decision == Decision::Accept,
            reasons: candidate.ruling.reasons.clone(),
            base_accuracy: mean(&base)?,
            accuracy: estimate(&adapted)?,
            base_retention: share(&retention.base)?,
            retention: score(annex, candidate, PanelName::Retention)?,
        })
    }
}

/// For each group with a winner, accuracy on the confirmation split: of the winner, and of a random
/// candidate of its group.
fn confirmed(groups: &[&Annex]) -> Vec<(f64, f64)> {
    let pair = |annex: &&Annex| {
        let scored: Vec<(Decision, f64)> = annex
            .candidates
            .iter()
            .filter_map(|c| Some((c.ruling.decision, score(annex, c, PanelName::TauConfirmation)?)))
            .collect();
        let winner = scored.iter().find(|(decision, _)| *decision == Decision::Accept)?.1;
        let all: Vec<f64> = scored.iter().map(|(_, score)| *score).collect();
        Some((winner, mean(&all)?))
    };
    groups.iter().filter_map(pair).collect()
}

/// A split of τ with gold answers. What was held against a vote says how alike models answer, and would
/// flatter every accuracy.
fn is_tau(panel: &Panel) -> bool {
    matches!(panel.name, PanelName::TauReward | PanelName::TauConfirmation)
        && panel.votes.is_empty()
}

fn outcomes_of(
    panels: &[Panel],
    candidate: &CandidateAnnex,
    wanted: impl Fn(&Panel) -> bool,
) -> Vec<Outcome> {
    let outcomes = candidate.outcomes.as_deref().unwrap_or(&[]);
    let named = panels.iter().zip(outcomes).filter(|(panel, _)| wanted(panel));
    named.flat_map(|(_, outcomes)| outcomes.iter().copied()).collect()
}

/// What the gold answers of τ became more likely by, mean over items, in nats per token.
fn dense_gain(annex: &Annex, candidate: &CandidateAnnex) -> Option<f64> {
    let outcomes = candidate.outcomes.as_deref()?;
    let tau = annex.panels.iter().zip(outcomes).filter(|(panel, _)| is_tau(panel));
    let paired = tau.flat_map(|(panel, adapted)| panel.base.iter().zip(adapted));
    let gain = |(base, adapted): (&Outcome, &Outcome)| {
        Some(adapted.log_prob?.to_f64() - base.log_prob?.to_f64())
    };
    mean(&paired.map(gain).collect::<Option<Vec<f64>>>()?)
}

/// Mean over contexts with its interval, for the table of gains in likelihood.
pub(crate) fn dense_estimate(condition: &Condition) -> Option<Estimate> {
    estimate(&values(&condition.dense_gains))
}

/// Share right on one list of items.
pub(crate) fn score(annex: &Annex, candidate: &CandidateAnnex, name: PanelName) -> Option<f64> {
    share(&outcomes_of(&annex.panels, candidate, |panel| panel.name == name))
}

fn share(outcomes: &[Outcome]) -> Option<f64> {
    seal_auditor::gate::share(outcomes)
}

/// Training lines that the policy wrote; the context itself does not count.
pub(crate) fn line_count(edit: &SelfEdit) -> usize {
    let written = |example: &&TrainingExample| match example {
        TrainingExample::Text { part, .. } => *part == seal_protocol::LossPart::Edit,
        TrainingExample::PromptCompletion { .. } | TrainingExample::Messages { .. } => true,
    };
    edit.examples.iter().filter(written).count()
}

fn values(per_context: &[(String, f64)]) -> Vec<f64> {
    per_context.iter().map(|(_, value)| *value).collect()
}

fn mean(values: &[f64]) -> Option<f64> {
    seal_auditor::statistics::mean(values)
}

fn estimate(values: &[f64]) -> Option<Estimate> {
    let interval = bootstrap_mean(values, 0)?;
    Some(Estimate { n: values.len(), mean: interval.mean, low: interval.low, high: interval.high })
}

/// The differences that the claim rests on.
fn differences(conditions: &[Condition], rounds: u32, selection_gains: &[f64]) -> Vec<Difference> {
    let last = format!("eval-round-{rounds}");
    let pairs = [
        ("eval-context-only", "base", "passage only − base"),
        ("eval-untrained", "eval-context-only", "untrained edits − passage only"),
        (joint::EDITS, joint::PASSAGES, "one adapter on edits − one on bare passages"),
        (joint::EDITS, joint::BASE, "one adapter on edits − base"),
        (last.as_str(), "eval-untrained", "after the last round − untrained edits"),
        (last.as_str(), "eval-length-matched", "after the last round − length-matched untrained"),
        (last.as_str(), "eval-fixed-plan", "after the last round − best fixed plan"),
    ];
    let selection = estimate(selection_gains).map(|gain| Difference {
        label: "accepted edits − random choice of the same candidates".into(),
        gain,
    });
    pairs
        .iter()
        .filter_map(|(left, right, label)| difference(conditions, left, right, label))
        .chain(selection)
        .collect()
}

fn difference(
    conditions: &[Condition],
    left: &str,
    right: &str,
    label: &str,
) -> Option<Difference> {
    let of = |stage: &str| conditions.iter().find(|condition| condition.stage == stage);
    let (left, right) = (of(left)?, of(right)?);
    let right: BTreeMap<&str, f64> =
        right.per_context.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let gains: Vec<f64> = left
        .per_context
        .iter()
        .filter_map(|(name, value)| Some(value - right.get(name.as_str())?))
        .collect();
    Some(Difference { label: label.to_owned(), gain: estimate(&gains)? })
}

/// One vote among them is enough to say so.
fn has_winner(annex: &Annex) -> bool {
    annex.candidates.iter().any(|one| one.ruling.decision == Decision::Accept)
}

fn labels_of(all: impl IntoIterator<Item = Labels>) -> Labels {
    all.into_iter().find(|labels| !labels.is_gold()).unwrap_or_default()
}

/// Several runs as one: contexts of all seeds side by side.
pub(crate) fn pool(runs: &[Figures]) -> Figures {
    let Some(first) = runs.first() else { return Figures::default() };
    let mut conditions = Vec::new();
    for arm in &first.conditions {
        let own: Vec<&Condition> = runs
            .iter()
            .flat_map(|run| run.conditions.iter().filter(|own| own.stage == arm.stage))
            .collect();
        let named = runs.iter().zip(&own).flat_map(|(run, own)| {
            own.per_context.iter().map(move |(id, value)| (format!("{}/{id}", run.seed), *value))
        });
        let per_context: Vec<(String, f64)> = named.collect();
        let Some(accuracy) = estimate(&values(&per_context)) else { continue };
        conditions.push(Condition {
            stage: arm.stage.clone(),
            label: arm.label.clone(),
            accuracy,
            per_context,
            dense_gains: runs
                .iter()
                .zip(&own)
                .flat_map(|(run, own)| {
                    let named = own.dense_gains.iter();
                    named.map(move |(id, gain)| (format!("{}/{id}", run.seed), *gain))
                })
                .collect(),
            empty_answers: own.iter().map(|own| own.empty_answers).sum(),
            retention: mean(&own.iter().filter_map(|own| own.retention).collect::<Vec<_>>()),
            lines_per_edit: mean(&own.iter().map(|own| own.lines_per_edit).collect::<Vec<_>>())
                .unwrap_or(0.0),
        });
    }
    let rounds = conditions.iter().filter(|c| c.stage.starts_with("eval-round-")).count() as u32;
    let sequences: Vec<_> = runs.iter().flat_map(|run| run.sequences.clone()).collect();
    let selection_gains: Vec<f64> =
        runs.iter().flat_map(|run| run.selection_gains.iter().copied()).collect();
    Figures {
        seed: first.seed,
        selection: first.selection.clone(),
        labels: labels_of(runs.iter().map(|run| run.labels)),
        differences: differences(&conditions, rounds, &selection_gains),
        selection_gains,
        conditions,
        funnels: Vec::new(),
        consolidation: None,
        forgetting: forgetting::forgetting(&sequences),
        sequences,
    }
}
