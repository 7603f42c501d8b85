//! Keys and values of growing sequences, in shared blocks.
//!
//! **Invariant:** a block that two sequences share is never written: who writes copies it first.

use crate::decoder::DecoderConfig;
use crate::ops::lanes::LANES;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Positions in a block: what the attention kernel takes at once.
pub(crate) const BLOCK: usize = LANES;

/// The sizes of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    layers: usize,
    key_value: usize,
    dim: usize,
}

impl Shape {
    /// Numbers of one layer and key/value head: keys `[dim, BLOCK]`, then values `[BLOCK, dim]`.
    fn tile(self) -> usize {
        2 * self.dim * BLOCK
    }

    fn block(self) -> usize {
        self.layers * self.key_value * self.tile()
    }
}

/// Where the blocks of one model come from and go back to.
pub(crate) struct Pool {
    shape: Shape,
    in_use: AtomicUsize,
    peak: AtomicUsize,
    spare: Mutex<Vec<Vec<f32>>>,
}

impl Pool {
    pub(crate) fn new(config: &DecoderConfig) -> Arc<Self> {
        let shape = Shape {
            layers: config.num_hidden_layers,
            key_value: config.num_key_value_heads,
            dim: config.head_dim,
        };
        Arc::new(Self {
            shape,
            in_use: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            spare: Mutex::default(),
        })
    }

    /// Bytes of one block.
    pub(crate) fn block_bytes(&self) -> usize {
        self.shape.block() * size_of::<f32>()
    }

    /// Bytes that hold `positions` of one sequence.
    pub(crate) fn bytes_for(&self, positions: usize) -> usize {
        positions.div_ceil(BLOCK) * self.block_bytes()
    }

    /// Bytes of all blocks that something still refers to.
    pub(crate) fn bytes_in_use(&self) -> usize {
        self.in_use.load(Ordering::Relaxed) * self.block_bytes()
    }

    /// Most bytes that were ever in use.
    pub(crate) fn peak_bytes(&self) -> usize {
        self.peak.load(Ordering::Relaxed) * self.block_bytes()
    }

    /// Numbers of a new block; what they are does not matter, as each is written before it counts.
    fn take(&self) -> Vec<f32> {
        let in_use = 1 + self.in_use.fetch_add(1, Ordering::Relaxed);
        self.peak.fetch_max(in_use, Ordering::Relaxed);
        let spare = self.spare.lock().ok().and_then(|mut spare| spare.pop());
        spare.unwrap_or_else(|| vec![0.0; self.shape.block()])
    }

    fn give_back(&self, numbers: Vec<f32>) {
        self.in_use.fetch_sub(1, Ordering::Relaxed);
        if let Ok(mut spare) = self.spare.lock() {
            spare.push(numbers);
        }
    }
}

/// Keys and values of [`BLOCK`] positions in every layer.
pub(super) struct Block {
    numbers: Vec<f32>,
    pool: Arc<Pool>,
}

impl Block {
    fn new(pool: &Arc<Pool>) -> Self {
        Self { numbers: pool.take(), pool: pool.clone() }
    }
}

impl Clone for Block {
    fn clone(&self) -> Self {
        let mut copy = Self::new(&self.pool);
        copy.numbers.copy_from_slice(&self.numbers);
        copy
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.numbers));
    }
}

/// The past of one sequence in every layer.
#[derive(Clone)]
pub(crate) struct Past {
    pool: Arc<Pool>,
    blocks: Vec<Arc<Block>>,
    len: usize,
}

impl Past {
    pub(crate) fn new(pool: &Arc<Pool>) -> Self {
        Self { pool: pool.clone(), blocks: Vec::new(), len: 0 }
    }

    /// The past that consists of the first `len` positions of `blocks`.
    pub(super) fn of_blocks(pool: &Arc<Pool>, blocks: Vec<Arc<Block>>, len: usize) -> Self {
        Self { pool: pool.clone(), blocks, len }
    }

    pub(super) fn blocks(&self) -> &[Arc<Block>] {
        &self.blocks
    }

    /// Positions whose keys and values are known.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Forgets what comes after the first `len` positions.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.blocks.truncate(self.len.div_ceil(BLOCK));
    }

    /// Blocks that reading `more` positions would take from the pool, a copy of a shared last block
    /// included.
    pub(crate) fn blocks_for(&self, more: usize) -> usize {
        let fresh = (self.len + more).div_ceil(BLOCK).saturating_sub(self.blocks.len());
        let shared = self.blocks.get(self.len / BLOCK).is_some_and(|b| Arc::strong_count(b) > 1);
        fresh + usize::from(shared && more > 0)
    }

    /// Makes room for `more` positions.
    pub(super) fn reserve(&mut self, more: usize) {
        while self.blocks.len() * BLOCK < self.len + more {
            self.blocks.push(Arc::new(Block::new(&self.pool)));
        }
    }

    /// Writes what `layer` computed for the position that comes `ahead` places after the last known
    /// one: `key` and `value` `[key_value · dim]`.
    pub(super) fn write(&mut self, layer: usize, ahead: usize, key: &[f32], value: &[f32]) {
        let shape = self.pool.shape;
        let (position, half) = (self.len + ahead, shape.dim * BLOCK);
        let lane = position % BLOCK;
        let numbers = &mut Arc::make_mut(&mut self.blocks[position / BLOCK]).numbers;
        let heads = key.chunks_exact(shape.dim).zip(value.chunks_exact(shape.dim));
        for (head, (key, value)) in heads.enumerate() {
            let at = (layer * shape.key_value + head) * shape.tile();
            let (keys, values) = numbers[at..at + shape.tile()].split_at_mut(half);
            for (d, &x) in key.iter().enumerate() {
                keys[d * BLOCK + lane] = x;
            }
            values[lane * shape.dim..][..shape.dim].copy_from_slice(value);
        }
    }

    /// The tiles of one key/value head in `layer`, block by block.
    pub(super) fn tiles(&self, layer: usize, head: usize) -> Vec<&[f32]> {
        let shape = self.pool.shape;
        let at = (layer * shape.key_value + head) * shape.tile();
        self.blocks.iter().map(|block| &block.numbers[at..at + shape.tile()]).collect()
    }

    /// Counts `more` written positions as known.
    pub(super) fn advance(&mut self, more: usize) {
        self.len += more;
    }
}
