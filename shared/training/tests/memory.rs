//! What keeping only the inputs of layers saves, and what a long step in short forwards saves.

#![allow(clippy::unwrap_used, unsafe_code)]

mod common;

use common::recipe;
use seal_model::{Decoder, LoraSpec, Projection};
use seal_training::{InnerJob, InnerRecipe, TrainOptions, TrainSequence, inner_updates_with};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system's allocator, counting bytes in use and their largest number.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on unchanged; only counters are touched beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = IN_USE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that training needs beside what is there before it.
fn peak(decoder: &Decoder, recipe: &InnerRecipe, gradient_checkpointing: bool) -> usize {
    let tokens = |salt: u32| (0..64).map(|i| (i * 7 + salt) % 61).collect();
    let sequences = (0..8).map(|salt| TrainSequence::all(tokens(salt), 0)).collect();
    let jobs = [InnerJob { sequences, seed: 1, start: None }];
    let options = TrainOptions { gradient_checkpointing, saves: None };
    let run = || inner_updates_with(decoder, &jobs, recipe, &options, &mut |_, _| {}).unwrap();
    // Once without counting: thread-local buffers and packed weights stay.
    run();
    let before = IN_USE.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    run();
    MOST.load(Ordering::Relaxed) - before
}

#[test]
fn checkpointing_and_short_forwards_lower_the_peak() {
    let config =
        seal_model::DecoderConfig { num_hidden_layers: 8, ..common::decoder().config().clone() };
    let decoder = Decoder::init(&config, 7, &candle_core::Device::Cpu).unwrap();
    let lora = LoraSpec { targets: vec![Projection::Q, Projection::V], ..LoraSpec::all(4) };
    let plain = InnerRecipe { lora, steps: 2, ..recipe(None) };
    let short = InnerRecipe { max_tokens_per_forward: Some(64), ..plain.clone() };
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let [all, inputs, cut] = one_thread.install(|| {
        [peak(&decoder, &plain, false), peak(&decoder, &plain, true), peak(&decoder, &short, false)]
    });
    println!("everything {all} bytes, inputs of layers {inputs}, short forwards {cut}");
    assert!(inputs * 3 < all, "{inputs} of {all}");
    assert!(cut * 3 < all, "{cut} of {all}");
}
