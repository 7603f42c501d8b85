//! Continued pre-training: one adapter for the passages of a round, beside the base and beside an
//! adapter on the bare passages.

use anyhow::Result;
use seal_auditor::annex::{Annex, CandidateAnnex};
use seal_auditor::gate::{Outcome, PanelName};
use seal_conductor::plan::joint_stages;
use seal_protocol::Digest;

use super::{Reader, estimate, is_tau, line_count, mean, score, share, values};
use crate::evidence::edit;
use crate::figures::Condition;

/// Names of the conditions, over all rounds.
pub(super) const BASE: &str = "cpt-base";
pub(super) const PASSAGES: &str = "cpt-context-only";
pub(super) const EDITS: &str = "cpt";

/// The conditions that were measured.
pub(super) fn conditions(reader: &Reader<'_>, rounds: u32) -> Result<Vec<Condition>> {
    let of = |which: usize| -> Vec<(&Annex, &CandidateAnnex)> {
        let stages = (1..=rounds).map(|round| joint_stages(round)[which].clone());
        let annexes = stages.flat_map(|stage| reader.of_stage_named(stage));
        annexes.filter_map(|annex| Some((annex, annex.candidates.first()?))).collect()
    };
    let (edits, passages) = (of(0), of(1));
    let base = Arm { stage: BASE, label: "base, no update", measured: &edits, is_base: true };
    let arms = [
        base,
        Arm { stage: PASSAGES, label: "bare passages", measured: &passages, is_base: false },
        Arm { stage: EDITS, label: "self-edits", measured: &edits, is_base: false },
    ];
    let conditions: Result<Vec<_>> = arms.iter().map(|arm| arm.condition(reader)).collect();
    Ok(conditions?.into_iter().flatten().collect())
}

struct Arm<'a> {
    stage: &'static str,
    label: &'static str,
    measured: &'a [(&'a Annex, &'a CandidateAnnex)],
    is_base: bool,
}

impl Arm<'_> {
    fn condition(&self, reader: &Reader<'_>) -> Result<Option<Condition>> {
        let mut per_context = Vec::new();
        let mut dense_gains = Vec::new();
        let (mut empty_answers, mut lines) = (0, Vec::new());
        for (annex, candidate) in self.measured {
            for context in &candidate.context_digests {
                let pairs = pairs(annex, candidate, context);
                let own: Vec<Outcome> = pairs
                    .iter()
                    .map(|(base, new)| if self.is_base { *base } else { *new })
                    .collect();
                let name = reader.name(context);
                per_context.extend(share(&own).map(|share| (name.clone(), share)));
                empty_answers += own.iter().filter(|outcome| outcome.empty).count();
                let dense = (!self.is_base).then(|| dense_gain(&pairs)).flatten();
                dense_gains.extend(dense.map(|gain| (name, gain)));
            }
            let edits = candidate.edit_digests.iter().filter(|_| !self.is_base);
            for digest in edits {
                lines.push(line_count(&edit(reader.run, digest)?) as f64);
            }
        }
        per_context.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(estimate(&values(&per_context)).map(|accuracy| Condition {
            stage: self.stage.to_owned(),
            label: self.label.to_owned(),
            accuracy,
            per_context,
            dense_gains,
            empty_answers,
            retention: mean(&self.retention()),
            lines_per_edit: mean(&lines).unwrap_or(0.0),
        }))
    }

    fn retention(&self) -> Vec<f64> {
        let of = |(annex, candidate): &(&Annex, &CandidateAnnex)| match self.is_base {
            false => score(annex, candidate, PanelName::Retention),
            true => {
                let mut panels = annex.panels.iter();
                let panel = panels.find(|panel| panel.name == PanelName::Retention)?;
                share(&panel.base)
            }
        };
        self.measured.iter().filter_map(of).collect()
    }
}

/// Base and candidate on each question of a context. A candidate that could not be measured has none.
fn pairs(annex: &Annex, candidate: &CandidateAnnex, context: &Digest) -> Vec<(Outcome, Outcome)> {
    let outcomes = candidate.outcomes.as_deref().unwrap_or(&[]);
    let own = annex
        .panels
        .iter()
        .zip(outcomes)
        .filter(|(panel, _)| is_tau(panel) && panel.context_digest.as_ref() == Some(context));
    own.flat_map(|(panel, new)| panel.base.iter().copied().zip(new.iter().copied())).collect()
}

/// What the gold answers became more likely by, mean over questions, in nats per token.
fn dense_gain(pairs: &[(Outcome, Outcome)]) -> Option<f64> {
    let gain =
        |(base, new): &(Outcome, Outcome)| Some(new.log_prob?.to_f64() - base.log_prob?.to_f64());
    mean(&pairs.iter().map(gain).collect::<Option<Vec<f64>>>()?)
}
