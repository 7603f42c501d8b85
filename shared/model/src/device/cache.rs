//! Keys and values of texts that are written side by side.
//!
//! Every text has a slot, and each step writes one column of all slots at once. A text that joined
//! later, or read a shorter prompt, has gaps between its columns: its mask hides them, and positions
//! are told apart from columns. So a step appends without moving anything.

use super::attention::{Mask, attend, join_heads, split_heads};
use super::forward::{Attend, Fresh, Pass};
use super::lora::LoraStack;
use super::packed::Packed;
use super::plan::Plan;
use super::rotation::Rotation;
use crate::decoder::Decoder;
use crate::error::Result;
use crate::ops::attention::Heads;
use candle_core::{DType, Tensor};

/// The position of a column in which a slot has nothing.
const GAP: u32 = u32::MAX;

/// The past of every slot.
pub(crate) struct Cache {
    /// By layer: keys and values, `[slots · key_value, capacity, dim]`, f32.
    layers: Vec<[Tensor; 2]>,
    /// By slot: the position in each column that was written, or [`GAP`].
    positions: Vec<Vec<u32>>,
    columns: usize,
    capacity: usize,
}

impl Cache {
    /// Number of slots.
    pub(crate) fn slots(&self) -> usize {
        self.positions.len()
    }

    /// True if no column is left.
    pub(crate) fn is_full(&self) -> bool {
        self.columns == self.capacity
    }

    /// New slots, each that of a part (by number and slot) or an empty one, with room for `more`
    /// columns.
    ///
    /// # Errors
    /// A device without the memory.
    pub(crate) fn arranged(
        decoder: &Decoder,
        parts: &[&Self],
        wanted: &[Option<(usize, usize)>],
        more: usize,
    ) -> Result<Self> {
        let columns = parts.iter().map(|part| part.columns).max().unwrap_or(0);
        let capacity = columns + more.max(1);
        let firsts: Vec<usize> = parts
            .iter()
            .scan(0, |sum, part| {
                *sum += part.slots();
                Some(*sum - part.slots())
            })
            .collect();
        let empty: usize = parts.iter().map(|part| part.slots()).sum();
        let heads = decoder.config().num_key_value_heads;
        let source = |slot: &Option<(usize, usize)>| slot.map_or(empty, |(p, s)| firsts[p] + s);
        let rows: Vec<u32> = wanted
            .iter()
            .flat_map(|slot| (0..heads).map(move |head| (source(slot) * heads + head) as u32))
            .collect();
        let rows = Tensor::new(rows.as_slice(), decoder.device())?;
        let dim = decoder.config().head_dim;
        let none = Tensor::zeros((heads, capacity, dim), DType::F32, decoder.device())?;
        let layer = |index: usize| -> Result<[Tensor; 2]> {
            let one = |which: usize| -> Result<Tensor> {
                let padded = |part: &&Self| -> Result<Tensor> {
                    let written = part.layers[index][which].narrow(1, 0, part.columns)?;
                    Ok(written.pad_with_zeros(1, 0, capacity - part.columns)?)
                };
                let mut all = parts.iter().map(padded).collect::<Result<Vec<_>>>()?;
                all.push(none.clone());
                Ok(Tensor::cat(&all, 0)?.index_select(&rows, 0)?)
            };
            Ok([one(0)?, one(1)?])
        };
        let positions = |slot: &Option<(usize, usize)>| {
            let mut own = slot.map_or(Vec::new(), |(part, at)| parts[part].positions[at].clone());
            own.resize(columns, GAP);
            own
        };
        Ok(Self {
            layers: (0..decoder.config().num_hidden_layers).map(layer).collect::<Result<_>>()?,
            positions: wanted.iter().map(positions).collect(),
            columns,
            capacity,
        })
    }
}

/// Reads whole prompts, those of each group with its adapter.
///
/// Returns the residual stream `[prompts, d]` after each one's last token, in their order, and the
/// past of each in a slot of its own.
///
/// # Errors
/// Tokens that the decoder does not have, a device without the memory.
pub(crate) fn read_prompts(
    decoder: &Decoder,
    adapters: Option<&LoraStack>,
    groups: &[Vec<&[u32]>],
) -> Result<(Tensor, Cache)> {
    let packed = Packed::new(decoder, Plan::new(groups))?;
    let (plan, device) = (&packed.plan, decoder.device());
    let len = plan.spans.iter().map(|span| span.len).max().unwrap_or(0);
    let row = |sequence: usize, at: usize| {
        let span = plan.spans[sequence];
        as_u32(if at < span.len { span.start + at } else { plan.padding[sequence] })
    };
    let rows: Vec<u32> = (0..plan.spans.len())
        .flat_map(|n| (0..len).map(move |at| (n, at)))
        .map(|(n, at)| row(n, at))
        .collect();
    let last: Vec<u32> = plan.spans.iter().map(|s| as_u32(s.start + s.len - 1)).collect();
    let position = |at: usize, filled: usize| if at < filled { as_u32(at) } else { GAP };
    let positions = |s: &crate::batch::Span| (0..len).map(|at| position(at, s.len)).collect();
    let positions = plan.spans.iter().map(positions).collect();
    let mut recording = Recording {
        fresh: Fresh { packed: &packed },
        rows: Tensor::new(rows.as_slice(), device)?,
        sequences: plan.spans.len(),
        layers: Vec::with_capacity(decoder.config().num_hidden_layers),
    };
    let pass = Pass { decoder, adapters, rotation: &packed.rotation, masks: None };
    let hidden = pass.forward(&packed.tokens, &mut recording, &mut drop)?;
    let layers = recording.layers;
    let ends = hidden.index_select(&Tensor::new(last.as_slice(), device)?, 0)?;
    Ok((ends, Cache { layers, positions, columns: len, capacity: len }))
}

/// Attention of whole prompts that keeps their keys and values.
struct Recording<'a> {
    fresh: Fresh<'a>,
    /// `[sequences · len]`: the row of each place of the rectangle.
    rows: Tensor,
    sequences: usize,
    layers: Vec<[Tensor; 2]>,
}

impl Attend for Recording<'_> {
    fn attend(
        &mut self,
        layer: usize,
        heads: Heads,
        (q, k, v): (&Tensor, &Tensor, &Tensor),
    ) -> Result<Tensor> {
        let kept = |x: &Tensor| {
            let rows = x.index_select(&self.rows, 0)?;
            split_heads(&rows, self.sequences, heads.key_value, heads.key_value)
        };
        self.layers.push([kept(k)?, kept(v)?]);
        self.fresh.attend(layer, heads, (q, k, v))
    }
}

/// Reads one token in every slot that has one; the others compute something that nobody sees.
///
/// `next` has the token and its position for each slot. Returns the residual stream `[slots, d]`.
///
/// # Errors
/// A cache that is full, tokens or positions that the decoder does not have.
pub(crate) fn read_next(
    decoder: &Decoder,
    adapters: Option<&LoraStack>,
    cache: &mut Cache,
    next: &[Option<(u32, u32)>],
) -> Result<Tensor> {
    let tokens: Vec<u32> = next.iter().map(|slot| slot.map_or(0, |(token, _)| token)).collect();
    let positions: Vec<u32> = next.iter().map(|slot| slot.map_or(0, |(_, at)| at)).collect();
    tokens.iter().try_for_each(|&token| decoder.check_tokens(&[token]))?;
    for (own, slot) in cache.positions.iter_mut().zip(next) {
        own.push(slot.map_or(GAP, |(_, position)| position));
    }
    let column = cache.columns;
    cache.columns += 1;
    let rotation = Rotation::new(decoder, &positions)?;
    let window = decoder.config().sliding_window.as_ref().map(|window| window.size);
    let mut step = Appended {
        mask: cache.mask(decoder, next, None)?,
        windowed: window.map(|size| cache.mask(decoder, next, Some(size))).transpose()?,
        column,
        cache,
    };
    let pass = Pass { decoder, adapters, rotation: &rotation, masks: None };
    let tokens = Tensor::new(tokens.as_slice(), decoder.device())?;
    pass.forward(&tokens, &mut step, &mut drop)
}

impl Cache {
    /// What the query of each slot that has a `next` token sees of the columns written so far.
    fn mask(
        &self,
        decoder: &Decoder,
        next: &[Option<(u32, u32)>],
        window: Option<usize>,
    ) -> Result<Mask> {
        let sees = |slot: usize, _: usize, column: usize| {
            let key = self.positions[slot][column];
            let Some((_, query)) = next[slot].filter(|_| key != GAP) else { return false };
            window.is_none_or(|size| ((query - key) as usize) < size)
        };
        Mask::new(self.slots(), 1, self.columns, decoder.device(), sees)
    }
}

/// Attention of one new column to all of the past.
struct Appended<'a> {
    cache: &'a mut Cache,
    column: usize,
    mask: Mask,
    windowed: Option<Mask>,
}

impl Attend for Appended<'_> {
    fn attend(
        &mut self,
        layer: usize,
        heads: Heads,
        (q, k, v): (&Tensor, &Tensor, &Tensor),
    ) -> Result<Tensor> {
        let slots = self.cache.slots();
        let [keys, values] = &self.cache.layers[layer];
        for (all, new) in [(keys, k), (values, v)] {
            let new = new.reshape((slots * heads.key_value, 1, heads.dim))?.contiguous()?;
            all.slice_set(&new, 1, self.column)?;
        }
        let q = split_heads(q, slots, heads.query, heads.key_value)?;
        let written = |x: &Tensor| x.narrow(1, 0, self.cache.columns);
        let mask = heads.window.and(self.windowed.as_ref()).unwrap_or(&self.mask);
        let out = attend(&q, &written(keys)?, &written(values)?, mask, heads)?;
        join_heads(&out, slots, heads.query)
    }
}

#[allow(clippy::cast_possible_truncation)]
fn as_u32(number: usize) -> u32 {
    number as u32
}
