//! What a text may go on with, decided from outside.
//!
//! The core knows only this trait; grammars are behind the feature `grammar`.

use crate::error::Result;

/// A set of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenMask {
    words: Vec<u32>,
    len: usize,
}

impl TokenMask {
    /// All tokens of a vocabulary of `len`.
    #[must_use]
    pub fn all(len: usize) -> Self {
        Self { words: vec![u32::MAX; len.div_ceil(32)], len }
    }

    /// No token of a vocabulary of `len`.
    #[must_use]
    pub fn none(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(32)], len }
    }

    /// A set from its bits: token `t` is bit `t % 32` of word `t / 32`. Words that are missing are
    /// empty.
    #[must_use]
    pub fn from_words(words: &[u32], len: usize) -> Self {
        let mut mask = Self::none(len);
        mask.words.iter_mut().zip(words).for_each(|(mine, &word)| *mine = word);
        mask
    }

    /// Adds a token; one outside the vocabulary is left out.
    pub fn allow(&mut self, token: u32) {
        if (token as usize) < self.len {
            self.words[token as usize / 32] |= 1 << (token % 32);
        }
    }

    /// True if the set has no token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        // Bits beyond the vocabulary do not count.
        !(0..self.words.len()).any(|at| self.words[at] & self.valid(at) != 0)
    }

    fn valid(&self, word: usize) -> u32 {
        match self.len - word * 32 {
            32.. => u32::MAX,
            rest => (1 << rest) - 1,
        }
    }

    /// The only token of the set, if it has one only.
    #[must_use]
    pub fn only(&self) -> Option<u32> {
        let mut words = (0..self.words.len()).map(|at| (at, self.words[at] & self.valid(at)));
        let (at, word) = words.find(|&(_, word)| word != 0)?;
        let alone = word.is_power_of_two() && words.all(|(_, word)| word == 0);
        u32::try_from(at * 32).ok().filter(|_| alone).map(|first| first + word.trailing_zeros())
    }

    /// True if the set has `token`.
    #[must_use]
    pub fn allows(&self, token: u32) -> bool {
        (token as usize) < self.len && self.words[token as usize / 32] >> (token % 32) & 1 == 1
    }

    /// Makes every token outside the set impossible.
    pub(super) fn apply(&self, logits: &mut [f32]) {
        for (logits, &word) in logits.chunks_mut(32).zip(&self.words) {
            if word == u32::MAX {
                continue;
            }
            for (bit, logit) in logits.iter_mut().enumerate() {
                if word >> bit & 1 == 0 {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
    }
}

/// Decides, token by token, what one text may go on with.
///
/// It must be a function of the tokens it accepted, else a text is no longer fixed by its request.
pub trait TokenConstraint: Send {
    /// The tokens that may come next. An end token in the set lets the model end the text.
    ///
    /// # Errors
    /// A limit of the constraint, or a text it cannot go on with.
    fn allowed(&mut self) -> Result<TokenMask>;

    /// Goes on past `token`, which was chosen among the allowed ones and does not end the text.
    ///
    /// # Errors
    /// A limit of the constraint.
    fn accept(&mut self, token: u32) -> Result<()>;

    /// True if the text is whole and nothing more may come.
    fn is_done(&mut self) -> bool;

    /// The only tokens that can come next, if there is no choice; they are written without asking
    /// the model. [`accept`](Self::accept) is still called for each.
    fn forced(&mut self) -> Vec<u32> {
        Vec::new()
    }
}
