//! A killed run goes on from its last save and ends at the same bytes.

#![allow(clippy::unwrap_used)]

mod common;

use common::{decoder, flats, job, recipe};
use seal_model::LoraSpec;
use seal_training::{
    InnerJob, InnerRecipe, OptimRecipe, SaveError, Saves, TrainOptions, fine_tune, fine_tune_with,
    inner_updates_with,
};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Mutex;

/// What a run with saves gave and told.
struct Run {
    flats: Vec<Vec<f32>>,
    losses: Vec<Vec<f32>>,
    progress: Vec<u64>,
    unusable: Vec<String>,
}

fn run(jobs: &[InnerJob], recipe: &InnerRecipe, every: u64, files: &[PathBuf]) -> Run {
    let told = Mutex::new(Vec::new());
    let unusable = |error: &SaveError| told.lock().unwrap().push(error.to_string());
    let saves = Saves {
        every_steps: NonZeroU64::new(every).unwrap(),
        identity: b"base",
        files,
        unusable: &unusable,
    };
    let options = TrainOptions { saves: Some(saves), ..TrainOptions::default() };
    let mut progress = Vec::new();
    let outcomes =
        inner_updates_with(&decoder(), jobs, recipe, &options, &mut |done, _| progress.push(done))
            .unwrap();
    let trained: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
    Run {
        flats: trained.iter().map(|one| one.adapter.flat().unwrap()).collect(),
        losses: trained.into_iter().map(|one| one.losses).collect(),
        progress,
        unusable: told.into_inner().unwrap(),
    }
}

fn recipes() -> [InnerRecipe; 3] {
    let lora = LoraSpec { dropout: 0.2, ..LoraSpec::all(4) };
    [recipe(None), recipe(Some(2)), InnerRecipe { lora, ..recipe(Some(3)) }]
}

#[test]
fn a_resumed_adapter_equals_one_trained_in_one_go() {
    let folder = tempfile::tempdir().unwrap();
    for (number, recipe) in recipes().into_iter().enumerate() {
        for every in [1, 2, 3] {
            let files = [folder.path().join(format!("{number}-{every}"))];
            let first = run(&[job(1)], &recipe, every, &files);
            assert_eq!(first.progress, [1, 2, 3, 4, 5]);
            // The file is still there, as after a kill behind the last save.
            let resumed = run(&[job(1)], &recipe, every, &files);
            let saved = 4 / every * every;
            assert_eq!(resumed.progress, (saved..=5).collect::<Vec<_>>(), "every {every}");
            assert!(resumed.flats == first.flats && resumed.losses == first.losses);
            assert!(resumed.flats == flats(&decoder(), &[job(1)], &recipe));
        }
    }
    let kept: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(kept.len(), 9, "nothing half-written is left");
}

#[test]
fn candidates_that_are_not_as_far_as_each_other_resume_together() {
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<PathBuf> = (0..3).map(|n| folder.path().join(n.to_string())).collect();
    let jobs = [job(1), job(2), job(3)];
    run(&jobs[..1], &recipe(Some(2)), 2, &files[..1]);
    run(&jobs[2..], &recipe(Some(2)), 3, &files[2..]);
    let resumed = run(&jobs, &recipe(Some(2)), 100, &files);
    assert!(resumed.flats == flats(&decoder(), &jobs, &recipe(Some(2))));
    assert_eq!(resumed.progress.last(), Some(&15));
}

#[test]
fn a_save_of_another_run_or_with_a_flipped_bit_is_named_and_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let files = [folder.path().join("run")];
    let save = || run(&[job(1)], &recipe(None), 2, &files);
    let right = save();

    let damaged = {
        let mut bytes = std::fs::read(&files[0]).unwrap();
        let at = bytes.len() - 100;
        bytes[at] ^= 1;
        std::fs::write(&files[0], bytes).unwrap();
        save()
    };
    assert!(damaged.unusable[0].contains("digest"), "{:?}", damaged.unusable);
    assert_eq!(damaged.progress[0], 1, "it began anew");
    assert!(damaged.flats == right.flats);

    let longer = InnerRecipe { learning_rate: 2e-2, ..recipe(None) };
    let seed = InnerJob { seed: 9, ..job(1) };
    let mut fewer = job(1);
    fewer.sequences.pop();
    for (jobs, recipe) in [([job(1)], longer), ([seed], recipe(None)), ([fewer], recipe(None))] {
        save();
        let other = run(&jobs, &recipe, 100, &files);
        assert!(other.unusable[0].contains("another base, recipe"), "{:?}", other.unusable);
        assert!(other.flats == flats(&decoder(), &jobs, &recipe));
    }
}

#[test]
fn resumed_full_fine_tuning_equals_one_in_one_go() {
    let folder = tempfile::tempdir().unwrap();
    let files = [folder.path().join("policy")];
    let recipe = OptimRecipe { weight_decay: 0.1, clip: Some(1.0), ..OptimRecipe::default() };
    let saves = Saves {
        every_steps: NonZeroU64::new(3).unwrap(),
        identity: b"base and data",
        files: &files,
        unusable: &|error| panic!("{error}"),
    };
    let options = TrainOptions { saves: Some(saves), ..TrainOptions::default() };
    let tune = |options: &TrainOptions<'_>| {
        let mut drawn = 0;
        let mut steps = Vec::new();
        let mut batch = |_| {
            // What a step reads depends on the steps before it, as with a generator.
            drawn += 1;
            job(drawn).sequences
        };
        let mut told = |done, _| steps.push(done);
        let (tuned, losses) =
            fine_tune_with(&decoder(), &mut batch, &recipe, 8, options, &mut told).unwrap();
        (tuned.flat().unwrap(), losses, steps)
    };
    let first = tune(&options);
    let resumed = tune(&options);
    assert_eq!(resumed.2, [7, 8], "it went on from step 6");
    assert!((&first.0, &first.1) == (&resumed.0, &resumed.1));
    let mut drawn = 0;
    let mut batch = |_| {
        drawn += 1;
        job(drawn).sequences
    };
    let (plain, losses) = fine_tune(&decoder(), &mut batch, &recipe, 8, &mut |_, _| {}).unwrap();
    assert!(plain.flat().unwrap() == first.0 && losses == first.1);
}
