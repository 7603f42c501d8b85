//! The explicit backward of the decoder: no graph, no gradient of a frozen weight.

mod gradients;
mod layer;

pub use gradients::{AdapterGradients, Gradients, Places, WeightGradients};

use crate::batch::TrainBatch;
use crate::error::Result;
use gradients::weights;
use seal_model::ops::cross_entropy::loss_and_gradient;
use seal_model::ops::elementwise::{gather_rows, scatter_rows};
use seal_model::ops::{embedding, norm};
use seal_model::{Adapter, Decoder};

/// Adds the gradient of `batch`'s loss to `gradients`.
///
/// Returns each candidate's loss, `slots` of them, in nats.
///
/// # Errors
/// Tokens or adapters that do not exist.
pub fn loss_and_gradients(
    decoder: &Decoder,
    batch: &TrainBatch,
    adapters: &[&Adapter],
    slots: usize,
    gradients: &mut Gradients<'_>,
) -> Result<Vec<f64>> {
    let trace = decoder.trace(&batch.inputs, adapters)?;
    let last = gather_rows(&trace.output, &batch.rows)?;
    let (hidden, inverses) = decoder.final_norm(&last)?;
    let dhead = weights(gradients).map(|(all, at)| &mut all[at.head.clone()]);
    let loss =
        loss_and_gradient(&hidden, &decoder.weights().head, &batch.targets, &batch.weights, dhead)?;
    let mut dlast = vec![0.0; loss.dhidden.len()];
    let dnorm = weights(gradients).map(|(all, at)| &mut all[at.norm.clone()]);
    norm::backward(&mut dlast, dnorm, &loss.dhidden, &last, &decoder.weights().norm, &inverses)?;
    let mut dx =
        scatter_rows(&dlast, &batch.rows, batch.inputs.rows(), decoder.config().hidden_size);
    for (index, trace) in trace.layers.iter().enumerate().rev() {
        dx = layer::backward(decoder, index, trace, &batch.inputs, dx, gradients)?;
    }
    if let Some((all, at)) = weights(gradients) {
        embedding::backward(&mut all[at.embedding.clone()], &batch.inputs.tokens, &dx);
    }
    Ok(losses(batch, &loss.losses, slots))
}

fn losses(batch: &TrainBatch, losses: &[f32], slots: usize) -> Vec<f64> {
    let mut sums = vec![0.0; slots];
    for ((&owner, &weight), &loss) in batch.owners.iter().zip(&batch.weights).zip(losses) {
        sums[owner] += f64::from(weight) * f64::from(loss);
    }
    sums
}
