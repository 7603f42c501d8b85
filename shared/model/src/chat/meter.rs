//! What one rendering may cost.
//!
//! **Invariant:** every string and list that a template makes is paid for before it is made, so a
//! hostile template ends in an error and not in a full memory. Time is bounded by the engine's fuel.

use minijinja::{Error, ErrorKind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Price of one element of a list or dict, in bytes.
pub(super) const ELEMENT: usize = 64;
/// Bytes that any rendering may make.
const BASE_BYTES: u64 = 16 << 20;
/// And so many for each byte of the conversation: a template copies a text a few times.
const BYTES_PER_BYTE: u64 = 32;
/// Engine instructions that any rendering may take.
const BASE_FUEL: u64 = 1_000_000;
/// And so many for each byte of the conversation.
const FUEL_PER_BYTE: u64 = 4;
/// Longest message of `raise_exception` that is kept, in characters.
const MAX_MESSAGE_CHARS: usize = 400;

/// The purse of one rendering.
#[derive(Debug)]
pub(super) struct Meter {
    left: AtomicU64,
    overdrawn: AtomicBool,
    raised: Mutex<Option<String>>,
}

impl Meter {
    /// For a conversation of `input` bytes.
    pub(super) fn new(input: usize) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicU64::new(BASE_BYTES + BYTES_PER_BYTE * input as u64),
            overdrawn: AtomicBool::new(false),
            raised: Mutex::new(None),
        })
    }

    /// Instructions for a conversation of `input` bytes.
    pub(super) fn fuel(input: usize) -> u64 {
        BASE_FUEL + FUEL_PER_BYTE * input as u64
    }

    /// Pays for `bytes`.
    pub(super) fn charge(&self, bytes: usize) -> Result<(), Error> {
        let pay = |left: u64| left.checked_sub(bytes as u64);
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay) {
            Ok(_) => Ok(()),
            Err(_) => {
                self.overdrawn.store(true, Ordering::Relaxed);
                Err(failed("the template makes too much"))
            }
        }
    }

    /// Pays for `count` elements of a list or dict.
    pub(super) fn charge_elements(&self, count: usize) -> Result<(), Error> {
        self.charge(count.saturating_mul(ELEMENT))
    }

    /// Whether something could not be paid.
    pub(super) fn is_overdrawn(&self) -> bool {
        self.overdrawn.load(Ordering::Relaxed)
    }

    /// The template's own refusal.
    pub(super) fn raise(&self, message: &str) -> Error {
        let message = message.chars().take(MAX_MESSAGE_CHARS).collect();
        *self.raised.lock().unwrap_or_else(PoisonError::into_inner) = Some(message);
        failed("raise_exception")
    }

    /// What the template refused with.
    pub(super) fn raised(&self) -> Option<String> {
        self.raised.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// An error of the template's own operation.
pub(super) fn failed(problem: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, problem)
}
