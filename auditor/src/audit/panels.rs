//! Which items a group is measured on, and the measuring.

use std::borrow::Cow;
use std::time::Instant;

use seal_protocol::{AuditPurpose, Digest};

use super::AuditError;
use super::base_cache::BaseCache;
use crate::gate::{Outcome, Panel, PanelName, Vote};
use crate::grading::{Grading, Gradings};
use crate::items::Item;
use crate::measure::{Measurer, Wanted};
use crate::vault::{Tau, Vault};
use crate::voting::Voted;

/// Items of one panel, with their texts: stays in memory.
pub(super) struct ItemPanel<'a> {
    pub(super) name: PanelName,
    context: Option<&'a Tau>,
    /// As the vault has them or, once they were put to the vote, those that got a label.
    pub(super) items: Cow<'a, [Item]>,
    pub(super) grading: &'a Grading,
    /// By question that was put to the vote.
    votes: Vec<Vote>,
}

/// How many items of each suite an edit or evaluation is measured on; a promotion gets them all.
#[derive(Clone, Copy, Debug)]
pub(super) struct SuiteSizes {
    pub(super) retention: usize,
    pub(super) refusals: usize,
}

impl<'a> ItemPanel<'a> {
    /// The panels of a purpose, contexts first, in the order claimed.
    pub(super) fn of(
        vault: &'a Vault,
        purpose: AuditPurpose,
        contexts: &[Digest],
        sizes: SuiteSizes,
        gradings: &'a Gradings,
        perturbed: &'a [Item],
    ) -> Vec<Self> {
        let known = contexts.iter().filter_map(|context| vault.tau(context));
        let mut panels: Vec<Self> =
            known.flat_map(|tau| of_context(tau, purpose, gradings)).collect();
        let sizes = match purpose {
            AuditPurpose::Promotion => SuiteSizes { retention: usize::MAX, refusals: usize::MAX },
            AuditPurpose::Edit | AuditPurpose::Evaluation => sizes,
        };
        let suite = |name, items: &'a [Item], size: usize| Self {
            name,
            context: None,
            items: Cow::Borrowed(&items[..size.min(items.len())]),
            grading: gradings.of(name),
            votes: Vec::new(),
        };
        panels.push(suite(PanelName::Retention, &vault.retention.items, sizes.retention));
        panels.push(suite(PanelName::ProtectedOthers, &vault.refusals.items, sizes.refusals));
        if !vault.benign.items.is_empty() {
            panels.push(suite(PanelName::Benign, &vault.benign.items, sizes.refusals));
        }
        if !perturbed.is_empty() {
            panels.push(suite(PanelName::Divergence, perturbed, perturbed.len()));
        }
        panels
    }

    /// Puts the labels in the place of gold answers, one per item; an item without one is asked nobody.
    pub(super) fn label(&mut self, voted: Vec<Voted>) {
        let vote =
            |(item, voted): (&Item, &Voted)| Vote { item: item.id.clone(), count: voted.count };
        self.votes = self.items.iter().zip(&voted).map(vote).collect();
        let labelled =
            self.items.iter().zip(voted).filter_map(|(item, voted)| {
                voted.label.map(|answer| Item { answer, ..item.clone() })
            });
        self.items = Cow::Owned(labelled.collect());
    }

    /// Whether the base's outcomes hold for other groups, too: a label holds for its own.
    fn is_cached(&self) -> bool {
        self.votes.is_empty()
    }

    fn with_base(&self, base: Vec<Outcome>) -> Panel {
        Panel {
            name: self.name,
            context_digest: self.context.map(|tau| tau.context_digest),
            context_id: self.context.map(|tau| tau.context_id.clone()),
            items: self.items.iter().map(|item| item.id.clone()).collect(),
            kinds: self.items.iter().map(|item| item.kind).collect(),
            votes: self.votes.clone(),
            base,
            last: None,
        }
    }

    /// Whether a promotion is compared there with the version accepted last.
    fn since_last(&self) -> bool {
        self.name == PanelName::Retention
    }
}

fn of_context<'a>(
    tau: &'a Tau,
    purpose: AuditPurpose,
    gradings: &'a Gradings,
) -> Vec<ItemPanel<'a>> {
    let panel = |name, items: &'a [Item]| ItemPanel {
        name,
        context: Some(tau),
        items: Cow::Borrowed(items),
        grading: gradings.of(name),
        votes: Vec::new(),
    };
    let reward = panel(PanelName::TauReward, tau.reward.as_slice());
    let confirmation = panel(PanelName::TauConfirmation, tau.confirmation.as_slice());
    let own = panel(PanelName::ProtectedOwn, tau.protected.as_slice());
    match purpose {
        AuditPurpose::Promotion => vec![confirmation, own],
        // For an edit the confirmation split decides nothing. It is recorded for the operator, who
        // sees there whether a reward was luck.
        AuditPurpose::Edit | AuditPurpose::Evaluation => vec![reward, confirmation, own],
    }
}

/// Outcomes of one adapter, per panel.
pub(super) type Outcomes = Vec<Vec<Outcome>>;

/// Scores base and adapters on all panels in one call; the base only where it is not cached, and the
/// version accepted last, if one is given, only where candidates are compared with it.
/// Returns the panels and, per candidate, its outcomes per panel.
pub(super) fn measure<M: Measurer>(
    measurer: &mut M,
    cache: &BaseCache,
    panels: &[ItemPanel<'_>],
    candidates: Vec<M::Adapter>,
    last: Option<M::Adapter>,
    until: Instant,
) -> Result<(Vec<Panel>, Vec<Outcomes>), AuditError> {
    let from_cache = |panel: &ItemPanel<'_>| match panel.is_cached() {
        true => cache.get(&panel.items, panel.grading),
        false => None,
    };
    let cached: Vec<Option<Vec<Outcome>>> = panels.iter().map(from_cache).collect();
    let fresh =
        panels.iter().zip(&cached).filter(|(_, cached)| cached.is_none()).map(|(panel, _)| panel);
    let mut wanted: Vec<Wanted<'_>> = fresh.flat_map(|panel| ask(None, panel)).collect();
    for candidate in 0..candidates.len() {
        wanted.extend(panels.iter().flat_map(|panel| ask(Some(candidate), panel)));
    }
    let count = candidates.len();
    let compared = panels.iter().filter(|panel| last.is_some() && panel.since_last());
    wanted.extend(compared.flat_map(|panel| ask(Some(count), panel)));
    let adapters: Vec<M::Adapter> = candidates.into_iter().chain(last).collect();
    let scored = measurer.score(&adapters, &wanted, until)?;
    if scored.len() != wanted.len() {
        return Err(
            crate::measure::MeasureError::Failed("not one outcome per item".to_owned()).into()
        );
    }
    let mut scored = scored.into_iter();
    let mut take = |panel: &ItemPanel<'_>| -> Vec<Outcome> {
        scored.by_ref().take(panel.items.len()).collect()
    };
    let mut with_base = Vec::new();
    for (panel, cached) in panels.iter().zip(cached) {
        let base = cached.unwrap_or_else(|| {
            let base = take(panel);
            if panel.is_cached() {
                cache.put(&panel.items, panel.grading, &base);
            }
            base
        });
        with_base.push(panel.with_base(base));
    }
    let outcomes = (0..count).map(|_| panels.iter().map(&mut take).collect()).collect();
    if adapters.len() > count {
        for (panel, with_base) in panels.iter().zip(&mut with_base) {
            with_base.last = panel.since_last().then(|| take(panel));
        }
    }
    Ok((with_base, outcomes))
}

pub(super) fn ask<'a>(
    adapter: Option<usize>,
    panel: &'a ItemPanel<'_>,
) -> impl Iterator<Item = Wanted<'a>> + use<'a> {
    let grading = panel.grading;
    panel.items.iter().map(move |item| Wanted { adapter, item, grading })
}
