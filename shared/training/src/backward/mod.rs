//! The explicit backward of the decoder: no graph, no gradient of a frozen weight.

mod gradients;
mod layer;

pub use gradients::{AdapterGradients, Gradients, Places, WeightGradients};

use crate::batch::TrainBatch;
use crate::error::Result;
use crate::options::TrainOptions;
use candle_core::Tensor;
use gradients::weights;
use seal_model::decoder::{Fresh, LayerTrace};
use seal_model::ops::cross_entropy::loss_and_gradient;
use seal_model::ops::elementwise::{gather_rows, scatter_rows};
use seal_model::ops::{embedding, norm};
use seal_model::{Adapter, Decoder};

/// What a forward keeps for the backward. Both give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Everything a layer computed.
    Everything,
    /// The input of each layer; the backward computes the rest again, layer by layer.
    LayerInputs,
}

impl From<&TrainOptions<'_>> for Keep {
    fn from(options: &TrainOptions<'_>) -> Self {
        if options.gradient_checkpointing { Self::LayerInputs } else { Self::Everything }
    }
}

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
    let mut losses = vec![0.0; slots];
    accumulate(decoder, batch, adapters, Keep::Everything, &mut losses, gradients)?;
    Ok(losses)
}

/// Adds the gradient of `batch`'s loss to `gradients`, and each candidate's loss, in nats, to its
/// slot of `losses`.
///
/// # Errors
/// Tokens, adapters or slots that do not exist.
pub fn accumulate(
    decoder: &Decoder,
    batch: &TrainBatch,
    adapters: &[&Adapter],
    keep: Keep,
    losses: &mut [f64],
    gradients: &mut Gradients<'_>,
) -> Result<()> {
    let (kept, output) = forward(decoder, batch, adapters, keep)?;
    let last = gather_rows(&output, &batch.rows)?;
    let (hidden, inverses) = decoder.final_norm(&last)?;
    let dhead = weights(gradients).map(|(all, at)| &mut all[at.head.clone()]);
    let loss =
        loss_and_gradient(&hidden, &decoder.weights().head, &batch.targets, &batch.weights, dhead)?;
    let mut dlast = vec![0.0; loss.dhidden.len()];
    let dnorm = weights(gradients).map(|(all, at)| &mut all[at.norm.clone()]);
    norm::backward(&mut dlast, dnorm, &loss.dhidden, &last, &decoder.weights().norm, &inverses)?;
    let mut dx =
        scatter_rows(&dlast, &batch.rows, batch.inputs.rows(), decoder.config().hidden_size);
    for (index, kept) in kept.into_iter().enumerate().rev() {
        let trace = match kept {
            Kept::Trace(trace) => *trace,
            Kept::Input(input) => decoder.trace_layer(index, input, &batch.inputs, adapters)?,
        };
        dx = layer::backward(decoder, index, &trace, &batch.inputs, dx, gradients)?;
    }
    if let Some((all, at)) = weights(gradients) {
        embedding::backward(&mut all[at.embedding.clone()], &batch.inputs.tokens, &dx);
    }
    add_losses(batch, &loss.losses, losses);
    Ok(())
}

/// What is left of one layer's forward.
enum Kept {
    Trace(Box<LayerTrace>),
    Input(Tensor),
}

/// The forward: what is kept of each layer, and the residual stream `[n, d]` after the last.
fn forward(
    decoder: &Decoder,
    batch: &TrainBatch,
    adapters: &[&Adapter],
    keep: Keep,
) -> Result<(Vec<Kept>, Tensor)> {
    let mut kept = Vec::with_capacity(decoder.config().num_hidden_layers);
    let mut fresh = Fresh { spans: &batch.inputs.spans };
    let output = decoder.forward(&batch.inputs, adapters, &mut fresh, &mut |trace| {
        kept.push(match keep {
            Keep::Everything => Kept::Trace(Box::new(trace)),
            Keep::LayerInputs => Kept::Input(trace.input),
        });
    })?;
    Ok((kept, output))
}

fn add_losses(batch: &TrainBatch, rows: &[f32], losses: &mut [f64]) {
    for ((&owner, &weight), &loss) in batch.owners.iter().zip(&batch.weights).zip(rows) {
        losses[owner] += f64::from(weight) * f64::from(loss);
    }
}
