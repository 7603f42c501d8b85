//! A build without the feature `recompute`: it trains nothing, and refuses to be asked.
#![cfg_attr(feature = "recompute", allow(dead_code))]

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use seal_model::fit::Work;
use seal_model::{Adapter, Decoder, Tokenizer};
use seal_protocol::Digest;

use super::{Claim, Lesson, MeasuredBase, Recomputed, Share};
use crate::measure::MeasureError;

/// Tables that this build could make no use of: there are none.
#[derive(Clone, Debug)]
pub(crate) enum Tables {}

impl Tables {
    /// Refuses.
    ///
    /// # Errors
    /// Always, with the mend.
    pub(crate) fn load(_: &Path) -> Result<Self> {
        bail!(
            "`recompute` or [gate.repeats] asks for adapters to be trained again, and this program was built without \
             that; build it with `cargo build --release -p seal-auditor --features recompute`, start \
             `seal auditor` instead, or say recompute = \"never\" \
             and leave [gate.repeats] out"
        )
    }

    pub(crate) fn files(&self) -> Vec<PathBuf> {
        match *self {}
    }

    pub(crate) fn works(&self) -> Vec<Work> {
        match *self {}
    }
}

/// A trainer that cannot exist.
pub(crate) enum Trainer {}

impl Trainer {
    pub(crate) fn open(
        tables: Tables,
        _: (Share, Option<f64>),
        _: &Path,
        _: &Decoder,
        _: &Tokenizer,
    ) -> Result<Self> {
        match tables {}
    }

    pub(crate) fn digest(&self) -> Result<Digest> {
        match *self {}
    }

    pub(crate) fn train(
        &self,
        _: &MeasuredBase<'_>,
        _: &[Lesson<'_>],
    ) -> Result<Vec<Option<Adapter>>, MeasureError> {
        match *self {}
    }

    pub(crate) fn judge(
        &self,
        _: &MeasuredBase<'_>,
        _: &[Claim<'_, Adapter>],
    ) -> Result<Vec<Recomputed>, MeasureError> {
        match *self {}
    }
}
