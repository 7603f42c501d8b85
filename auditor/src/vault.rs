//! The vault: τ of every context and the suites, with commitments that reveal nothing.
//!
//! **Invariant:** the reward split and the confirmation split of a context share no question.
//! **Invariant:** no question is like one of another τ of its context, in force earlier or now: what a τ
//! was asked cannot be asked anew by writing it down again.
//! **Invariant:** a commitment is an HMAC under a key that never leaves the auditor: a bare hash of
//! a small τ could be confirmed by guessing.

mod likeness;
mod rotation;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use seal_protocol::{Digest, Labels, SuiteRef};
use serde::{Deserialize, Serialize};

use crate::grading::{Grading, Gradings};
use crate::items::{Item, ItemsError, read_rows};

pub use rotation::{Changed, Rotated, Unrotated, rotate};

/// τ of one context.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tau {
    /// SHA-256 of the context's text.
    pub context_digest: Digest,
    /// The context's name, for people.
    pub context_id: String,
    /// Drives the reward.
    pub reward: Vec<Item>,
    /// Proves a gain at promotion.
    pub confirmation: Vec<Item>,
    /// Questions about this context's own entity that must be refused.
    pub protected: Vec<Item>,
    /// Where the context comes from: a supplier, a site, a document. Absent: a source of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What was asked before, oldest first: kept so that no question of it comes back as a new one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Splits>,
}

/// The questions of a τ that attempts count against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Splits {
    /// Drives the reward.
    pub reward: Vec<Item>,
    /// Proves a gain at promotion.
    pub confirmation: Vec<Item>,
}

impl Splits {
    fn items(&self) -> impl Iterator<Item = &Item> {
        self.reward.iter().chain(&self.confirmation)
    }
}

impl Tau {
    /// What is asked now.
    pub fn splits(&self) -> Splits {
        Splits { reward: self.reward.clone(), confirmation: self.confirmation.clone() }
    }

    fn ever_asked(&self) -> impl Iterator<Item = &Item> {
        both_splits(self).chain(self.earlier.iter().flat_map(Splits::items))
    }

    /// Where the context comes from.
    fn source(&self) -> &str {
        self.source.as_ref().unwrap_or(&self.context_id)
    }
}

/// A named list of items.
#[derive(Clone, Debug)]
pub struct Suite {
    /// E.g. `retention`.
    pub name: String,
    /// In the order of the file.
    pub items: Vec<Item>,
}

/// Where the vault's files are.
#[derive(Clone, Debug)]
pub struct VaultFiles {
    /// `tau.jsonl`.
    pub tau: PathBuf,
    /// Knowledge that must survive.
    pub retention: PathBuf,
    /// Protected behaviour on other entities; none where the gate demands none.
    pub refusals: Option<PathBuf>,
    /// Harmless questions that look as if they had to be refused; their gold is the refusal.
    pub benign: Option<PathBuf>,
}

/// All that only the auditor may read, in memory.
pub struct Vault {
    tau: BTreeMap<Digest, Tau>,
    /// Knowledge that must survive.
    pub retention: Suite,
    /// Protected behaviour on other entities.
    pub refusals: Suite,
    /// Harmless questions, with the refusal that must not come.
    pub benign: Suite,
    key: [u8; 32],
}

impl Vault {
    /// Reads τ and the suites. Where `labels` are voted, reward items need no gold answer.
    ///
    /// # Errors
    /// A file that is missing, broken, empty, or names one context twice; splits that share a question;
    /// an item without the gold answer that it needs.
    pub fn open(files: &VaultFiles, key: [u8; 32], labels: Labels) -> Result<Self, ItemsError> {
        let mut tau = BTreeMap::new();
        for row in read_rows::<Tau>(&files.tau)? {
            check_row(&files.tau, &row, labels)?;
            if let Some(twice) = tau.insert(row.context_digest, row) {
                return Err(content(
                    &files.tau,
                    format!("context `{}` stands twice", twice.context_id),
                ));
            }
        }
        Ok(Self {
            tau,
            retention: suite("retention", &files.retention)?,
            refusals: suite_or_none("refusals", files.refusals.as_deref())?,
            benign: suite_or_none("benign", files.benign.as_deref())?,
            key,
        })
    }

    /// τ of a context, if the vault has one.
    pub fn tau(&self, context: &Digest) -> Option<&Tau> {
        self.tau.get(context)
    }

    /// Where a context comes from, if the vault has one.
    pub fn source(&self, context: &Digest) -> Option<&str> {
        self.tau.get(context).map(Tau::source)
    }

    /// Every context of a source.
    pub fn contexts_of<'a>(&'a self, source: &'a str) -> impl Iterator<Item = &'a Digest> {
        let of_it = move |(_, tau): &(&Digest, &Tau)| tau.source() == source;
        self.tau.iter().filter(of_it).map(|(context, _)| context)
    }

    /// Every τ item of both splits, those of earlier τ too: they may be asked again.
    pub fn every_tau_item(&self) -> impl Iterator<Item = &Item> {
        self.tau.values().flat_map(Tau::ever_asked)
    }

    /// Commitment to the τ of a context that is in force: to its questions and how they are split.
    pub fn in_force(&self, context: &Digest) -> Option<Digest> {
        self.tau.get(context).map(|tau| self.splits_commitment(&tau.splits()))
    }

    /// Every context with the commitments to what it was asked before, oldest first, and to what it is
    /// asked now.
    pub fn held(&self) -> impl Iterator<Item = Held> {
        self.tau.iter().map(|(context, tau)| Held {
            context_digest: *context,
            context_id: tau.context_id.clone(),
            earlier: tau.earlier.iter().map(|splits| self.splits_commitment(splits)).collect(),
            now: self.splits_commitment(&tau.splits()),
        })
    }

    fn splits_commitment(&self, splits: &Splits) -> Digest {
        let part = |name: &str, items: &[Item]| {
            let lines: String = items.iter().map(committed_line).collect();
            format!("{name} {}\n{lines}", items.len())
        };
        let text = part("reward", &splits.reward) + &part("confirmation", &splits.confirmation);
        seal_trust::hmac_commitment(&self.key, [SPLITS, text.as_bytes()].concat().as_slice())
    }

    /// Every item of τ and suites, with how it is judged and held against what; `labels` are those of
    /// the reward split.
    pub fn suites<'a>(&'a self, gradings: &'a Gradings, labels: Labels) -> [Judged<'a>; 4] {
        let tau = || self.tau.values();
        let protected = tau().flat_map(|tau| &tau.protected);
        let judged =
            |items: Vec<&'a Item>, grading| Judged { items, grading, labels: Labels::Gold };
        [
            Judged { labels, ..judged(tau().flat_map(|tau| &tau.reward).collect(), &gradings.tau) },
            judged(tau().flat_map(|tau| &tau.confirmation).collect(), &gradings.tau),
            judged(self.retention.items.iter().collect(), &gradings.retention),
            judged(
                protected.chain(&self.refusals.items).chain(&self.benign.items).collect(),
                &gradings.refusals,
            ),
        ]
    }

    /// Commitment to items used, in order.
    pub fn commitment<'a>(&self, items: impl IntoIterator<Item = &'a Item>) -> Digest {
        let lines: Vec<String> = items.into_iter().map(committed_line).collect();
        seal_trust::hmac_commitment(&self.key, lines.concat().as_bytes())
    }

    /// Commitment to a suite.
    pub fn suite_ref(&self, suite: &Suite) -> SuiteRef {
        SuiteRef { name: suite.name.clone(), digest: self.commitment(&suite.items) }
    }
}

/// Items that are judged alike.
pub struct Judged<'a> {
    /// In the order of the vault.
    pub items: Vec<&'a Item>,
    /// How an answer is judged.
    pub grading: &'a Grading,
    /// What it is held against.
    pub labels: Labels,
}

/// Keeps the commitment to a context's τ apart from that to the items of an attempt.
const SPLITS: &[u8] = b"seal/tau/v1\n";

/// The τ of one context by their commitments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// SHA-256 of the context's text.
    pub context_digest: Digest,
    /// The context's name, for people.
    pub context_id: String,
    /// What it was asked before, oldest first.
    pub earlier: Vec<Digest>,
    /// What it is asked now.
    pub now: Digest,
}

fn both_splits(tau: &Tau) -> impl Iterator<Item = &Item> {
    tau.reward.iter().chain(&tau.confirmation)
}

/// Length-prefixed, so that no two lists share a form.
fn committed_line(item: &Item) -> String {
    let field = |text: &str| format!("{}:{text}", text.len());
    let fields = [&item.id, &item.question, &item.answer].map(|text| field(text)).concat();
    // Marked, so that a topic is never taken for the next item's id.
    match &item.topic {
        None => fields,
        Some(topic) => format!("{fields}t{}", field(topic)),
    }
}

fn suite_or_none(name: &str, path: Option<&Path>) -> Result<Suite, ItemsError> {
    match path {
        Some(path) => suite(name, path),
        None => Ok(Suite { name: name.to_owned(), items: Vec::new() }),
    }
}

fn suite(name: &str, path: &Path) -> Result<Suite, ItemsError> {
    let items = read_rows::<Item>(path)?;
    if items.is_empty() {
        return Err(content(
            path,
            format!("the suite `{name}` is empty; an absent measurement is never a pass"),
        ));
    }
    if let Some(twice) = repeated_id(items.iter()) {
        return Err(content(path, format!("{name}: item id `{twice}` stands twice")));
    }
    if let Some(item) = unanswered(&items) {
        return Err(content(path, format!("{name}: item `{}` {NO_ANSWER}", item.id)));
    }
    let name = name.to_owned();
    Ok(Suite { name, items })
}

fn check_row(path: &Path, row: &Tau, labels: Labels) -> Result<(), ItemsError> {
    let checked = check(row).and_then(|()| check_reward_golds(row, labels));
    checked.map_err(|what| content(path, format!("context `{}`{what}", row.context_id)))
}

/// What an item without a gold answer is told.
const NO_ANSWER: &str = "has no gold answer; write one in its `answer`";

fn unanswered(items: &[Item]) -> Option<&Item> {
    items.iter().find(|item| item.answer.trim().is_empty())
}

fn check_reward_golds(row: &Tau, labels: Labels) -> Result<(), String> {
    match unanswered(&row.reward).filter(|_| labels.is_gold()) {
        Some(item) => Err(format!(
            ": reward item `{}` {NO_ANSWER}, or say `labels = \"majority\"` under [gate]",
            item.id
        )),
        None => Ok(()),
    }
}

/// What is wrong with a row, as the end of a sentence that begins with its context.
fn check(row: &Tau) -> Result<(), String> {
    if row.reward.is_empty() {
        return Err(" has no reward items".to_owned());
    }
    if let Some(twice) = repeated_id(both_splits(row).chain(&row.protected)) {
        return Err(format!(": item id `{twice}` stands twice"));
    }
    for items in [&row.confirmation, &row.protected] {
        if let Some(item) = unanswered(items) {
            return Err(format!(": item `{}` {NO_ANSWER}", item.id));
        }
    }
    let asked: HashSet<&str> = row.reward.iter().map(|item| item.question.as_str()).collect();
    match row.confirmation.iter().find(|item| asked.contains(item.question.as_str())) {
        Some(item) => Err(format!(": confirmation item `{}` repeats a reward question", item.id)),
        None => rotation::check_earlier(row),
    }
}

fn repeated_id<'a>(mut items: impl Iterator<Item = &'a Item>) -> Option<&'a str> {
    let mut seen = HashSet::new();
    items.find(|item| !seen.insert(item.id.as_str())).map(|item| item.id.as_str())
}

fn content(path: &Path, what: String) -> ItemsError {
    let path = path.to_owned();
    ItemsError::Content { path, what }
}

#[cfg(test)]
mod tests;
