//! Cross-entropy fused with the output projection, in chunks.

use super::batch::Batch;
use super::gradients::{FINAL_NORM, Gradients, head_name};
use super::rows;
use crate::error::Result;
use candle_core::{DType, Tensor};
use seal_model::device::kernels::cross_entropy;
use seal_model::device::{Pass, chunk_rows};

/// Each group's loss `[groups]`, in nats, and the gradient of the residual stream `x` `[rows, d]`
/// after the last layer.
pub(super) fn backward(
    pass: &Pass<'_>,
    batch: &Batch,
    x: &Tensor,
    gradients: &mut Gradients,
) -> Result<(Tensor, Tensor)> {
    let trained = x.index_select(&batch.rows, 0)?;
    let (count, width) = trained.dims2()?;
    let step = chunk_rows(pass.decoder.config().vocab_size);
    let (mut losses, mut dx) = (Vec::new(), Vec::new());
    for from in (0..count).step_by(step) {
        let part = |t: &Tensor| t.narrow(0, from, step.min(count - from));
        let parts = (&part(&batch.targets)?, &part(&batch.weights)?);
        let (loss, gradient) = chunk(pass, &part(&trained)?, parts, gradients)?;
        losses.push(loss);
        dx.push(gradient);
    }
    losses.push(Tensor::zeros((1, 1), DType::F32, x.device())?);
    let own = Tensor::cat(&losses, 0)?.index_select(&batch.of_groups.flatten_all()?, 0)?;
    let losses = own.reshape(batch.of_groups.shape())?.sum(1)?;
    dx.push(Tensor::zeros((1, width), DType::F32, x.device())?);
    Ok((losses, Tensor::cat(&dx, 0)?.index_select(&batch.restore, 0)?))
}

/// Weighted losses `[n, 1]` of the rows `x` `[n, d]`, and the gradient of their sum.
fn chunk(
    pass: &Pass<'_>,
    x: &Tensor,
    (targets, weights): (&Tensor, &Tensor),
    gradients: &mut Gradients,
) -> Result<(Tensor, Tensor)> {
    let weights_of = pass.decoder.weights();
    let normed = pass.final_norm(x)?;
    let logits = normed.matmul(&weights_of.head.weight.t()?)?;
    let (losses, dlogits) = cross_entropy(logits, targets, weights)?;
    gradients
        .weight(|| head_name(pass.decoder).to_owned(), || Ok(dlogits.t()?.matmul(&normed)?))?;
    let dnormed = dlogits.matmul(&weights_of.head.weight)?.to_dtype(DType::F32)?;
    let epsilon = pass.decoder.config().rms_norm_eps;
    let wants_gain = !gradients.only_adapters();
    let (dx, dgain) = rows::rms_norm(&dnormed, x, &weights_of.norm, epsilon, wants_gain)?;
    if let Some(dgain) = dgain {
        gradients.weight(|| FINAL_NORM.to_owned(), || Ok(dgain))?;
    }
    Ok((losses, dx))
}
