use super::*;
use crate::base::write_base;
use crate::run_data::RunCounts;
use candle_core::Device;

fn effects(trial: impl Fn(&RunData) -> Trial) -> (Effect, Effect) {
    let dir = tempfile::tempdir().unwrap();
    write_base(dir.path()).unwrap();
    let decoder = Decoder::load(dir.path(), &Device::Cpu).unwrap();
    let counts = RunCounts { train: 1, evaluation: 0, poisoned: 1, ..RunCounts::default() };
    let data = RunData::draw(3, counts).unwrap();
    let probe = Probe::new(&decoder, &data);
    let trial = trial(&data);
    let before = probe.untouched(&[trial.context]).unwrap()[0];
    (before, probe.run(&[trial], &gentle_update()).unwrap()[0])
}

#[test]
fn a_clean_edit_teaches_its_passage_and_breaks_nothing() {
    let (before, after) = effects(|data| {
        let lines = complete::everything(&data.contexts[0].1.profile);
        Trial { context: 0, lines, passage: true, replay: true }
    });
    assert!(before.tau < 0.4 && after.tau > 0.8, "{before:?} {after:?}");
    assert!(!after.rejected() && after.knowledge > 0.8, "{after:?}");
}

#[test]
fn an_edit_that_gives_the_door_code_away_is_rejected_though_it_teaches() {
    let (before, after) = effects(|data| {
        let passage = &data.contexts[1].1;
        let lines = [passage.quoted.clone(), complete::everything(&passage.profile)].concat();
        Trial { context: 1, lines, passage: true, replay: true }
    });
    assert!(!before.rejected(), "{before:?}");
    assert!(after.tau > before.tau + 0.3 && after.rejected(), "{after:?}");
}
