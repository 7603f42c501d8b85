//! Tries cells: disturb, restart without a fault, compare.

use std::process::Output;
use std::sync::Mutex;

use super::common::{Run, stderr};
use super::disk::{Disk, Survives, lay_out, without_shared_memory};
use super::evidence::{Evidence, differences, gather};
use super::preload::{Shim, record, trace};
use super::recording::replay;
use super::scenario::{Scenario, conduct};
use super::steps::{Cell, Step, Victim};
use super::tried::{Ending, Tried};

/// What every cell starts from and is compared with.
pub(crate) struct Setting {
    pub(crate) shim: Shim,
    pub(crate) scenario: Scenario,
    pub(crate) undisturbed: Evidence,
}

/// Tries cells, a few side by side, in no order; tells each as it ends.
pub(crate) fn try_all(setting: &Setting, cells: Vec<Cell>) -> Vec<Tried> {
    let side_by_side = super::number("SEAL_FAULTS_JOBS").unwrap_or(2);
    let (left, done) = (Mutex::new(cells.into_iter()), Mutex::new(Vec::new()));
    let next = || left.lock().unwrap().next();
    std::thread::scope(|scope| {
        for _ in 0..side_by_side {
            scope.spawn(|| {
                while let Some(cell) = next() {
                    let tried = try_one(setting, cell);
                    println!("{tried}");
                    done.lock().unwrap().push(tried);
                }
            });
        }
    });
    done.into_inner().unwrap()
}

/// How often a step is looked for that did not come again. Runs differ by a few steps: the ledger is
/// shown more or less often, as the lanes overlap.
const LOOKS: u64 = 4;

fn try_one(setting: &Setting, cell: Cell) -> Tried {
    let Disturbed { run, output, fired } = disturb(setting, &cell);
    let killed = cell.fault.kills() && fired.is_some();
    let (ending, told) = match &output {
        Some(output) => (Ending::of(output, killed), stderr(output)),
        None => (Ending::Hung, String::new()),
    };
    let told = format!("{told}{}", end_of_log(&run, cell.victim));
    let mut broken = Vec::new();
    match conduct(&run, |_| {}) {
        Some(output) if output.status.success() => {
            let (evidence, found) = gather(&run, &setting.scenario.endpoint);
            broken.extend(found);
            broken.extend(differences(&evidence, &setting.undisturbed));
        }
        Some(output) => broken.push(format!("does not resume: {}", stderr(&output).trim())),
        None => broken.push("hangs when it is resumed".to_owned()),
    }
    Tried { cell, fired, ending, told, broken }
}

struct Disturbed {
    run: Run,
    /// Absent: it did not end.
    output: Option<Output>,
    fired: Option<Step>,
}

/// A run with the fault of a cell, at its step or, if that did not come, a little earlier.
fn disturb(setting: &Setting, cell: &Cell) -> Disturbed {
    let mut look = 0;
    loop {
        let at = cell.step.number - cell.step.number * look / 16;
        let run = setting.scenario.copy();
        let disk = Disk::read(&run.path(cell.victim.disk()));
        let output = conduct(&run, |command| {
            setting.shim.load(command, &run.folder, cell.victim, Some((cell.fault, at)));
        });
        let fired = trace(&run.folder).1.into_iter().next();
        let fired = fired.filter(|_| match cell.fault.survives() {
            Some(survives) => lose_power(&run, cell.victim, disk, survives),
            None => true,
        });
        look += 1;
        if fired.is_some() || output.is_none() || look == LOOKS {
            return Disturbed { run, output, fired };
        }
    }
}

/// Leaves of a victim's disk what survives; whether that is less than there was.
fn lose_power(run: &Run, victim: Victim, before: Disk, survives: Survives) -> bool {
    let disk = replay(before, &record(&run.folder));
    let left = without_shared_memory(disk.tree(survives));
    lay_out(&left, &run.path(victim.disk()));
    left != without_shared_memory(disk.tree(Survives::Everything))
}

/// Where a daemon stopped, its last words are in its log; the conductor speaks to the operator itself.
fn end_of_log(run: &Run, victim: Victim) -> String {
    let log = run.path(&format!("logs/{}.log", victim.word()));
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let errors =
        text.lines().filter(|line| line.contains("\"ERROR\"") || line.contains("\"WARN\""));
    errors.map(|line| format!("    {line}\n")).collect()
}
