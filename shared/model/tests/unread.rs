//! A model that does not fit is refused by its headers: none of its weights is read, not even hashed.

#![allow(clippy::unwrap_used)]

mod counting;
mod huge;

use std::fs;
use std::time::{Duration, Instant};

use candle_core::Device;
use counting::{Counting, most_held};
use seal_model::fit::Work;
use seal_model::{Decoder, LoraSpec, ModelError, ModelFolder};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MOST_BYTES: usize = 64 << 20;
const LONGEST: Duration = Duration::from_secs(1);

/// Bytes that this process has asked the system to read so far, from the disk or not.
fn bytes_read() -> u64 {
    let counters = fs::read_to_string("/proc/self/io").unwrap();
    let line = counters.lines().find_map(|line| line.strip_prefix("rchar: "));
    line.unwrap().parse().unwrap()
}

/// One test, so that nothing else reads and allocates meanwhile.
#[test]
fn a_model_that_fits_nowhere_is_refused_before_a_weight_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = huge::write(folder.path());
    // It is a sound folder: only its size is in the way.
    let stored: u64 = ModelFolder::open(folder.path()).unwrap().stored_bytes().values().sum();
    assert!(stored > 400 << 30 && bytes > stored, "{stored} of {bytes}");
    let lora = LoraSpec::all(8);
    let works = [
        Work::InnerUpdate {
            candidates: 1,
            step_tokens: 16,
            lora: lora.clone(),
            checkpointing: true,
        },
        Work::FineTune { step_tokens: 16, checkpointing: true },
        Work::Serve { texts: 1, tokens: 16 },
        Work::Score { tokens: 16, adapters: 1, lora },
    ];
    for work in works {
        let (before, begun) = (bytes_read(), Instant::now());
        let (loaded, held) = most_held(|| {
            Decoder::load_for(folder.path(), &Device::Cpu, std::slice::from_ref(&work))
        });
        let (read, took) = (bytes_read() - before, begun.elapsed());
        let error = loaded.map(drop).unwrap_err();
        println!("{took:?}, {held} bytes held, {read} read: {error}");
        assert!(matches!(&error, ModelError::DoesNotFit(misfit) if misfit.work == work), "{error}");
        let told = error.to_string();
        let place = format!("`{}` does not fit", folder.path().display());
        assert!(told.contains(&place) && told.contains("take a smaller model"), "{told}");
        assert!(read < 1 << 20, "{read} bytes read: more than config, header and figures");
        assert!(held < MOST_BYTES && took < LONGEST, "{held} bytes, {took:?}");
    }
}
