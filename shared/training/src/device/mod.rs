//! Training by the engine of [`seal_model::device`]: the same mathematics as [`crate::backward`]
//! from tensor operations that run on any device.
//!
//! All candidates of a group go through one forward and one backward: products with the frozen base
//! run over the rows of all of them, products with factors as one batched product over the groups.
//! No weight that is frozen gets a gradient, no batch ever has all of its logits at once, and
//! nothing is read back within a step.
//!
//! **Invariant:** a candidate's result depends on the others by rounding alone, and not at all on
//! one that diverges. **Absent:** bit-equality, between runs of other groups or with the exact
//! engine; who is trained on what.

mod adamw;
mod attention;
mod batch;
mod gradients;
mod layer;
mod loss;
mod rows;
mod stack;

pub(crate) use adamw::AdamW;
pub use batch::Batch;
pub(crate) use batch::pieces;
pub use gradients::{AdapterGradients, Gradients};
pub use stack::Stack;

use crate::backward::Keep;
use crate::error::Result;
use candle_core::Tensor;
use seal_model::Decoder;
use seal_model::device::{Fresh, LayerTrace, LoraStack, Pass};

/// What is left of one layer's forward.
enum Kept {
    Trace(Box<LayerTrace>),
    Input(Tensor),
}

/// Adds the gradient of `batch`'s loss to `gradients`; returns each group's loss `[groups]`, in
/// nats, still on the device.
///
/// `adapters` has one adapter for each tile of the batch, or there is none at all.
///
/// # Errors
/// Shapes that disagree, a device without the memory.
pub fn loss_and_gradients(
    decoder: &Decoder,
    adapters: Option<&LoraStack>,
    batch: &Batch,
    keep: Keep,
    gradients: &mut Gradients,
) -> Result<Tensor> {
    let masks = |layer, which| batch.mask(decoder, layer, which);
    let pass = Pass {
        decoder,
        adapters,
        rotation: &batch.packed.rotation,
        masks: batch.has_dropout().then_some(&masks),
    };
    let mut fresh = Fresh { packed: &batch.packed };
    let mut kept = Vec::with_capacity(decoder.config().num_hidden_layers);
    let output = pass.forward(&batch.packed.tokens, &mut fresh, &mut |trace| {
        kept.push(match keep {
            Keep::Everything => Kept::Trace(Box::new(trace)),
            Keep::LayerInputs => Kept::Input(trace.input),
        });
    })?;
    let (losses, dx) = loss::backward(&pass, batch, &output, gradients)?;
    drop(output);
    let mut dx = Some(dx);
    while let Some(layer) = kept.pop() {
        let Some(dy) = dx.take() else { break };
        let index = kept.len();
        let trace = match layer {
            Kept::Trace(trace) => *trace,
            Kept::Input(input) => pass.layer(index, &input, &mut fresh)?.1,
        };
        dx = layer::backward(&pass, batch, index, &trace, dy, gradients)?;
    }
    if let Some(dx) = dx {
        gradients.embedding(decoder, &batch.packed.tokens, &dx)?;
    }
    Ok(losses)
}
