//! `seal check reward`: our reward beside the paper's, on the embedded miniature.
//!
//! Every scheme sees the same edits of the untrained policy and trains them for real. What its picks
//! are worth is measured with seeds that nothing was chosen by, and on the confirmation split.

mod gather;
mod reliability;
mod schemes;
mod votes;
mod worth;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use anyhow::{Context, Result};
use seal_auditor::statistics::Interval;
use seal_miniature::base::write_base;
use seal_miniature::rewards::{RewardBench, Score};
use seal_miniature::run_data::{RunCounts, RunData};
use seal_model::{Decoder, DeviceChoice};
use serde::Serialize;

use self::gather::{EDITS, FRESH, Gathered, Gatherer, RUNS};
use self::reliability::{Ratio, Reliability};
use self::votes::{Ballot, Labelled};
use self::worth::{Difference, Picks, Worth};
use crate::cli::Global;
use crate::commands::print_json;
use crate::exit::{Ended, Failure};
use crate::text::{percent, table};

#[derive(Serialize)]
struct Report {
    contexts: usize,
    edits: usize,
    runs: usize,
    fresh_runs: usize,
    reliability: Vec<Reliability>,
    ours_beside: Vec<Ratio>,
    votes: Vec<Labelled>,
    worth: Vec<Worth>,
    differences: Vec<Difference>,
}

pub(super) fn check(
    global: &Global,
    contexts: usize,
    seed: u64,
    begin: &str,
) -> Result<Option<Ended>, Failure> {
    let report = compare(global, contexts, seed, begin)?;
    if global.json {
        print_json(&report)?;
    } else {
        print(&report);
    }
    Ok(None)
}

fn compare(global: &Global, contexts: usize, seed: u64, begin: &str) -> Result<Report> {
    let folder = tempfile::tempdir().context("cannot make a folder for the base model")?;
    write_base(folder.path())?;
    let decoder = Decoder::load(folder.path(), &DeviceChoice::Cpu.open()?.device)?;
    let counts = RunCounts { train: contexts, evaluation: 0, poisoned: 0, ..RunCounts::default() };
    let data = RunData::draw(seed, counts)?;
    let bench = RewardBench::new(&decoder, &data);
    let head = if begin.is_empty() { String::new() } else { format!(" {begin}") };
    let gatherers = (0..contexts)
        .map(|context| Gatherer::new(&bench, context, &head, seed))
        .collect::<Result<Vec<_>>>()?;
    let mut all = Vec::new();
    for gatherer in &gatherers {
        all.push(gatherer.gather()?);
        if !global.quiet {
            eprintln!("context {} of {contexts}", all.len());
        }
    }
    let picks = worth::picks(&all).context("a scheme had nothing to pick from")?;
    let fresh = fresh_runs(&gatherers, &picks)?;
    summarised(&all, &picks, &fresh).context("too few contexts to estimate from")
}

/// Fresh runs of what each scheme picked; an edit that several picked is trained once.
fn fresh_runs(gatherers: &[Gatherer<'_>], picks: &[Picks]) -> Result<Vec<Vec<Vec<Score>>>> {
    let mut fresh: Vec<Vec<Vec<Score>>> = vec![Vec::new(); picks.len()];
    for (context, gatherer) in gatherers.iter().enumerate() {
        let mut known: BTreeMap<usize, Vec<Score>> = BTreeMap::new();
        for (scheme, picks) in picks.iter().enumerate() {
            let edit = picks.edits[context];
            let runs = match known.entry(edit) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(gatherer.fresh(edit)?),
            };
            fresh[scheme].push(runs.clone());
        }
    }
    Ok(fresh)
}

fn summarised(all: &[Gathered], picks: &[Picks], fresh: &[Vec<Vec<Score>>]) -> Option<Report> {
    let (worth, differences) = worth::worths(all, picks, fresh)?;
    let few: Vec<&Ballot> = all.iter().map(|one| &one.few_votes).collect();
    let many: Vec<&Ballot> = all.iter().map(|one| &one.many_votes).collect();
    Some(Report {
        contexts: all.len(),
        edits: EDITS,
        runs: RUNS,
        fresh_runs: FRESH,
        reliability: reliability::reliabilities(all)?,
        ours_beside: reliability::ratios(all)?,
        votes: vec![votes::labelled(EDITS, &few)?, votes::labelled(EDITS * RUNS, &many)?],
        worth,
        differences,
    })
}

fn print(report: &Report) {
    let n = report.contexts;
    out!("Share of the variance of a reward that lies between the {} edits of a context", EDITS);
    let mut rows =
        vec![heads(["reward", "one run", "95 %", "3 runs", "95 %", "n", "steps", "tokens"])];
    rows.extend(report.reliability.iter().map(|row| {
        let [one, of_one] = cells(&row.one_run, 1.0);
        let [mean, of_mean] = cells(&row.of_runs, 1.0);
        let [steps, tokens] = [row.optimizer_steps, row.tokens].map(|cost| format!("{cost:.0}"));
        vec![row.reward.to_owned(), one, of_one, mean, of_mean, n.to_string(), steps, tokens]
    }));
    out!("{}", table(&rows));
    out!("Ours beside another reward of {RUNS} runs, times");
    let mut rows = vec![heads(["", "value", "95 %", "n"])];
    for ratio in &report.ours_beside {
        for (what, interval) in [
            ("reliability", &ratio.reliability),
            ("its noise per signal", &ratio.noise),
            ("reliability of one run", &ratio.one_run),
        ] {
            let [value, range] = cells(interval, 1.0);
            rows.push(vec![format!("{}: {what}", ratio.beside), value, range, n.to_string()]);
        }
    }
    out!("{}", table(&rows));
    out!("What more than half of the models answer to a question of the reward split");
    let names = ["voters", "has a label", "95 %", "label is gold", "95 %", "n", "contexts without"];
    let mut rows = vec![heads(names)];
    rows.extend(report.votes.iter().map(|row| {
        let [labelled, of_labelled] = cells(&row.labelled, 100.0);
        let right = row.right.as_ref().map(|right| cells(right, 100.0));
        let [right, of_right] = right.unwrap_or_else(|| ["–".into(), "–".into()]);
        let (n, without) = (n.to_string(), row.without.to_string());
        vec![row.voters.clone(), labelled, of_labelled, right, of_right, n, without]
    }));
    out!("{}", table(&rows));
    out!("What the picked edits gain above the base on {FRESH} fresh seeds, points of accuracy");
    let names =
        ["scheme", "runs", "steps", "tokens", "reward", "95 %", "confirmation", "95 %", "n"];
    let mut rows = vec![heads(names)];
    rows.extend(report.worth.iter().map(|row| {
        let mut cells = gains(row.scheme, &row.reward_split, &row.confirmation_split, n);
        let costs = [row.runs as f64, row.optimizer_steps, row.tokens];
        cells.splice(1..1, costs.map(|cost| format!("{cost:.0}")));
        cells
    }));
    out!("{}", table(&rows));
    out!("The same beside the paper's scheme, paired by context");
    let mut rows =
        vec![heads(["scheme", "reward", "95 %", "confirmation", "95 %", "n", "same edit"])];
    rows.extend(report.differences.iter().map(|row| {
        let mut cells = gains(row.scheme, &row.reward_split, &row.confirmation_split, n);
        cells.push(percent(row.same_edit as f64 / n as f64));
        cells
    }));
    out!("{}", table(&rows));
}

fn gains(scheme: &str, reward: &Interval, confirmation: &Interval, n: usize) -> Vec<String> {
    let ([reward, of_reward], [confirmation, of_confirmation]) =
        (cells(reward, 100.0), cells(confirmation, 100.0));
    vec![scheme.to_owned(), reward, of_reward, confirmation, of_confirmation, n.to_string()]
}

/// `0.93`, `0.88 – 0.96`.
fn cells(interval: &Interval, scale: f64) -> [String; 2] {
    let places = if scale > 1.0 { 1 } else { 2 };
    let shown = |value: f64| format!("{:.places$}", value * scale);
    [shown(interval.mean), format!("{} … {}", shown(interval.low), shown(interval.high))]
}

fn heads<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests;
