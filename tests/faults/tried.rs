//! What came of a cell, and the table of all of them.

use std::fmt::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::Output;

use super::steps::{Cell, Fault, Step, Steps, Victim, named, table};

/// How a disturbed run ended, before it was started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// A process was killed.
    Killed,
    /// The daemon ended by itself, with an error.
    Stopped,
    /// The daemon answered with an error and lived on.
    Answered,
    /// The run went on to its end.
    Absorbed,
    /// It did not end.
    Hung,
}

impl Ending {
    const ALL: [Self; 5] =
        [Self::Killed, Self::Stopped, Self::Answered, Self::Absorbed, Self::Hung];

    /// Read off what `seal run` says. Where a daemon ends, the conductor may hear of the broken
    /// connection before the launcher hears of the end.
    pub(crate) fn of(output: &Output, killed: bool) -> Self {
        let told = String::from_utf8_lossy(&output.stderr);
        let gone = ["died during the run", "at its start", "no daemon answers"];
        match output.status.success() {
            // The library does not return from a kill. One at the very end, as a database is closed, comes
            // when the run has succeeded.
            _ if killed || output.status.signal().is_some() => Self::Killed,
            true => Self::Absorbed,
            false if gone.iter().any(|words| told.contains(words)) => Self::Stopped,
            false => Self::Answered,
        }
    }
}

/// A cell with its end.
pub(crate) struct Tried {
    pub(crate) cell: Cell,
    /// Where the fault fired, which is at the step of the cell or the next that it could befall.
    pub(crate) fired: Option<Step>,
    pub(crate) ending: Ending,
    /// What the operator read, with the end of the victim's log.
    pub(crate) told: String,
    /// What was not as it should be after the restart.
    pub(crate) broken: Vec<String>,
}

/// One of these stands in an error that an operator can do something about.
const MENDS: [&str; 7] =
    ["space", "the disk", "disk and owner", "permissions", "writable", "make room", "restore"];

impl Tried {
    /// What speaks against this cell: a fault that never was, an end that does not fit it, an error
    /// without a mend, or a difference that stayed.
    pub(crate) fn violation(&self) -> Option<String> {
        let Self { cell, fired, ending, told, broken } = self;
        let mut against = broken.clone();
        if fired.is_none() {
            against.push("the fault never fired".to_owned());
        }
        if cell.fault.kills() != (*ending == Ending::Killed) || *ending == Ending::Hung {
            against.push(format!("{ending:?}"));
        }
        let says_mend = MENDS.iter().any(|mend| told.contains(mend));
        if matches!(ending, Ending::Stopped | Ending::Answered) && !says_mend {
            against.push("no mend is named".to_owned());
        }
        let told = told.trim();
        (!against.is_empty()).then(|| format!("{cell}: {}\n    {told}", against.join("; ")))
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.violation(), &self.fired) {
            (None, Some(fired)) if *fired != self.cell.step => {
                write!(f, "{}: {:?}, at step {} ({fired})", self.cell, self.ending, fired.number)
            }
            (None, _) => write!(f, "{}: {:?}", self.cell, self.ending),
            (Some(violation), _) => write!(f, "VIOLATION {violation}"),
        }
    }
}

/// Markdown: of each pair, how many cells there are, were tried and fired, how they ended, violations.
pub(crate) fn render(steps: &[(Victim, Steps)], tried: &[Tried]) -> String {
    let mut text = String::from(
        "| who | fault | named steps it can befall | tried | fired | killed | stopped | answered | \
         absorbed | hung | violations |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for (victim, steps) in steps {
        let (all, cells) = (named(&steps.all).len(), table(*victim, steps));
        for fault in Fault::ALL {
            let possible = cells.iter().filter(|cell| cell.fault == fault).count();
            let here: Vec<&Tried> = tried
                .iter()
                .filter(|tried| tried.cell.victim == *victim && tried.cell.fault == fault)
                .collect();
            let fired = here.iter().filter(|tried| tried.fired.is_some()).count();
            let ended = |ending: Ending| here.iter().filter(|tried| tried.ending == ending).count();
            let ended: Vec<String> =
                Ending::ALL.iter().map(|ending| ended(*ending).to_string()).collect();
            let violations = here.iter().filter(|tried| tried.violation().is_some()).count();
            // A string takes every line.
            let _ = writeln!(
                text,
                "| {victim:?} | {fault:?} | {possible} of {all} | {} | {fired} | {} | {violations} |",
                here.len(),
                ended.join(" | "),
            );
        }
    }
    text
}
