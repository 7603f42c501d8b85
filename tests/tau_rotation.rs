//! New questions in the place of τ, from the command to the row: over the real programs and the miniature.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Run, seal, stderr, stdout};
use seal_auditor::offline;
use seal_auditor::vault::Tau;
use seal_protocol::{LedgerEvent, Role, Rotation};

const BAD_CONFIG: Option<i32> = Some(3);

fn vault(run: &Run) -> Vec<Tau> {
    let text = std::fs::read_to_string(run.path("auditor/tau.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Writes new questions beside the run and hands them to the command.
fn rotate(run: &Run, rows: &[Tau]) -> (Option<i32>, String) {
    let file = run.path("new.jsonl");
    write(&file, rows);
    let output = run.seal(&["--yes", "audit", "rotate", file.to_str().unwrap()]);
    (output.status.code(), stderr(&output) + &stdout(&output))
}

fn write(file: &std::path::Path, rows: &[Tau]) {
    let lines: Vec<String> = rows.iter().map(|row| serde_json::to_string(row).unwrap()).collect();
    std::fs::write(file, lines.join("\n")).unwrap();
}

fn rotations(run: &Run) -> Vec<Rotation> {
    let rows = offline::ledger(&run.path("auditor/state")).unwrap();
    let rotation = |row: seal_protocol::LedgerEntry| match row.event {
        LedgerEvent::Rotation(rotation) => Some(rotation),
        _ => None,
    };
    rows.into_iter().filter_map(rotation).collect()
}

/// The uses of τ that `seal audit tau` shows for a context.
fn uses(run: &Run, of: &Tau) -> Vec<offline::TauUse> {
    let output = run.seal(&["audit", "tau", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let rows = offline::tau_use(&run.path("auditor/state")).unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["tau"].as_array().unwrap().len(), rows.len());
    assert_eq!(shown["budget"], 64);
    rows.into_iter().filter(|one| one.context_digest == of.context_digest).collect()
}

#[tokio::test]
async fn tau_is_rotated_by_a_command_recorded_by_the_auditor_and_never_by_hand() {
    let run = Run::small(&["--contexts", "3", "--held-out", "0"]);
    run.complete();
    let before = vault(&run);
    let [one] = uses(&run, &before[0]).try_into().unwrap();
    assert_eq!((one.number, one.in_force, one.edits), (0, true, 1));

    // No level was kept for another τ.
    let (code, said) = rotate(&run, &before[..1]);
    assert_eq!(code, BAD_CONFIG, "{said}");
    assert!(said.contains("rotation_share"), "{said}");
    let config = std::fs::read_to_string(run.path("auditor.toml")).unwrap();
    assert!(config.contains("# rotation_share = 0.5"));
    let config = config.replacen("# rotation_share", "rotation_share", 1);
    std::fs::write(run.path("auditor.toml"), config).unwrap();

    // Old questions under new names refill nothing.
    let (code, said) = rotate(&run, &before[..1]);
    assert_eq!(code, BAD_CONFIG, "{said}");
    let mut renamed = before[0].clone();
    renamed.reward.iter_mut().for_each(|item| item.id.insert(0, 'x'));
    let (code, said) = rotate(&run, &[renamed]);
    assert_eq!(code, BAD_CONFIG, "{said}");
    assert!(said.contains("new questions"), "{said}");
    assert!(!said.contains(&before[0].reward[0].question), "no question leaves the vault: {said}");
    assert_eq!(vault(&run), before, "nothing was half-written");

    // Another context's questions are new to this one, and in the model's words.
    let other = before[1..].iter().find(|other| {
        let borrowed = Tau { protected: Vec::new(), ..(*other).clone() };
        let mut new = before[0].clone();
        (new.reward, new.confirmation) = (borrowed.reward, borrowed.confirmation);
        let (code, said) = rotate(&run, &[new]);
        assert!(code == Some(0) || said.contains("new questions"), "{said}");
        code == Some(0)
    });
    let after = vault(&run);
    assert_eq!(after[0].reward, other.expect("some context has other questions").reward);
    assert_eq!(after[0].earlier, [before[0].splits()]);
    assert_eq!((&after[0].protected, &after[1..]), (&before[0].protected, &before[1..]));
    assert_eq!(rotations(&run), [], "the auditor has not started yet");

    drop(run.daemon(Role::Auditor).await);
    let [rotation] = rotations(&run).try_into().unwrap();
    assert_eq!(
        (rotation.context_digest, rotation.before),
        (before[0].context_digest, one.tau.unwrap())
    );
    let verified = run.seal(&["verify", "--all"]);
    assert!(verified.status.success(), "{}", stderr(&verified));
    let now = uses(&run, &before[0]);
    assert_eq!((now.len(), now[1].tau, now[1].edits), (2, Some(rotation.after), 0));
    assert!(now[1].in_force && !now[0].in_force);

    // Thrown away by hand, what was asked is missed.
    let mut by_hand = after;
    by_hand[0].earlier.clear();
    write(&run.path("auditor/tau.jsonl"), &by_hand);
    let config = run.path("auditor.toml");
    let output = seal(&["auditor", "--config", config.to_str().unwrap()]);
    let said = stderr(&output) + &stdout(&output);
    assert_eq!(output.status.code(), BAD_CONFIG, "{said}");
    assert!(said.contains("seal audit rotate"), "{said}");
    assert_eq!(rotations(&run).len(), 1);
}
