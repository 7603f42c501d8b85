//! Other questions in the place of a context's τ. Pure: rows in, rows out.
//!
//! The vault's file keeps what was asked before beside what is asked now, in one row: the file is
//! replaced whole, so one τ of a context is in force and never a part of two.

use std::collections::BTreeMap;

use seal_protocol::{Digest, Labels};
use serde::Serialize;

use super::likeness::alike;
use super::{Splits, Tau, check, check_reward_golds};

/// The vault's rows after a rotation.
#[derive(Clone, Debug)]
pub struct Rotated {
    /// Every row of the vault, in its order.
    pub rows: Vec<Tau>,
    /// Contexts with other questions than before, in the same order.
    pub changed: Vec<Changed>,
}

/// One context with other questions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// SHA-256 of the context's text.
    pub context_digest: Digest,
    /// The context's name, for people.
    pub context_id: String,
    /// Questions that drive the reward now.
    pub reward: usize,
    /// Questions that prove a gain now.
    pub confirmation: usize,
    /// Whether this τ was in force before, so that it comes back with all that it was asked.
    pub back: bool,
}

/// New questions that do not take the place of the old ones. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unrotated {
    /// Nothing to do.
    #[error("no new questions were given")]
    Nothing,
    /// Contexts come by an import.
    #[error(
        "context `{0}` has no τ in the vault, so there is nothing to take the place of; import it"
    )]
    Unknown(String),
    /// One context, two sets of new questions.
    #[error("context `{0}` stands twice among the new questions")]
    Twice(String),
    /// The same τ.
    #[error("context `{0}` is asked these very questions now")]
    Same(String),
    /// A split that would be empty where the old one was not.
    #[error("context `{context}` would have no {split} questions")]
    Empty {
        /// Its name.
        context: String,
        /// `reward` or `confirmation`.
        split: &'static str,
    },
    /// What the vault does not take: old questions among the new ones, splits that overlap.
    #[error("context `{context}`{what}")]
    Refused {
        /// Its name.
        context: String,
        /// Which items, by id.
        what: String,
    },
}

/// Puts the questions of `new` in the place of those that their contexts are asked in `vault`. What was
/// asked is kept; protected questions stay, and those that are new are added; a context's name and
/// source stay. All or nothing.
///
/// # Errors
/// A context that the vault lacks or that stands twice; questions that equal or nearly equal one that
/// its context was ever asked, unless the whole τ is one that was in force; splits that share a question;
/// a split left empty; a gold answer left out that `labels`, as the vault is to be opened under, need.
pub fn rotate(vault: Vec<Tau>, new: Vec<Tau>, labels: Labels) -> Result<Rotated, Unrotated> {
    let mut by_context = BTreeMap::new();
    for row in new {
        let name = row.context_id.clone();
        if by_context.insert(row.context_digest, row).is_some() {
            return Err(Unrotated::Twice(name));
        }
    }
    if by_context.is_empty() {
        return Err(Unrotated::Nothing);
    }
    let (mut rows, mut changed) = (Vec::new(), Vec::new());
    for mut row in vault {
        if let Some(new) = by_context.remove(&row.context_digest) {
            changed.push(replace(&mut row, new, labels)?);
        }
        rows.push(row);
    }
    match by_context.into_values().next() {
        Some(unknown) => Err(Unrotated::Unknown(unknown.context_id)),
        None => Ok(Rotated { rows, changed }),
    }
}

fn replace(row: &mut Tau, new: Tau, labels: Labels) -> Result<Changed, Unrotated> {
    let (before, after) = (row.splits(), new.splits());
    let context = row.context_id.clone();
    if before == after {
        return Err(Unrotated::Same(context));
    }
    for (split, old, new) in [
        ("reward", &before.reward, &after.reward),
        ("confirmation", &before.confirmation, &after.confirmation),
    ] {
        if new.is_empty() && !old.is_empty() {
            return Err(Unrotated::Empty { context, split });
        }
    }
    let back = row.earlier.contains(&after);
    // A τ that went and came back is kept once.
    row.earlier.retain(|earlier| *earlier != before);
    row.earlier.push(before);
    (row.reward, row.confirmation) = (after.reward, after.confirmation);
    let asked: Vec<String> = row.protected.iter().map(|item| item.question.clone()).collect();
    row.protected.extend(new.protected.into_iter().filter(|item| !asked.contains(&item.question)));
    let checked = check(row).and_then(|()| check_reward_golds(row, labels));
    checked.map_err(|what| Unrotated::Refused { context, what })?;
    Ok(Changed {
        context_digest: row.context_digest,
        context_id: row.context_id.clone(),
        reward: row.reward.len(),
        confirmation: row.confirmation.len(),
        back,
    })
}

/// Any two τ of a context are the same as a whole or have no question in common, or nearly.
pub(super) fn check_earlier(row: &Tau) -> Result<(), String> {
    let mut different: Vec<&Splits> = Vec::new();
    let now = row.splits();
    for splits in row.earlier.iter().chain([&now]) {
        if !different.contains(&splits) {
            different.push(splits);
        }
    }
    for (at, later) in different.iter().enumerate() {
        for new in later.items() {
            let old = different[..at].iter().flat_map(|earlier| earlier.items());
            if let Some(old) = old.into_iter().find(|old| alike(new, old)) {
                return Err(format!(
                    ": item `{}` asks what `{}` asked under another τ, or nearly; a new τ needs new \
                     questions",
                    new.id, old.id
                ));
            }
        }
    }
    Ok(())
}
