//! Labels without gold answers: what most models of a group say, the base among them. Pure.
//!
//! **Invariant:** a label is a symmetric function of the answers: whoever gave which, in whatever order,
//! it is the same. So under an edit that changes nothing, base and candidates are exchangeable: each is
//! as likely as the other to agree with the label, the expected gain is 0, and the gate's level holds as
//! it does with gold answers. Without the base's vote it would not: the label would lean to what
//! candidates say, and their own noise would look like a gain.
//! **Invariant:** with one candidate there are two votes, and more than half of them is both: the base
//! answers every labelled question as the candidate does, so the graded gain is never above 0.
//! **Absent:** whether a label is true. A group that shares an error votes for it.
//!
//! Source: Shafayat et al. 2025, "Can Large Reasoning Models Self-Train?" (arXiv 2505.21444). There one
//! model is asked many times; here every adapter of a group and the base are asked once.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::graders::words;

/// The outcome of one vote in figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Count {
    /// Models that were asked, those that said nothing among them.
    pub voters: u32,
    /// Those that said what most said; 0 where nobody said anything.
    pub most: u32,
}

impl Count {
    /// Whether more than half said the same.
    pub fn is_majority(self) -> bool {
        u64::from(self.most) * 2 > u64::from(self.voters)
    }
}

/// What came of one vote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voted {
    /// In figures.
    pub count: Count,
    /// What more than half said, in the form that most of them used; absent without a majority.
    pub label: Option<String>,
}

/// Counts one answer per voter. Answers are the same if their words are, after the normalisation of the
/// graders: case, punctuation and articles do not count. An answer without words is a vote for nothing.
pub fn vote<'a>(answers: impl IntoIterator<Item = &'a str>) -> Voted {
    let mut forms: BTreeMap<Vec<String>, BTreeMap<&str, u32>> = BTreeMap::new();
    let mut voters = 0;
    for answer in answers {
        voters += 1;
        let said = words(answer);
        if !said.is_empty() {
            *forms.entry(said).or_default().entry(answer).or_default() += 1;
        }
    }
    let votes = |forms: &BTreeMap<&str, u32>| forms.values().sum::<u32>();
    let most = forms.values().max_by_key(|forms| votes(forms));
    let count = Count { voters, most: most.map_or(0, votes) };
    // Of forms used equally often the first in the alphabet, so that no order of voters decides.
    let form = |forms: &BTreeMap<&str, u32>| {
        let used = forms.iter().max_by(|a, b| a.1.cmp(b.1).then(b.0.cmp(a.0)));
        used.map(|(form, _)| (*form).to_owned())
    };
    Voted { count, label: most.filter(|_| count.is_majority()).and_then(form) }
}

/// Who votes in a group, by index. Each entry of `marks` holds all that makes a candidate the same as
/// another one: what shares a mark with an earlier one has no vote of its own.
pub fn voters<M: Ord>(marks: impl IntoIterator<Item = Vec<M>>) -> Vec<usize> {
    let mut seen = BTreeSet::new();
    let mut voters = Vec::new();
    for (at, marks) in marks.into_iter().enumerate() {
        // Those of a candidate without a vote count, too: it may be what two others have in common.
        let mut known = false;
        for mark in marks {
            known |= !seen.insert(mark);
        }
        if !known {
            voters.push(at);
        }
    }
    voters
}

#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;
