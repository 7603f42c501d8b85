//! Kernels of our own, each beside the tensor operations that it stands for.
//!
//! On a GPU every tensor operation reads its operands from memory, writes its result there and costs
//! the host a launch; these make one pass where the operations, which run everywhere else, make
//! many. What that brought: docs/PERFORMANCE.md. Both ways are held against the exact engine by the
//! twin tests.

mod attention;
mod cross_entropy;
#[cfg(feature = "cuda")]
mod fused;
mod layer;
mod optimizer;

pub use attention::{Places, attend, attend_backward};
pub use cross_entropy::cross_entropy;
pub use layer::{rms_norm_backward, swiglu_backward, widen_add};
pub use optimizer::{AdamWStep, adamw, sums_of_squares};

#[cfg(feature = "cuda")]
#[allow(clippy::cast_possible_truncation)]
fn narrowed(number: f64) -> f32 {
    number as f32
}
