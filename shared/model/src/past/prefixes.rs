//! Beginnings of sequences that are kept, so that no two sequences read the same beginning twice.
//!
//! A tree for each adapter: a node is one block of positions and its tokens, below the node of the
//! block before. What was used longest ago goes first.
//!
//! **Invariant:** nodes are found by the tokens themselves, by the adapter's own tensors and for the
//! decoder they were computed with; there is no hash that could collide.

use super::blocks::{BLOCK, Block, Past, Pool};
use crate::decoder::Decoder;
use crate::lora::{Adapter, Projection};
use candle_core::TensorId;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What makes two adapters the same for a cache: the very tensors and their scale.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AdapterKey {
    tensors: Vec<TensorId>,
    scale: u32,
}

impl AdapterKey {
    pub(crate) fn of(adapter: Option<&Adapter>) -> Self {
        let Some(adapter) = adapter else { return Self { tensors: Vec::new(), scale: 0 } };
        let layers = 0..adapter.layer_count();
        let factors = layers
            .flat_map(|layer| Projection::ALL.map(|which| adapter.factors(layer, which)))
            .flatten();
        let tensors = factors.flat_map(|factors| [factors.a.id(), factors.b.id()]).collect();
        Self { tensors, scale: adapter.scale().to_bits() }
    }
}

/// How many tokens `a` and `b` have in common at their beginning.
pub(crate) fn common_length(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// What was remembered of a sequence.
pub(crate) struct Found {
    pub(crate) past: Past,
    /// Residual stream `[d]` after the last token, if the past holds the whole sequence.
    pub(crate) end: Option<Vec<f32>>,
}

/// One block of a remembered beginning.
struct Node {
    /// 1 to [`BLOCK`]; fewer only where nothing follows.
    tokens: Vec<u32>,
    block: Arc<Block>,
    /// Residual stream after that many of the tokens.
    ends: BTreeMap<usize, Vec<f32>>,
    parent: Option<u64>,
    children: Vec<u64>,
    used: u64,
}

/// Keys and values of beginnings that later sequences may share: a system prompt, a few-shot block,
/// a context. Bounded in bytes.
pub struct PrefixCache {
    max_bytes: usize,
    model: Option<(Decoder, Arc<Pool>)>,
    roots: HashMap<AdapterKey, Vec<u64>>,
    nodes: HashMap<u64, Node>,
    next: u64,
    clock: u64,
}

impl PrefixCache {
    /// An empty cache of at most `max_bytes`.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            model: None,
            roots: HashMap::new(),
            nodes: HashMap::new(),
            next: 0,
            clock: 0,
        }
    }

    /// Bytes of keys and values it holds on to.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.nodes.len() * self.model.as_ref().map_or(0, |(_, pool)| pool.block_bytes())
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.roots.clear();
        self.nodes.clear();
    }

    pub(crate) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    pub(crate) fn set_max_bytes(&mut self, max_bytes: usize) {
        self.max_bytes = max_bytes;
        self.shrink(max_bytes);
    }

    /// The pool for `decoder`. What another decoder computed is forgotten.
    pub(crate) fn pool_for(&mut self, decoder: &Decoder) -> Arc<Pool> {
        if let Some((mine, pool)) = &self.model
            && mine.is_same(decoder)
        {
            return pool.clone();
        }
        self.clear();
        let pool = Pool::new(decoder.config());
        self.model = Some((decoder.clone(), pool.clone()));
        pool
    }

    /// The longest remembered beginning of `tokens`.
    pub(crate) fn find(&mut self, key: &AdapterKey, tokens: &[u32]) -> Option<Found> {
        let (_, pool) = self.model.as_ref()?;
        let (path, len) = self.walk(key, tokens);
        let last = *path.last()?;
        self.clock += 1;
        let mut blocks = Vec::with_capacity(path.len());
        for id in &path {
            let node = self.nodes.get_mut(id)?;
            node.used = self.clock;
            blocks.push(node.block.clone());
        }
        let end = (len == tokens.len())
            .then(|| self.nodes[&last].ends.get(&(len - (path.len() - 1) * BLOCK)).cloned())
            .flatten();
        Some(Found { past: Past::of_blocks(pool, blocks, len), end })
    }

    /// The nodes along `tokens`, and how many of the tokens they cover.
    fn walk(&self, key: &AdapterKey, tokens: &[u32]) -> (Vec<u64>, usize) {
        let (mut path, mut len) = (Vec::new(), 0);
        let mut below = self.roots.get(key).map_or(&[][..], Vec::as_slice);
        loop {
            let rest = &tokens[len..];
            let common = |id: &u64| common_length(&self.nodes[id].tokens, rest);
            let Some((id, common)) =
                below.iter().map(|id| (*id, common(id))).max_by_key(|&(_, common)| common)
            else {
                return (path, len);
            };
            if common == 0 {
                return (path, len);
            }
            path.push(id);
            len += common;
            if common < BLOCK {
                return (path, len);
            }
            below = &self.nodes[&id].children;
        }
    }

    /// Remembers the first `len` positions of `past`, which read `tokens`; `end` is the residual
    /// stream after the last of them.
    pub(crate) fn insert(
        &mut self,
        key: &AdapterKey,
        tokens: &[u32],
        past: &Past,
        end: Option<&[f32]>,
    ) {
        let tokens = &tokens[..tokens.len().min(past.len())];
        self.clock += 1;
        let mut parent = None;
        for (tokens, block) in tokens.chunks(BLOCK).zip(past.blocks()) {
            parent = Some(self.insert_block(key, parent, tokens, block));
        }
        if let (Some(end), Some(node)) = (end, parent.and_then(|id| self.nodes.get_mut(&id))) {
            let offset = (tokens.len() - 1) % BLOCK + 1;
            node.ends.entry(offset).or_insert_with(|| end.to_vec());
        }
        self.shrink(self.max_bytes);
    }

    /// The node of `tokens` below `parent`: there already, one that becomes longer, or a new one.
    fn insert_block(
        &mut self,
        key: &AdapterKey,
        parent: Option<u64>,
        tokens: &[u32],
        block: &Arc<Block>,
    ) -> u64 {
        let clock = self.clock;
        let below = match parent {
            Some(parent) => self.nodes.get(&parent).map_or(&[][..], |node| &node.children),
            None => self.roots.get(key).map_or(&[][..], Vec::as_slice),
        };
        let shared = below.iter().copied().find(|id| {
            let mine = &self.nodes[id].tokens;
            common_length(mine, tokens) == mine.len().min(tokens.len())
        });
        if let Some(id) = shared
            && let Some(node) = self.nodes.get_mut(&id)
        {
            node.used = clock;
            if node.tokens.len() < tokens.len() {
                (node.tokens, node.block) = (tokens.to_vec(), block.clone());
            }
            return id;
        }
        let id = self.next;
        self.next += 1;
        let node = Node {
            tokens: tokens.to_vec(),
            block: block.clone(),
            ends: BTreeMap::new(),
            parent,
            children: Vec::new(),
            used: clock,
        };
        self.nodes.insert(id, node);
        match parent.and_then(|parent| self.nodes.get_mut(&parent)) {
            Some(parent) => parent.children.push(id),
            None => self.roots.entry(key.clone()).or_default().push(id),
        }
        id
    }

    /// Forgets what was used longest ago until at most `bytes` remain.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        while self.bytes() > bytes {
            let surplus = (self.bytes() - bytes).div_ceil(self.bytes() / self.nodes.len());
            let mut leaves: Vec<(u64, u64)> = self
                .nodes
                .iter()
                .filter(|(_, node)| node.children.is_empty())
                .map(|(&id, node)| (node.used, id))
                .collect();
            leaves.sort_unstable();
            leaves.truncate(surplus);
            leaves.into_iter().for_each(|(_, id)| self.remove_leaf(id));
        }
    }

    fn remove_leaf(&mut self, id: u64) {
        let Some(node) = self.nodes.remove(&id) else { return };
        match node.parent.and_then(|parent| self.nodes.get_mut(&parent)) {
            Some(parent) => parent.children.retain(|&child| child != id),
            None => self.roots.retain(|_, roots| {
                roots.retain(|&root| root != id);
                !roots.is_empty()
            }),
        }
    }
}
