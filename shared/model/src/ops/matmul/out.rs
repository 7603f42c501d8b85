//! Where a product goes.

/// A part of C.
pub(super) enum Out<'a> {
    /// The rows from `first` on, each of `n` elements.
    Rows { c: &'a mut [f32], n: usize, first: usize },
    /// Of each row, the columns from `first` on.
    Columns { rows: Vec<&'a mut [f32]>, first: usize },
}

impl Out<'_> {
    /// `width` elements of row `row` from column `column`.
    #[inline(always)]
    pub(super) fn part(&mut self, row: usize, column: usize, width: usize) -> &mut [f32] {
        match self {
            Self::Rows { c, n, first } => &mut c[(row - *first) * *n + column..][..width],
            Self::Columns { rows, first } => &mut rows[row][column - *first..][..width],
        }
    }
}
