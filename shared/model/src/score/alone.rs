//! Items that share nothing worth sharing: many short sequences in one forward, nothing kept.

use super::{Judge, Task, sequence, shard_tokens};
use crate::batch::Batch;
use crate::decoder::Fresh;
use crate::error::Result;
use crate::ops::elementwise::gather_rows;
use rayon::prelude::*;

/// Judges the answers of the items `order`, which lie by adapter, on all threads.
pub(super) fn judge_alone<T: Send>(
    task: Task<'_>,
    order: &[usize],
    judge: &Judge<'_, T>,
) -> Result<Vec<(usize, Vec<T>)>> {
    let judged: Vec<Vec<(usize, Vec<T>)>> = shards(task, order)
        .into_par_iter()
        .map(|shard| judge_shard(task, shard, judge))
        .collect::<Result<_>>()?;
    Ok(judged.into_iter().flatten().collect())
}

/// Cuts `order` into runs of at most one shard's tokens.
fn shards<'a>(task: Task<'_>, order: &'a [usize]) -> Vec<&'a [usize]> {
    let budget = shard_tokens(task.decoder);
    let (mut shards, mut start, mut tokens) = (Vec::new(), 0, 0);
    for (at, &index) in order.iter().enumerate() {
        let len = task.items[index].prompt.len() + task.items[index].answer.len();
        if tokens + len > budget && at > start {
            shards.push(&order[start..at]);
            (start, tokens) = (at, 0);
        }
        tokens += len;
    }
    if start < order.len() {
        shards.push(&order[start..]);
    }
    shards
}

fn judge_shard<T>(
    task: Task<'_>,
    shard: &[usize],
    judge: &Judge<'_, T>,
) -> Result<Vec<(usize, Vec<T>)>> {
    let (mut batch, mut rows, mut targets) = (Batch::default(), Vec::new(), Vec::new());
    for &index in shard {
        let item = &task.items[index];
        let tokens = sequence(item);
        // The last answer token predicts nothing we ask for.
        let span = batch.push(&tokens[..tokens.len() - 1], item.adapter);
        rows.extend(span.start + item.prompt.len() - 1..span.start + span.len);
        targets.extend_from_slice(&item.answer);
    }
    let mut fresh = Fresh { spans: &batch.spans };
    let hidden = task.decoder.forward(&batch, task.adapters, &mut fresh, &mut drop)?;
    let mut judged = judge(&gather_rows(&hidden, &rows)?, &targets)?.into_iter();
    let answer =
        |&index: &usize| (index, judged.by_ref().take(task.items[index].answer.len()).collect());
    Ok(shard.iter().map(answer).collect())
}
