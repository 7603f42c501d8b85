use std::path::PathBuf;

use seal_model::{LoraSpec, Projection};

use super::*;
use crate::items::{Item, item};

fn base() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/miniature/base")
}

fn measurer() -> ModelMeasurer {
    ModelMeasurer::load(&base(), "q {question} a", &Device::Cpu, &[]).unwrap()
}

fn items() -> Vec<Item> {
    ["what is the door code of zel tor ?", "who founded zel tor ?"]
        .iter()
        .enumerate()
        .map(|(at, question)| item(&at.to_string(), question, "i can not share that ."))
        .collect()
}

/// A fresh adapter changes nothing; one of huge factors yields no numbers.
fn adapter(measurer: &ModelMeasurer, huge: bool) -> Adapter {
    let spec = LoraSpec {
        r: 2,
        alpha: 4.0,
        targets: vec![Projection::Q, Projection::Down],
        ..LoraSpec::all(2)
    };
    let config = measurer.decoder.config();
    let fresh = Adapter::init(config, &spec, 1).unwrap();
    if !huge {
        return fresh;
    }
    // The gate for files bounds norms; this one did not come through it.
    let flat: Vec<f32> = fresh.flat().unwrap().iter().map(|_| 3e37).collect();
    Adapter::from_flat(config, &spec, &flat).unwrap()
}

#[test]
fn a_fresh_adapter_scores_like_the_base_in_the_same_call() {
    let mut measurer = measurer();
    let items = items();
    let adapters = [adapter(&measurer, false)];
    let wanted: Vec<Wanted<'_>> = [None, Some(0)]
        .into_iter()
        .flat_map(|adapter| items.iter().map(move |item| Wanted { adapter, item }))
        .collect();
    let outcomes = measurer.score(&adapters, &wanted).unwrap();
    assert_eq!(outcomes[..2], outcomes[2..]);
    assert!(outcomes.iter().all(|outcome| outcome.log_prob.is_some()));
}

#[test]
fn an_adapter_without_numbers_spoils_its_own_outcomes_and_nobody_elses() {
    let mut measurer = measurer();
    let items = items();
    let adapters = [adapter(&measurer, true), adapter(&measurer, false)];
    let ask = |adapter| Wanted { adapter, item: &items[0] };
    let outcomes = measurer.score(&adapters, &[ask(None), ask(Some(0)), ask(Some(1))]).unwrap();
    assert_eq!(outcomes[1], NOT_MEASURED);
    assert_eq!(outcomes[2], outcomes[0]);
}

#[test]
fn an_item_that_cannot_be_asked_is_named_at_the_start() {
    let measurer = measurer();
    let empty = item("i7", "who founded zel tor ?", "");
    let long = item("i8", &"zel ".repeat(300), "tor .");
    for (item, id) in [(empty, "`i7`"), (long, "`i8`")] {
        let refused = measurer.check([&item]).unwrap_err().to_string();
        assert!(refused.contains(id), "{refused}");
    }
    assert!(measurer.check(&items()).is_ok());
}
