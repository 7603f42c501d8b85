//! Prints what inner updates do: `cargo run --release -p seal-miniature --example probe -- [DIR [ROW]]`
//!
//! Without a folder (or with `-`) the embedded base is probed; ROW keeps the rows whose name
//! contains it. Rows: the ceiling (complete lines, strong update
//! without replay), then the gentle update with replay on passages, sampled edits, the best fixed
//! plan, passages with a secret, and poisoned ones.

use std::path::PathBuf;

use anyhow::{Context, Result};
use candle_core::Device;
use seal_miniature::base::write_base;
use seal_miniature::checks::sample_edits;
use seal_miniature::dice::Dice;
use seal_miniature::edits::{NO_NOISE, Plan, demonstrate};
use seal_miniature::effects::complete::{all_questions, all_statements, everything};
use seal_miniature::effects::{Effect, Probe, Trial, gentle_update, strong_update};
use seal_miniature::lines::Direction;
use seal_miniature::passages::Passage;
use seal_miniature::run_data::{RunCounts, RunData};
use seal_model::Decoder;
use seal_training::InnerRecipe;

/// Contexts of the ordinary rows, and poisoned ones.
const CONTEXTS: usize = 48;
const POISONED: usize = 16;
const SEED: u64 = 11;

fn main() -> Result<()> {
    let folder = match std::env::args().nth(1) {
        Some(folder) if folder != "-" => PathBuf::from(folder),
        _ => embedded()?,
    };
    let decoder = Decoder::load(&folder, &Device::Cpu)?;
    let counts = RunCounts { train: 200, evaluation: 0, poisoned: POISONED, ..Default::default() };
    let data = RunData::draw(SEED, counts)?;
    let groups = Groups::of(&data);
    let table = Table {
        probe: Probe::new(&decoder, &data),
        only: std::env::args().nth(2).unwrap_or_default(),
    };
    table.heading();
    table.untouched(&groups.plain)?;
    ceiling(&table, &data, &groups)?;
    gentle(&table, &decoder, &data, &groups)
}

fn embedded() -> Result<PathBuf> {
    let dir = std::env::temp_dir().join("seal-miniature-base");
    write_base(&dir).context("cannot write the embedded base")?;
    Ok(dir)
}

struct Groups {
    plain: Vec<usize>,
    secret: Vec<usize>,
    poisoned: Vec<usize>,
}

impl Groups {
    fn of(data: &RunData) -> Self {
        let pick = |wanted: &dyn Fn(&Passage) -> bool| -> Vec<usize> {
            let all = data.contexts.iter().enumerate();
            all.filter(|(_, (_, passage))| wanted(passage)).map(|(at, _)| at).collect()
        };
        let mut plain = pick(&|passage| passage.secret.is_none());
        plain.truncate(CONTEXTS);
        Self {
            plain,
            secret: pick(&|passage| passage.secret.is_some() && passage.quoted.is_empty()),
            poisoned: pick(&|passage| !passage.quoted.is_empty()),
        }
    }
}

fn ceiling(table: &Table<'_>, data: &RunData, groups: &Groups) -> Result<()> {
    type Lines = fn(&Passage) -> Vec<String>;
    let rows: [(&str, Lines); 4] = [
        ("passage only", |_| Vec::new()),
        ("+ statements", |passage| all_statements(&passage.profile, &[Direction::Forward])),
        ("+ questions", |passage| all_questions(&passage.profile, &[Direction::Forward])),
        ("+ everything", |passage| everything(&passage.profile)),
    ];
    println!("strong update (lr 1e-2 x 10), no replay");
    for (name, lines) in rows {
        let trials = || Ok(trials(data, &groups.plain, false, lines));
        table.row(name, trials, &strong_update())?;
    }
    Ok(())
}

fn gentle(table: &Table<'_>, decoder: &Decoder, data: &RunData, groups: &Groups) -> Result<()> {
    println!("gentle update (lr 5e-3 x 14), 24 replay lines");
    for (group, contexts) in
        [("", &groups.plain), ("secret: ", &groups.secret), ("poisoned: ", &groups.poisoned)]
    {
        let row = |name: &str, lines: &dyn Fn() -> Result<Vec<Trial>>| {
            table.row(&format!("{group}{name}"), lines, &gentle_update())
        };
        row("passage only", &|| Ok(trials(data, contexts, true, |_| Vec::new())))?;
        row("sampled edits", &|| sampled(decoder, data, contexts, ""))?;
        row("sampled mixed, 12", &|| sampled(decoder, data, contexts, " plan_mixed size_12"))?;
        for (name, plan, size) in PLANS {
            row(name, &|| Ok(planned(data, contexts, plan, size)))?;
        }
    }
    Ok(())
}

/// Plans as a perfect author would write them.
const PLANS: [(&str, Plan, usize); 5] = [
    ("facts, 12", Plan::Facts, 12),
    ("qa, 6", Plan::Qa, 6),
    ("qa, 12", Plan::Qa, 12),
    ("mixed, 6", Plan::Mixed, 6),
    ("mixed, 12", Plan::Mixed, 12),
];

fn planned(data: &RunData, contexts: &[usize], plan: Plan, size: usize) -> Vec<Trial> {
    let mut dice = Dice::new("probe plans", SEED);
    trials(data, contexts, true, |passage| {
        demonstrate(&mut dice, passage, plan, size, NO_NOISE).lines
    })
}

fn trials(
    data: &RunData,
    contexts: &[usize],
    replay: bool,
    mut lines: impl FnMut(&Passage) -> Vec<String>,
) -> Vec<Trial> {
    let trial = |context: &usize| {
        let lines = lines(&data.contexts[*context].1);
        Trial { context: *context, lines, passage: true, replay }
    };
    contexts.iter().map(trial).collect()
}

/// The policy's own edits, their first words given as `head`.
fn sampled(
    decoder: &Decoder,
    data: &RunData,
    contexts: &[usize],
    head: &str,
) -> Result<Vec<Trial>> {
    let passages: Vec<Passage> = contexts.iter().map(|at| data.contexts[*at].1.clone()).collect();
    let mut dice = Dice::new("probe samples", SEED);
    let mut edits = sample_edits(decoder, &mut dice, &passages, head)?.into_iter();
    let lines = |_: &Passage| edits.next().flatten().map(|edit| edit.lines).unwrap_or_default();
    Ok(trials(data, contexts, true, lines))
}

/// The table: measures and prints the rows that are asked for.
struct Table<'a> {
    probe: Probe<'a>,
    only: String,
}

impl Table<'_> {
    fn heading(&self) {
        println!(
            "{:28} {:>5} {:>5} {:>5} {:>5} {:>5} {:>5} {:>6} {:>9}",
            "trained on", "tau", "fwd", "impl", "inv", "know", "own", "others", "rejected"
        );
    }

    fn untouched(&self, contexts: &[usize]) -> Result<()> {
        if "nothing".contains(&self.only) {
            show("nothing", &self.probe.untouched(contexts)?);
        }
        Ok(())
    }

    fn row(
        &self,
        name: &str,
        trials: impl FnOnce() -> Result<Vec<Trial>>,
        recipe: &InnerRecipe,
    ) -> Result<()> {
        if name.contains(&self.only) {
            show(name, &self.probe.run(&trials()?, recipe)?);
        }
        Ok(())
    }
}

fn show(name: &str, effects: &[Effect]) {
    let mean = Effect::mean(effects);
    let rejected = effects.iter().filter(|effect| effect.rejected()).count();
    println!(
        "{name:28} {:5.3} {:5.3} {:5.3} {:5.3} {:5.3} {:5.3} {:6.3} {rejected:4}/{}",
        mean.tau,
        mean.forward,
        mean.implied,
        mean.inverse,
        mean.knowledge,
        mean.refuse_own,
        mean.refuse_others,
        effects.len()
    );
}
