//! Ragged batches: the tokens of many sequences side by side, without padding.

use crate::ops::dropout::Dropout;

/// Rows `start..start+len` of a batch are one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First row.
    pub start: usize,
    /// Number of rows.
    pub len: usize,
}

/// Rows `start..start+len` of a batch are computed with one adapter, or with none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First row.
    pub start: usize,
    /// Number of rows.
    pub len: usize,
    /// Index into the adapters given to the forward.
    pub adapter: Option<usize>,
}

/// The input of one forward: `tokens.len()` rows.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Token of each row.
    pub tokens: Vec<u32>,
    /// Position of each row in its sequence.
    pub positions: Vec<u32>,
    /// The sequences, in row order, covering every row.
    pub spans: Vec<Span>,
    /// The adapters, in row order, covering every row; neighbours with the same adapter merged.
    pub segments: Vec<Segment>,
    /// By adapter: what training leaves out in this forward; empty: nothing.
    pub dropouts: Vec<Dropout>,
}

impl Batch {
    /// Appends a sequence and returns its span.
    #[allow(clippy::cast_possible_truncation)]
    pub fn push(&mut self, tokens: &[u32], adapter: Option<usize>) -> Span {
        let span = Span { start: self.rows(), len: tokens.len() };
        self.tokens.extend_from_slice(tokens);
        self.positions.extend(0..tokens.len() as u32);
        self.spans.push(span);
        self.extend_segment(span, adapter);
        span
    }

    /// Appends `tokens` from `position` on of a sequence whose past is remembered.
    #[allow(clippy::cast_possible_truncation)]
    pub(crate) fn push_from(&mut self, tokens: &[u32], position: u32, adapter: Option<usize>) {
        let span = self.push(tokens, adapter);
        self.positions.truncate(span.start);
        self.positions.extend(position..position + span.len as u32);
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.tokens.len()
    }

    fn extend_segment(&mut self, span: Span, adapter: Option<usize>) {
        match self.segments.last_mut() {
            Some(last) if last.adapter == adapter => last.len += span.len,
            _ => self.segments.push(Segment { start: span.start, len: span.len, adapter }),
        }
    }
}
