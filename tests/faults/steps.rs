//! What a daemon does to its disk, step by step, and which faults are tried at which steps. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::disk::Survives;

/// Who is disturbed. The conductor holds no key, but its file says what is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Victim {
    Teacher,
    Student,
    Auditor,
    Judge,
    Conductor,
}

impl Victim {
    pub(crate) const ALL: [Self; 5] =
        [Self::Teacher, Self::Student, Self::Auditor, Self::Judge, Self::Conductor];

    /// The word of its command line that tells it from the others.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Teacher => "teacher",
            Self::Student => "student",
            Self::Auditor => "auditor",
            Self::Judge => "judge",
            Self::Conductor => "run",
        }
    }

    /// The folder that it alone writes, inside the run folder.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Teacher => "teacher/state",
            Self::Student => "student/state",
            Self::Auditor => "auditor/state",
            Self::Judge => "judge/state",
            Self::Conductor => "conductor",
        }
    }

    /// What lies on the disk that loses power: that folder, with the folder that holds its name.
    pub(crate) fn disk(self) -> &'static str {
        let folder = self.folder();
        folder.strip_suffix("/state").unwrap_or(folder)
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// SIGKILL before the step.
    Kill,
    /// SIGKILL in the middle of a write.
    Torn,
    /// ENOSPC from this step on, until the process ends.
    Full,
    /// EIO, once.
    Broken,
    /// EIO of a sync, once.
    Unsynced,
    /// SIGKILL before the step, and what was not synced until then is gone: bytes and names.
    Lost,
    /// The same, but names are as they were: a file that was renamed before it was synced is empty.
    Names,
}

impl Fault {
    pub(crate) const ALL: [Self; 7] =
        [Self::Kill, Self::Torn, Self::Full, Self::Broken, Self::Unsynced, Self::Lost, Self::Names];

    /// What `shim.rs` does; what a power cut takes besides is taken afterwards.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Kill | Self::Lost | Self::Names => "kill",
            Self::Torn => "torn",
            Self::Full => "full",
            Self::Broken => "broken",
            Self::Unsynced => "unsynced",
        }
    }

    /// Whether the process is to be dead afterwards.
    pub(crate) fn kills(self) -> bool {
        matches!(self, Self::Kill | Self::Torn | Self::Lost | Self::Names)
    }

    /// What of the victim's disk there is after it, where that is not what the kernel took.
    pub(crate) fn survives(self) -> Option<Survives> {
        match self {
            Self::Lost => Some(Survives::Synced),
            Self::Names => Some(Survives::Names),
            _ => None,
        }
    }

    fn suits(self, call: &str) -> bool {
        let writes = matches!(call, "write" | "writev" | "pwrite");
        match self {
            Self::Kill | Self::Lost | Self::Names => true,
            Self::Torn => writes,
            Self::Full => writes || matches!(call, "create" | "mkdir"),
            Self::Broken => call != "sync",
            Self::Unsynced => call == "sync",
        }
    }
}

/// One line of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) number: u64,
    pub(crate) call: String,
    /// Relative to the victim's folder, as it was.
    pub(crate) place: String,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.call, kind_of(&self.place))
    }
}

/// Steps of a trace, and those at which a fault fired.
pub(crate) fn read_trace(text: &str) -> (Vec<Step>, Vec<Step>) {
    let of = |word: &str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix(word));
        lines.filter_map(step).collect()
    };
    (of("step "), of("fired "))
}

fn step(line: &str) -> Option<Step> {
    let mut parts = line.splitn(3, ' ');
    let number = parts.next()?.parse().ok()?;
    Some(Step { number, call: parts.next()?.to_owned(), place: parts.next()?.to_owned() })
}

/// A place without what differs between two runs: digests, and the names of temporary files.
pub(crate) fn kind_of(place: &str) -> String {
    let parts = place.split('/').map(|part| match part {
        temporary if temporary.starts_with(".tmp-") => ".tmp".to_owned(),
        other => without_digest(other),
    });
    parts.collect::<Vec<_>>().join("/")
}

fn without_digest(name: &str) -> String {
    const HEX: usize = 64;
    match name.get(..HEX) {
        Some(head) if head.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            format!("<digest>{}", &name[HEX..])
        }
        _ => name.to_owned(),
    }
}

/// The named steps: of equal calls in a row (the pages of one transaction) the last, which is the one
/// that completes something. What lies before the first of them is what the step before left.
pub(crate) fn named(steps: &[Step]) -> Vec<Step> {
    let same = |a: &Step, b: &Step| a.call == b.call && kind_of(&a.place) == kind_of(&b.place);
    let rows = steps.chunk_by(same);
    rows.filter_map(|row| row.last().cloned()).collect()
}

/// One fault at one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) victim: Victim,
    pub(crate) fault: Fault,
    pub(crate) step: Step,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { victim, fault, step } = self;
        write!(f, "{victim:?}: {fault:?} at step {} ({step})", step.number)
    }
}

/// What a run without faults does to a victim's disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Steps {
    pub(crate) all: Vec<Step>,
    /// Where power that goes has an effect of its own (`recording::losing`).
    pub(crate) losing: BTreeSet<(Fault, u64)>,
}

/// Every fault at every named step that it can befall.
pub(crate) fn table(victim: Victim, steps: &Steps) -> Vec<Cell> {
    let cell = |fault: Fault, step: &Step| Cell { victim, fault, step: step.clone() };
    let named = named(&steps.all);
    let befalls = |fault: Fault, step: &Step| {
        let loses = steps.losing.contains(&(fault, step.number));
        fault.suits(&step.call) && (loses || fault.survives().is_none())
    };
    let cells = |fault: Fault| {
        named.iter().filter(move |step| befalls(fault, step)).map(move |step| cell(fault, step))
    };
    Fault::ALL.into_iter().flat_map(cells).collect()
}

/// So many cells of each pair of victim and fault, drawn by the seed: all, if there are not more.
pub(crate) fn sample(cells: Vec<Cell>, each: usize, seed: u64) -> Vec<Cell> {
    let mut pairs: BTreeMap<(Victim, Fault), Vec<Cell>> = BTreeMap::new();
    for cell in cells {
        pairs.entry((cell.victim, cell.fault)).or_default().push(cell);
    }
    let mut draw = Draw(seed);
    let drawn = pairs.into_values().map(|mut cells| {
        while cells.len() > each {
            cells.swap_remove(draw.below(cells.len()));
        }
        cells
    });
    drawn.flatten().collect()
}

/// SplitMix64: Steele, Lea and Flood 2014.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }
}

/// A part of the table: `auditor,student:broken,:lost` are all faults of one victim, one of another, and
/// one of every victim.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Only(Vec<(Option<Victim>, Option<Fault>)>);

impl Only {
    /// Nothing named is everything.
    pub(crate) fn parse(text: &str) -> Self {
        let parts = text.split(',').filter(|part| !part.is_empty());
        Self(parts.map(Self::part).collect())
    }

    fn part(text: &str) -> (Option<Victim>, Option<Fault>) {
        let (victim, fault) = match text.split_once(':') {
            Some((victim, fault)) => (victim, Some(fault)),
            None => (text, None),
        };
        fn named<T: std::fmt::Debug>(all: impl IntoIterator<Item = T>, word: &str) -> T {
            let mut all = all.into_iter();
            let found = all.find(|one| format!("{one:?}").to_lowercase() == word);
            found.unwrap_or_else(|| panic!("SEAL_FAULTS_ONLY: `{word}` is no victim and no fault"))
        }
        let victim = (!victim.is_empty()).then(|| named(Victim::ALL, victim));
        (victim, fault.map(|fault| named(Fault::ALL, fault)))
    }

    pub(crate) fn tries(&self, victim: Victim) -> bool {
        self.0.is_empty() || self.0.iter().any(|(one, _)| one.is_none_or(|one| one == victim))
    }

    pub(crate) fn has(&self, cell: &Cell) -> bool {
        let names = |(victim, fault): &(Option<Victim>, Option<Fault>)| {
            victim.is_none_or(|victim| victim == cell.victim)
                && fault.is_none_or(|fault| fault == cell.fault)
        };
        self.0.is_empty() || self.0.iter().any(names)
    }
}
