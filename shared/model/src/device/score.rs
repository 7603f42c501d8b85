//! Teacher-forced scores on the device, all adapters of a batch together.

use super::forward::{Fresh, Pass};
use super::head::judge;
use super::lora::LoraStack;
use super::packed::Packed;
use super::plan::Plan;
use crate::decoder::Decoder;
use crate::error::{ModelError, Result};
use crate::lora::Adapter;
use crate::score::{ItemScore, ScoreItem, item_score, sequence};
use candle_core::Tensor;

/// Rows of one forward.
const BATCH_ROWS: usize = 16_384;
/// Rows of one group: an adapter with more of them gets several groups.
const GROUP_ROWS: usize = 1024;

/// A run of items with the same adapter.
struct Group {
    adapter: Option<usize>,
    items: Vec<usize>,
    rows: usize,
}

/// [`crate::score()`] of a decoder of this engine.
pub(crate) fn score(
    decoder: &Decoder,
    adapters: &[&Adapter],
    items: &[ScoreItem],
) -> Result<Vec<ItemScore>> {
    let inputs: Vec<Vec<u32>> = items.iter().map(sequence).collect();
    let mut scores = vec![None; items.len()];
    for batch in batches(groups(items)) {
        for (index, score) in score_batch(decoder, adapters, items, &inputs, &batch)? {
            scores[index] = Some(score);
        }
    }
    Ok(scores.into_iter().flatten().collect())
}

/// Items by adapter, each adapter's in runs of about [`GROUP_ROWS`].
fn groups(items: &[ScoreItem]) -> Vec<Group> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_key(|&i| items[i].adapter);
    let mut groups: Vec<Group> = Vec::new();
    for index in order {
        let item = &items[index];
        let rows = item.prompt.len() + item.answer.len() - 1;
        match groups.last_mut() {
            Some(g) if g.adapter == item.adapter && g.rows + rows <= GROUP_ROWS => {
                g.items.push(index);
                g.rows += rows;
            }
            _ => groups.push(Group { adapter: item.adapter, items: vec![index], rows }),
        }
    }
    groups
}

/// Groups of similar size, as many as fit in one forward.
fn batches(mut groups: Vec<Group>) -> Vec<Vec<Group>> {
    groups.sort_by_key(|g| std::cmp::Reverse(g.rows));
    let mut batches: Vec<Vec<Group>> = Vec::new();
    for group in groups {
        match batches.last_mut() {
            // The first is the longest: all others are padded to it.
            Some(batch) if (batch.len() + 1) * batch[0].rows <= BATCH_ROWS => batch.push(group),
            _ => batches.push(vec![group]),
        }
    }
    batches
}

fn score_batch(
    decoder: &Decoder,
    adapters: &[&Adapter],
    items: &[ScoreItem],
    inputs: &[Vec<u32>],
    batch: &[Group],
) -> Result<Vec<(usize, ItemScore)>> {
    // The last answer token predicts nothing we ask for.
    let tokens = |&i: &usize| &inputs[i][..inputs[i].len() - 1];
    let sequences: Vec<Vec<&[u32]>> =
        batch.iter().map(|g| g.items.iter().map(tokens).collect()).collect();
    let stack = stack(decoder, adapters, batch.iter().map(|g| g.adapter))?;
    let packed = Packed::new(decoder, Plan::new(&sequences))?;
    let pass = Pass { decoder, adapters: stack.as_ref(), rotation: &packed.rotation, masks: None };
    let mut fresh = Fresh { packed: &packed };
    let hidden = pass.forward(&packed.tokens, &mut fresh, &mut drop)?;
    let order: Vec<usize> = batch.iter().flat_map(|g| &g.items).copied().collect();
    let (mut rows, mut targets) = (Vec::new(), Vec::new());
    for (&index, span) in order.iter().zip(&packed.plan.spans) {
        rows.extend(
            (span.start + items[index].prompt.len() - 1..span.start + span.len).map(as_row),
        );
        targets.extend_from_slice(&items[index].answer);
    }
    let hidden = hidden.index_select(&Tensor::new(rows.as_slice(), decoder.device())?, 0)?;
    let judged = judge(&pass, &hidden, &targets)?;
    let mut at = 0;
    order
        .into_iter()
        .map(|index| {
            let answer = &items[index].answer;
            at += answer.len();
            Ok((index, item_score(decoder, index, answer, &judged[at - answer.len()..at])?))
        })
        .collect()
}

#[allow(clippy::cast_possible_truncation)]
fn as_row(row: usize) -> u32 {
    row as u32
}

/// The adapters of a batch's groups.
pub(super) fn stack(
    decoder: &Decoder,
    adapters: &[&Adapter],
    groups: impl Iterator<Item = Option<usize>>,
) -> Result<Option<LoraStack>> {
    let found = |index: Option<usize>| match index {
        None => Ok(None),
        Some(index) => adapters.get(index).copied().map(Some).ok_or_else(|| {
            ModelError::Input(format!("adapter {index} of {} does not exist", adapters.len()))
        }),
    };
    let stacked: Vec<Option<&Adapter>> = groups.map(found).collect::<Result<_>>()?;
    LoraStack::of(decoder.config(), &stacked, decoder.device())
}
