//! The same bytes alone and in a batch, on any number of threads, in any minibatch.

#![allow(clippy::unwrap_used)]

mod common;

use common::{decoder, flats, job, on_threads, recipe};
use seal_model::{Adapter, BaseModel, LoraInit, LoraSpec, Products, Projection};
use seal_training::{
    End, InnerJob, InnerRecipe, OptimRecipe, TrainError, TrainSequence, fine_tune, inner_updates,
};

#[test]
fn eight_candidates_together_equal_each_alone_bit_for_bit() {
    let jobs: Vec<InnerJob> = (0..8).map(job).collect();
    let products = [Products::F32, Products::Bf16x3];
    let decoders = products.map(|products| decoder().computing(products));
    let each = |decoder| [recipe(None), recipe(Some(2))].map(|recipe| (decoder, recipe));
    for (decoder, recipe) in decoders.each_ref().map(each).into_iter().flatten() {
        let together = flats(decoder, &jobs, &recipe);
        let alone: Vec<Vec<f32>> =
            jobs.iter().flat_map(|j| flats(decoder, std::slice::from_ref(j), &recipe)).collect();
        let pairs = together.iter().flatten().zip(alone.iter().flatten());
        let worst = pairs.fold(0f32, |worst, (a, b)| worst.max((a - b).abs()));
        println!("largest difference of together and alone: {worst}");
        assert_eq!(worst, 0.0);
        assert_eq!(together, alone);
    }
}

#[test]
fn one_two_and_three_threads_train_the_same_bytes() {
    let decoder = decoder();
    let jobs: Vec<InnerJob> = (0..20).map(job).collect();
    let runs = [Products::F32, Products::Bf16x3].map(|products| {
        let decoder = decoder.computing(products);
        [1, 2, 3].map(|n| on_threads(n, || flats(&decoder, &jobs, &recipe(None))))
    });
    for runs in &runs {
        assert!(runs[0] == runs[1] && runs[0] == runs[2]);
    }
    assert!(runs[0] != runs[1], "other products are another arithmetic");
    let full = |n| {
        on_threads(n, || {
            let mut batch = |step| (0..60).flat_map(|i| job(i + step).sequences).collect();
            let (tuned, losses) =
                fine_tune(&decoder, &mut batch, &OptimRecipe::default(), 2, &mut |_, _| {})
                    .unwrap();
            (tuned.flat().unwrap(), losses)
        })
    };
    let (one, two, three) = (full(1), full(2), full(3));
    assert!(one == two && one == three);
}

#[test]
fn training_lowers_the_loss_and_a_later_run_can_continue() {
    let optim = OptimRecipe { learning_rate: 1e-2, ..OptimRecipe::default() };
    let mut world = |step| job(step % 8 + 2).sequences;
    let (decoder, _) = fine_tune(&decoder(), &mut world, &optim, 40, &mut |_, _| {}).unwrap();
    let recipe = InnerRecipe { steps: 30, learning_rate: 2e-2, ..recipe(None) };
    let update = |job| {
        let outcomes = inner_updates(&decoder, &[job], &recipe, &mut |_, _| {});
        outcomes.unwrap().remove(0).unwrap()
    };
    let first = update(job(1));
    assert!(first.losses[29] < 0.8 * first.losses[0], "{:?}", first.losses);
    let next = InnerJob { start: Some(first.adapter), ..job(1) };
    let second = update(next);
    assert!(second.losses[0] < first.losses[29] * 1.05, "{:?}", second.losses);
}

#[test]
fn an_adapter_read_from_disk_continues_as_the_one_in_memory() {
    let (decoder, dir) = (decoder(), tempfile::tempdir().unwrap());
    let gaussian = LoraSpec { init: LoraInit::Gaussian, ..LoraSpec::all(4) };
    let kept = Adapter::init(decoder.config(), &gaussian, 3).unwrap();
    let base = BaseModel { name: "base", revision: None, digest: &[0; 32] };
    kept.save_peft(dir.path(), base).unwrap();
    let read = Adapter::load_peft(dir.path(), decoder.config()).unwrap();
    let jobs = [kept, read].map(|start| InnerJob { start: Some(start), ..job(1) });
    let trained = flats(&decoder, &jobs, &recipe(None));
    assert_eq!(trained[0], trained[1]);
    let backwards =
        LoraSpec { targets: Projection::ALL.into_iter().rev().collect(), ..LoraSpec::all(4) };
    let recipe = InnerRecipe { lora: backwards, ..recipe(None) };
    assert_eq!(flats(&decoder, &jobs, &recipe), trained);
}

#[test]
fn an_adapter_of_another_shape_is_not_continued() {
    let decoder = decoder();
    let continued = |spec: LoraSpec| {
        let start = Some(Adapter::init(decoder.config(), &spec, 3).unwrap());
        let jobs = [InnerJob { start, ..job(1) }];
        inner_updates(&decoder, &jobs, &recipe(None), &mut |_, _| {})
    };
    for other in [
        LoraSpec::all(2),
        LoraSpec { alpha: 1.0, ..LoraSpec::all(4) },
        LoraSpec { targets: vec![Projection::Q], ..LoraSpec::all(4) },
    ] {
        let error = continued(other).unwrap_err();
        assert!(matches!(error, TrainError::Recipe { field: "lora", .. }), "{error}");
    }
}

#[test]
fn full_fine_tuning_learns_a_sequence_by_heart() {
    let recipe = OptimRecipe { learning_rate: 1e-2, clip: Some(1.0), ..OptimRecipe::default() };
    let mut batch = |_| job(3).sequences;
    let (_, losses) = fine_tune(&decoder(), &mut batch, &recipe, 60, &mut |_, _| {}).unwrap();
    assert!(losses[59] < 0.2 * losses[0], "{losses:?}");
}

#[test]
fn progress_ends_at_all_steps_of_all_jobs() {
    let mut heard = Vec::new();
    let jobs = [job(1), job(2)];
    inner_updates(&decoder(), &jobs, &recipe(None), &mut |done, total| heard.push((done, total)))
        .unwrap();
    assert_eq!(heard.last(), Some(&(10, 10)));
}

#[test]
fn sequences_that_cannot_be_trained_are_refused_by_place() {
    let decoder = decoder();
    let refuse = |sequence: TrainSequence| {
        let jobs = [job(1), InnerJob { sequences: vec![sequence], seed: 0, start: None }];
        inner_updates(&decoder, &jobs, &recipe(None), &mut |_, _| {}).unwrap_err()
    };
    let bad_token = refuse(TrainSequence::all(vec![1, 61], 0));
    assert!(
        matches!(bad_token, TrainError::Sequence { candidate: 1, sequence: 0, .. }),
        "{bad_token}"
    );
    let one_token = refuse(TrainSequence::all(vec![1], 0));
    assert!(
        matches!(one_token, TrainError::Untrained { candidate: 1, sequence: 0 }),
        "{one_token}"
    );
    let masked =
        TrainSequence { weights: vec![1.0, 1.0, 0.0], ..TrainSequence::all(vec![1, 2, 3], 0) };
    let endless = refuse(masked.clone());
    assert!(
        matches!(endless, TrainError::EndUnlearned { candidate: 1, sequence: 0, token: 3 }),
        "{endless}"
    );
    let jobs =
        [InnerJob { sequences: vec![TrainSequence { end: End::Truncated, ..masked }], ..job(1) }];
    assert!(inner_updates(&decoder, &jobs, &recipe(None), &mut |_, _| {}).is_ok());
    let none = [InnerJob { sequences: vec![], ..job(1) }];
    let none = inner_updates(&decoder, &none, &recipe(None), &mut |_, _| {}).unwrap_err();
    assert!(matches!(none, TrainError::NothingToTrain { candidate: 0 }), "{none}");
    let too_long = refuse(TrainSequence::all(vec![1; 65], 0));
    assert!(too_long.to_string().contains("64 positions"), "{too_long}");
    let weights =
        TrainSequence { weights: vec![1.0, f32::NAN], ..TrainSequence::all(vec![1, 2], 0) };
    assert!(refuse(weights).to_string().contains("not finite"));
}
