//! Attention of packed rows to those of their own sequence, without rectangles, masks or padding.

#[cfg(feature = "cuda")]
use super::fused::{Fused, Grid};
use crate::device::Plan;
use crate::error::Result;
use crate::ops::attention::Heads;
use candle_core::{Device, Tensor};

/// The widest head that a warp can hold.
const WIDEST: usize = 256;

/// Where the sequence of each row begins and ends, where a GPU's kernels ask for it.
pub struct Places {
    /// `[rows, 2]`, u32: the first row and the one after the last; both 0 for a row without token.
    /// None where attention goes by buckets.
    #[cfg_attr(not(feature = "cuda"), allow(dead_code))]
    places: Option<Tensor>,
}

impl Places {
    /// Those of `plan`, whose heads are `width` wide.
    ///
    /// # Errors
    /// A device without the memory.
    #[allow(clippy::cast_possible_truncation)]
    pub fn new(plan: &Plan, width: usize, device: &Device) -> Result<Self> {
        if !device.is_cuda() || width > WIDEST {
            return Ok(Self { places: None });
        }
        let mut places = vec![[0u32; 2]; plan.rows()];
        for span in &plan.spans {
            let end = span.start + span.len;
            places[span.start..end].fill([span.start as u32, end as u32]);
        }
        let numbers = places.concat();
        Ok(Self { places: Some(Tensor::from_vec(numbers, (plan.rows(), 2), device)?) })
    }
}

/// What each row of `q` makes of `k` and `v`; none where no kernel can say.
///
/// # Shapes
/// `q` `[rows, query · dim]`, rotated and scaled, `k`, `v` `[rows, key_value · dim]` → as `q`.
///
/// # Errors
/// Shapes that disagree.
#[cfg_attr(not(feature = "cuda"), allow(unused_variables))]
pub fn attend(
    places: &Places,
    heads: Heads,
    (q, k, v): (&Tensor, &Tensor, &Tensor),
) -> Result<Option<Tensor>> {
    #[cfg(feature = "cuda")]
    if let Some(places) = &places.places {
        return kernels::attend(places, heads, (q, k, v)).map(Some);
    }
    Ok(None)
}

/// Gradients of `q`, `k` and `v`; none where no kernel can say.
///
/// # Shapes
/// `dy` as `q`; the others as in [`attend`].
///
/// # Errors
/// Shapes that disagree.
#[cfg_attr(not(feature = "cuda"), allow(unused_variables))]
pub fn attend_backward(
    places: &Places,
    heads: Heads,
    dy: &Tensor,
    (q, k, v): (&Tensor, &Tensor, &Tensor),
) -> Result<Option<[Tensor; 3]>> {
    #[cfg(feature = "cuda")]
    if let Some(places) = &places.places {
        return kernels::attend_backward(places, heads, dy, (q, k, v)).map(Some);
    }
    Ok(None)
}

#[cfg(feature = "cuda")]
mod kernels {
    use super::{Fused, Grid, Heads, Result, Tensor};
    use candle_core::DType;

    /// Kernels by how many numbers of a head a lane holds.
    struct Named {
        forward: &'static str,
        queries: &'static str,
        keys: &'static str,
    }

    fn named(width: usize) -> Named {
        let of = |forward, queries, keys| Named { forward, queries, keys };
        match width.div_ceil(32) {
            0 | 1 => of("attention_1", "attention_queries_1", "attention_keys_1"),
            2 => of("attention_2", "attention_queries_2", "attention_keys_2"),
            3 | 4 => of("attention_4", "attention_queries_4", "attention_keys_4"),
            _ => of("attention_8", "attention_queries_8", "attention_keys_8"),
        }
    }

    #[allow(clippy::cast_precision_loss)]
    fn number(count: usize) -> f32 {
        count as f32
    }

    pub(super) fn attend(
        places: &Tensor,
        heads: Heads,
        (q, k, v): (&Tensor, &Tensor, &Tensor),
    ) -> Result<Tensor> {
        let rows = q.dim(0)?;
        let window = heads.window.unwrap_or(0);
        let (wide, narrow) = (rows * heads.query * heads.dim, rows * heads.key_value * heads.dim);
        Fused::like(named(heads.dim).forward, q, heads.dim)
            .groups(heads.query)
            .grid(Grid::Warps(heads.dim as u64))
            .scalars([number(heads.key_value), number(window)])
            .run(&[(q, wide), (k, narrow), (v, narrow), (places, 2 * rows)])
    }

    pub(super) fn attend_backward(
        places: &Tensor,
        heads: Heads,
        dy: &Tensor,
        (q, k, v): (&Tensor, &Tensor, &Tensor),
    ) -> Result<[Tensor; 3]> {
        let (rows, width) = (q.dim(0)?, heads.key_value * heads.dim);
        let window = heads.window.unwrap_or(0);
        let (wide, narrow) = (rows * heads.query * heads.dim, rows * width);
        let sums = 2 * rows * heads.query;
        let of_queries = Fused::like(named(heads.dim).queries, q, heads.dim)
            .groups(heads.query)
            .grid(Grid::Warps(heads.dim as u64))
            .scalars([number(heads.key_value), number(window)])
            .out(wide + sums, DType::F32)
            .run(&[(dy, wide), (q, wide), (k, narrow), (v, narrow), (places, 2 * rows)])?;
        let of_keys = Fused::like(named(heads.dim).keys, k, heads.dim)
            .groups(heads.key_value)
            .grid(Grid::Warps(heads.dim as u64))
            .scalars([number(heads.query), number(window)])
            .out((2 * rows, width), DType::F32)
            .run(&[
                (dy, wide),
                (q, wide),
                (k, narrow),
                (v, narrow),
                (&of_queries, wide + sums),
                (places, 2 * rows),
            ])?;
        let dq = of_queries.narrow(0, 0, wide)?.reshape(q.shape())?;
        Ok([dq, of_keys.narrow(0, 0, rows)?, of_keys.narrow(0, rows, rows)?])
    }
}
