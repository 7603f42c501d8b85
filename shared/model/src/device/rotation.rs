//! Rotary position embedding of rows, each with its own position.

use crate::decoder::Decoder;
use crate::error::{ModelError, Result};
use candle_core::Tensor;
use candle_nn::rotary_emb::rope_thd;

/// cos and sin of each row of a batch.
pub struct Rotation {
    /// For keys.
    plain: Turn,
    /// For queries: times the scale of attention, which so costs nothing.
    scaled: Turn,
    dim: usize,
}

/// `[rows, dim / 2]` each.
struct Turn {
    cos: Tensor,
    sin: Tensor,
    /// −sin: turns back.
    back: Tensor,
}

/// What is turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// Queries, which are also scaled by 1/√dim.
    Queries,
    /// Keys.
    Keys,
}

impl Rotation {
    /// The rotation of rows at `positions`, on the decoder's device.
    ///
    /// # Errors
    /// A position the decoder does not have, a device without the memory.
    pub fn new(decoder: &Decoder, positions: &[u32]) -> Result<Self> {
        let (dim, max) = (decoder.config().head_dim, decoder.config().max_position_embeddings);
        if let Some(&last) = positions.iter().max().filter(|&&last| last as usize >= max) {
            return Err(ModelError::TooLong { tokens: last as usize + 1, max });
        }
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for &position in positions {
            let (c, s) = decoder.rope().angles(position);
            cos.extend_from_slice(c);
            sin.extend_from_slice(s);
        }
        let shape = (positions.len(), dim / 2);
        let cos = Tensor::from_vec(cos, shape, decoder.device())?;
        let sin = Tensor::from_vec(sin, shape, decoder.device())?;
        #[allow(clippy::cast_precision_loss)]
        let scale = 1.0 / (dim as f64).sqrt();
        let scaled = Turn::new((&cos * scale)?, (&sin * scale)?)?;
        Ok(Self { plain: Turn::new(cos, sin)?, scaled, dim })
    }
}

impl Turn {
    fn new(cos: Tensor, sin: Tensor) -> Result<Self> {
        let back = sin.neg()?;
        Ok(Self { cos, sin, back })
    }
}

impl Rotation {
    /// Turns every head of every row of `x` `[rows, heads · dim]`, f32.
    ///
    /// # Errors
    /// A shape that does not fit.
    pub fn turn(&self, x: &Tensor, what: Turned) -> Result<Tensor> {
        let turn = self.of(what);
        self.apply(x, &turn.cos, &turn.sin)
    }

    /// The backward of [`Rotation::turn`].
    ///
    /// # Errors
    /// A shape that does not fit.
    pub fn turn_back(&self, x: &Tensor, what: Turned) -> Result<Tensor> {
        let turn = self.of(what);
        self.apply(x, &turn.cos, &turn.back)
    }

    fn of(&self, what: Turned) -> &Turn {
        match what {
            Turned::Queries => &self.scaled,
            Turned::Keys => &self.plain,
        }
    }

    fn apply(&self, x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
        let (rows, width) = x.dims2()?;
        let heads = x.reshape((1, rows, width / self.dim, self.dim))?;
        Ok(rope_thd(&heads, cos, sin)?.reshape((rows, width))?)
    }
}
