//! Which text has which slot, where every group of slots has one adapter.

use super::live::SharedAdapter;
use std::sync::Arc;

/// How many slots may hold no text, in percent of the texts, so that adapters have fewer groups.
pub(super) const MOST_PADDING: usize = 25;

/// The adapter of a text; none: the base.
pub(super) type Shared = Option<Arc<SharedAdapter>>;

fn is_same(a: &Shared, b: &Shared) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (a, b) => a.is_none() && b.is_none(),
    }
}

/// Where `adapter` is among the `known` ones.
pub(super) fn position(known: &[Shared], adapter: &Shared) -> Option<usize> {
    known.iter().position(|other| is_same(other, adapter))
}

/// Texts by group: those of a group have one adapter, and every group has as many places.
pub(super) struct Layout {
    /// Numbers of texts.
    pub(super) groups: Vec<Vec<usize>>,
    /// Of each group.
    pub(super) adapters: Vec<Shared>,
    pub(super) places: usize,
}

impl Layout {
    /// Of texts with these adapters.
    pub(super) fn new(adapters: &[Shared]) -> Self {
        let mut found: Vec<(&Shared, Vec<usize>)> = Vec::new();
        for (text, adapter) in adapters.iter().enumerate() {
            match found.iter_mut().find(|(known, _)| is_same(known, adapter)) {
                Some((_, texts)) => texts.push(text),
                None => found.push((adapter, vec![text])),
            }
        }
        let counts: Vec<usize> = found.iter().map(|(_, texts)| texts.len()).collect();
        let places = places(&counts);
        let (mut groups, mut of_groups) = (Vec::new(), Vec::new());
        for (adapter, texts) in found {
            for group in texts.chunks(places) {
                groups.push(group.to_vec());
                of_groups.push(adapter.clone());
            }
        }
        Self { groups, adapters: of_groups, places }
    }
}

/// Places of a group: as many as leave few slots empty, so that an adapter has few groups.
fn places(counts: &[usize]) -> usize {
    let all: usize = counts.iter().sum();
    let slots = |places: usize| places * counts.iter().map(|n| n.div_ceil(places)).sum::<usize>();
    let most = counts.iter().copied().max().unwrap_or(1);
    let is_full = |&places: &usize| 100 * slots(places) <= (100 + MOST_PADDING) * all;
    (1..=most).rev().find(is_full).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::places;

    #[test]
    fn an_adapter_with_many_texts_does_not_pad_all_others() {
        assert_eq!(places(&[5, 5, 5]), 5);
        // 16 groups of 8 are 128 slots, and 103 texts allow 128; groups of 10 would be 130.
        assert_eq!(places(&[100, 1, 1, 1]), 8);
        assert_eq!(places(&[5, 4, 3]), 5);
        assert_eq!(places(&[1; 50]), 1);
        assert_eq!(places(&[7]), 7);
    }
}
