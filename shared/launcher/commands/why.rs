//! `seal why`: on which evidence something was accepted or refused, and how to undo it.

use anyhow::{Result, bail};
use seal_auditor::annex::{Annex, CandidateAnnex};
use seal_auditor::gate::{PanelName, StageOutcome, share};
use seal_protocol::{
    AuditPurpose, ChatMessage, Decision, Labels, ReplySchema, SelfEdit, TrainingExample,
};
use serde::Serialize;

use super::{hint, print_json};
use crate::cli::Global;
use crate::evidence;
use crate::exit::{Ended, Failure};
use crate::run_dir::RunDir;
use crate::text::{percent, printable, table, wire_name};

/// Training lines of an edit that are shown.
const LINES_SHOWN: usize = 6;

pub(crate) fn why(global: &Global, run: &RunDir, subject: &str) -> Result<Option<Ended>, Failure> {
    let found = find(run, subject)?;
    if global.json {
        print_json(&found.iter().map(Explained::of).collect::<Vec<_>>())?;
        return Ok(ended(&found));
    }
    for (annex, index) in &found {
        explain(run, annex, &annex.candidates[*index])?;
    }
    hint(
        global,
        "seal verify --all proves that none of this was changed; seal rollback base undoes it",
    );
    Ok(ended(&found))
}

/// The exit code tells a script what a reader sees.
fn ended(found: &[(Annex, usize)]) -> Option<Ended> {
    let rulings = || found.iter().map(|(annex, index)| &annex.candidates[*index].ruling);
    if rulings().any(|ruling| ruling.decision != Decision::Reject) {
        return None;
    }
    let by_tau = rulings().all(|ruling| ruling.reasons.iter().all(|rule| rule.starts_with("tau.")));
    Some(if by_tau { Ended::RejectedByTau } else { Ended::RejectedByPolicy })
}

/// `seal why --json`.
#[derive(Serialize)]
struct Explained<'a> {
    stage: &'a str,
    purpose: AuditPurpose,
    #[serde(skip_serializing_if = "Labels::is_gold")]
    labels: Labels,
    candidate: &'a CandidateAnnex,
}

impl<'a> Explained<'a> {
    fn of((annex, index): &'a (Annex, usize)) -> Self {
        Self {
            stage: &annex.stage,
            purpose: annex.purpose,
            labels: annex.labels(),
            candidate: &annex.candidates[*index],
        }
    }
}

/// Candidates that a name stands for: a version's, a context's, an edit's.
fn find(run: &RunDir, subject: &str) -> Result<Vec<(Annex, usize)>> {
    let version = evidence::known_version(run, subject).ok();
    let contexts = run.contexts()?;
    let context = contexts.iter().find(|context| context.id == subject).map(|c| c.digest);
    let matches = |annex: &Annex, candidate: &CandidateAnnex| {
        let by_version = version.is_some() && candidate.adapter_digest == version;
        let by_context = context.is_some_and(|digest| {
            annex.purpose != AuditPurpose::Promotion && candidate.context_digests.contains(&digest)
        });
        let by_edit = subject.len() >= 6
            && annex.purpose != AuditPurpose::Promotion
            && candidate.edit_digests.iter().any(|digest| digest.to_string().starts_with(subject));
        by_version || by_context || by_edit
    };
    let mut found = Vec::new();
    for annex in evidence::annexes(run)? {
        let hits: Vec<usize> = (0..annex.candidates.len())
            .filter(|index| matches(&annex, &annex.candidates[*index]))
            .collect();
        found.extend(hits.into_iter().map(|index| (annex.clone(), index)));
    }
    if found.is_empty() {
        bail!(
            "nothing is known of `{}`; name a version (`seal status` lists them), a context's id, or the first digits of an edit's digest",
            printable(subject)
        );
    }
    Ok(found)
}

/// The documents that came after the rounds: for the demo, the poisoned one.
pub(crate) fn explain_intake(run: &RunDir) -> Result<()> {
    for annex in evidence::annexes(run)?.iter().filter(|annex| annex.stage == "intake") {
        let shown = annex.candidates.iter().max_by_key(|candidate| {
            let score = crate::tally::score(annex, candidate, PanelName::TauReward);
            score.map_or(0, |score| (score * 1e6) as i64)
        });
        if let Some(candidate) = shown {
            explain(run, annex, candidate)?;
        }
    }
    Ok(())
}

fn explain(run: &RunDir, annex: &Annex, candidate: &CandidateAnnex) -> Result<()> {
    let decision = match candidate.ruling.decision {
        Decision::Accept => "ACCEPTED and signed",
        Decision::Reject => "REFUSED",
        Decision::NotSelected => "nothing against it, but another edit of its group was better",
        Decision::Measured => "measured, no decision asked for",
    };
    out!("\n  {}: {decision}", annex.stage);
    if let Some(digest) = candidate.adapter_digest {
        out!("  adapter   sha256:{}", digest.short());
    }
    out!("  contexts  {}", contexts(run, candidate)?);
    if let [digest] = candidate.edit_digests.as_slice() {
        show_edit(&evidence::edit(run, digest)?, &digest.short());
    } else {
        out!("  edits     {}", candidate.edit_digests.len());
    }
    show_votes(annex);
    show_measurements(candidate);
    show_runs(annex, candidate);
    show_stages(candidate);
    if annex.purpose == AuditPurpose::Promotion && candidate.ruling.decision == Decision::Accept {
        out!("  undo      seal rollback base");
    }
    Ok(())
}

fn contexts(run: &RunDir, candidate: &CandidateAnnex) -> Result<String> {
    let known = run.contexts()?;
    let names: Vec<String> = candidate
        .context_digests
        .iter()
        .take(4)
        .map(|digest| {
            let own = known.iter().find(|context| context.digest == *digest);
            own.map_or_else(|| digest.short(), |context| context.id.clone())
        })
        .collect();
    let more = candidate.context_digests.len().saturating_sub(names.len());
    let rest = if more == 0 { String::new() } else { format!(" and {more} more") };
    Ok(names.join(", ") + &rest)
}

fn show_edit(edit: &SelfEdit, digest: &str) {
    out!(
        "  edit      {digest} by {}, {}",
        printable(&edit.origin.writer),
        edit.directives.labels.join(" ")
    );
    if let Some(schema) = edit.origin.reply_schema {
        out!("  schema    {}", held_by(schema));
    }
    for example in edit.examples.iter().take(LINES_SHOWN) {
        let text = match example {
            TrainingExample::Text { text, .. } => text.clone(),
            TrainingExample::PromptCompletion { prompt, completion } => {
                format!("{prompt} → {completion}")
            }
            TrainingExample::Messages { messages } => {
                let turn = |turn: &ChatMessage| format!("{}: {}", turn.role.as_str(), turn.content);
                messages.iter().map(turn).collect::<Vec<_>>().join(" → ")
            }
        };
        out!("            · {}", printable(&text));
    }
    let more = edit.examples.len().saturating_sub(LINES_SHOWN);
    if more > 0 {
        out!("            · … {more} more");
    }
    if !edit.rationale.is_empty() {
        out!("  reason    {}", printable(&edit.rationale));
    }
}

/// What held a structured reply to its schema.
fn held_by(schema: ReplySchema) -> &'static str {
    match schema {
        ReplySchema::Decoder => "held by our decoder while the reply was written",
        ReplySchema::Endpoint => "sent to the endpoint, which took it",
        ReplySchema::Refused => "refused by the endpoint; the reply was asked for without it",
        ReplySchema::Unsent => "not sent",
    }
}

/// Where the labels of the reward split were voted: how many questions have one, and by how many.
fn show_votes(annex: &Annex) {
    if annex.labels().is_gold() {
        return;
    }
    let votes = || annex.panels.iter().flat_map(|panel| &panel.votes);
    let majorities = || votes().map(|vote| vote.count).filter(|count| count.is_majority());
    let by = match (majorities().map(|one| one.most).min(), majorities().map(|one| one.most).max())
    {
        (Some(least), Some(most)) => format!(", each by {least} – {most}"),
        _ => String::new(),
    };
    out!(
        "  labels    BY VOTE, no gold answers: {} of {} questions have one{by} of {} votes",
        majorities().count(),
        votes().count(),
        votes().map(|vote| vote.count.voters).max().unwrap_or(0),
    );
}

fn show_measurements(candidate: &CandidateAnnex) {
    let mut rows =
        vec![["measured", "base", "candidate", "95 % interval", "n"].map(str::to_owned).to_vec()];
    for panel in &candidate.summary {
        let share = |interval: &Option<seal_auditor::statistics::Interval>| {
            interval.map_or_else(|| "–".into(), |interval| percent(interval.mean))
        };
        let bounds = panel.candidate.map_or_else(
            || "–".into(),
            |interval| format!("{:.1} – {:.1}", interval.low * 100.0, interval.high * 100.0),
        );
        rows.push(vec![
            wire_name(&panel.name),
            share(&panel.base),
            share(&panel.candidate),
            bounds,
            panel.n.to_string(),
        ]);
    }
    if rows.len() > 1 {
        out!("{}", table(&rows).trim_end());
    }
}

/// Where an edit was run more than once: what each run got right of the reward split.
fn show_runs(annex: &Annex, candidate: &CandidateAnnex) {
    if candidate.runs.is_empty() {
        return;
    }
    let first = crate::tally::score(annex, candidate, PanelName::TauReward);
    let further = candidate.runs.iter().map(|run| match &run.outcomes {
        Some(panels) => share(&panels.concat()).map_or_else(|| "–".into(), percent),
        None => "training led nowhere".to_owned(),
    });
    out!(
        "  runs      {} on the reward split; again under seeds of the auditor's: {}",
        first.map_or_else(|| "–".into(), percent),
        further.collect::<Vec<_>>().join(", ")
    );
}

fn show_stages(candidate: &CandidateAnnex) {
    for stage in &candidate.ruling.stages {
        let outcome = match stage.outcome {
            StageOutcome::Passed => "passed",
            StageOutcome::Failed => "FAILED",
            StageOutcome::NotRun => "not run",
            StageOutcome::NotDrawn => "not drawn",
            StageOutcome::OutOfTime => "OUT OF TIME",
        };
        let rules = printable(&stage.reasons.join(", "));
        out!("  gate      {:<13} {outcome:<9} {rules}", wire_name(&stage.stage));
    }
}
