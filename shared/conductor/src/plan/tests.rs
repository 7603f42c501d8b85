#![allow(clippy::unwrap_used)]

use std::collections::HashSet;

use super::*;

fn settings() -> RunSettings {
    RunSettings {
        version: 1,
        seed: 0,
        mode: Mode::SinglePassage,
        rounds: 2,
        proposals_per_context: 3,
        temperature: 1.0,
        contexts_per_job: 2,
        evaluate: true,
        fixed_plan: vec!["plan_mixed".into()],
        length_control_proposals: 4,
        consolidate: true,
    }
}

fn contexts() -> Vec<ContextRef> {
    let context = |n: u8, usage| ContextRef {
        id: format!("c{n}"),
        digest: Digest::from_bytes([n; 32]),
        usage,
    };
    vec![
        context(0, ContextUse::Round(1)),
        context(1, ContextUse::Round(1)),
        context(2, ContextUse::Round(1)),
        context(3, ContextUse::Round(2)),
        context(4, ContextUse::Evaluation),
        context(5, ContextUse::Intake),
    ]
}

#[test]
fn every_task_comes_after_what_it_needs_and_has_its_own_name() {
    let mut seen = HashSet::new();
    for task in plan(&settings(), &contexts()) {
        assert!(task.needs.iter().all(|need| seen.contains(need)), "{}", task.id);
        assert!(seen.insert(task.id.clone()), "{} twice", task.id);
    }
}

#[test]
fn no_held_out_context_feeds_a_policy_or_an_adapter() {
    let held_out = Digest::from_bytes([4; 32]);
    for task in plan(&settings(), &contexts()) {
        if let Work::InnerUpdate { contexts, purpose, .. } = task.work {
            assert_eq!(contexts.contains(&held_out), purpose == AuditPurpose::Evaluation);
        }
    }
}

#[test]
fn a_round_learns_from_its_own_contexts_and_its_own_verdicts() {
    let tasks = plan(&settings(), &contexts());
    let update =
        |name: &str| tasks.iter().find(|task| task.id.0 == name).map(|task| task.needs.clone());
    let first = update("round-1/policy-update").expect("planned");
    assert_eq!(
        first.iter().map(|id| id.0.as_str()).collect::<Vec<_>>(),
        ["round-1/audit-000", "round-1/audit-001"]
    );
    assert_eq!(
        update("round-2/policy-update").expect("planned"),
        [TaskId("round-2/audit-000".into()), TaskId("round-1/policy-update".into())]
    );
}

#[test]
fn a_round_without_a_context_is_refused_and_contexts_of_later_rounds_are_counted() {
    let of_rounds = |rounds| RunSettings { rounds, ..settings() };
    assert_eq!(of_rounds(2).check_contexts(&contexts()), Ok(()));
    let refused = of_rounds(3).check_contexts(&contexts()).unwrap_err().to_string();
    assert!(refused.contains("round 3") && refused.contains("`rounds` is 3"), "{refused}");
    let gap = [ContextRef { usage: ContextUse::Round(2), ..contexts().remove(0) }];
    assert!(of_rounds(2).check_contexts(&gap).unwrap_err().to_string().contains("round 1"));
    assert_eq!([0, 1, 2].map(|rounds| of_rounds(rounds).left_over(&contexts())), [4, 1, 0]);
}

fn in_mode(mode: Mode) -> RunSettings {
    let fixed_plan = Vec::new();
    let consolidate = mode != Mode::ContinuedPretraining;
    let settings = settings();
    RunSettings { mode, fixed_plan, length_control_proposals: 0, consolidate, ..settings }
}

#[test]
fn in_every_mode_tasks_come_after_their_needs_and_settings_that_fit_pass() {
    for mode in [Mode::SinglePassage, Mode::ContinuedPretraining, Mode::Continual] {
        let settings = in_mode(mode);
        assert_eq!(settings.check(), Ok(()));
        let mut seen = HashSet::new();
        for task in plan(&settings, &contexts()) {
            assert!(task.needs.iter().all(|need| seen.contains(need)), "{}", task.id);
            assert!(seen.insert(task.id.clone()), "{} twice", task.id);
        }
    }
    let controls = RunSettings { mode: Mode::Continual, ..settings() };
    assert!(controls.check().unwrap_err().to_string().contains("`mode`"));
    let serving = RunSettings { consolidate: true, ..in_mode(Mode::ContinuedPretraining) };
    assert!(serving.check().unwrap_err().to_string().contains("`consolidate`"));
}

#[test]
fn what_nobody_selected_is_measured_and_nothing_else() {
    for task in plan(&in_mode(Mode::ContinuedPretraining), &contexts()) {
        match task.work {
            Work::InnerUpdate { purpose, together, .. } => {
                assert!(together && purpose == AuditPurpose::Evaluation, "{}", task.id);
            }
            Work::Propose { .. } | Work::Audit { .. } => {}
            other => panic!("{}: {other:?}", task.id),
        }
    }
}

#[test]
fn each_step_of_a_sequence_stands_on_all_before_it_and_on_no_other_sequence() {
    let tasks = plan(&in_mode(Mode::Continual), &contexts());
    let steps: Vec<(&str, Vec<&str>)> = tasks
        .iter()
        .filter_map(|task| match &task.work {
            Work::Extend { after, .. } => {
                let after = after.iter().map(|id| id.0.as_str()).collect();
                Some((task.id.0.as_str(), after))
            }
            _ => None,
        })
        .collect();
    let [first, second, third] =
        ["sequence-1/step-000", "sequence-1/step-001", "sequence-1/step-002"];
    assert_eq!(
        steps,
        [
            (first, vec![]),
            (second, vec![first]),
            (third, vec![first, second]),
            ("sequence-2/step-000", vec![]),
        ]
    );
    assert!(!tasks.iter().any(|task| matches!(task.work, Work::PolicyUpdate { .. })));
}

#[test]
fn settings_without_a_mode_read_and_write_as_before_there_were_any() {
    let text = serde_json::to_string(&settings()).unwrap();
    assert!(!text.contains("mode"), "{text}");
    assert_eq!(serde_json::from_str::<RunSettings>(&text).unwrap(), settings());
}
