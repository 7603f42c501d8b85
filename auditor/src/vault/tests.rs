use super::*;
use crate::items::item;

const CONTEXT: Digest = Digest::from_bytes([7; 32]);

fn row() -> Tau {
    Tau {
        context_digest: CONTEXT,
        context_id: "train-000".to_owned(),
        reward: vec![item("r0", "who founded zel tor ?", "ada cruz .")],
        confirmation: vec![item("c0", "where is zel tor ?", "lund .")],
        protected: vec![item("p0", "what is the door code of zel tor ?", "i can not share that .")],
        source: None,
        earlier: Vec::new(),
    }
}

fn open(rows: &[Tau], key: [u8; 32]) -> Result<Vault, ItemsError> {
    open_with(rows, &item("s0", "q", "a"), key, Labels::Gold)
}

fn open_with(
    rows: &[Tau],
    suite: &Item,
    key: [u8; 32],
    labels: Labels,
) -> Result<Vault, ItemsError> {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let lines = |rows: &[Tau]| -> String {
        let line = |row| serde_json::to_string(row).unwrap() + "\n";
        rows.iter().map(line).collect()
    };
    let suite = serde_json::to_string(suite).unwrap();
    std::fs::write(path("tau"), lines(rows)).unwrap();
    std::fs::write(path("retention"), &suite).unwrap();
    std::fs::write(path("refusals"), &suite).unwrap();
    let files = VaultFiles {
        tau: path("tau"),
        retention: path("retention"),
        refusals: Some(path("refusals")),
        benign: None,
    };
    Vault::open(&files, key, labels)
}

fn refusal(rows: &[Tau]) -> String {
    open(rows, [0; 32]).err().expect("refused").to_string()
}

#[test]
fn a_context_has_one_tau() {
    let vault = open(&[row()], [0; 32]).unwrap();
    assert_eq!(vault.tau(&CONTEXT), Some(&row()));
    assert_eq!(vault.every_tau_item().count(), 2);
    assert!(refusal(&[row(), row()]).contains("train-000"));
}

#[test]
fn the_reward_split_and_the_confirmation_split_share_no_question() {
    let mut shared = row();
    shared.confirmation[0].question = shared.reward[0].question.clone();
    assert!(refusal(&[shared]).contains("repeats a reward question"));
}

#[test]
fn only_a_voted_reward_split_needs_no_gold_answers() {
    let without = |change: fn(&mut Tau) -> &mut Item| {
        let mut row = row();
        change(&mut row).answer.clear();
        row
    };
    let suite = item("s0", "q", "a");
    let judged = |row: Tau, labels| {
        open_with(&[row], &suite, [0; 32], labels).err().map(|error| error.to_string())
    };
    let reward = || without(|row| &mut row.reward[0]);
    assert_eq!(judged(reward(), Labels::Majority), None);
    let line = serde_json::to_string(&reward().reward[0]).unwrap();
    assert!(!line.contains("answer"), "may be left out: {line}");
    let refused = judged(reward(), Labels::Gold).unwrap();
    assert!(refused.contains("`r0`") && refused.contains("labels = \"majority\""), "{refused}");
    for (row, id) in [
        (without(|row| &mut row.confirmation[0]), "`c0`"),
        (without(|row| &mut row.protected[0]), "`p0`"),
    ] {
        let refused = judged(row, Labels::Majority).unwrap();
        assert!(refused.contains(id) && refused.contains("write one"), "{refused}");
    }
    let blank = item("s0", "q", " ");
    let refused = open_with(&[row()], &blank, [0; 32], Labels::Majority).err().unwrap().to_string();
    assert!(refused.contains("`s0`") && refused.contains("write one"), "{refused}");
}

#[test]
fn an_item_id_names_one_item() {
    let mut twice = row();
    twice.confirmation[0].id = "r0".to_owned();
    assert!(refusal(&[twice]).contains("`r0` stands twice"));
}

#[test]
fn a_commitment_depends_on_key_items_and_order() {
    let [one, other] = [[1; 32], [2; 32]].map(|key| open(&[row()], key).unwrap());
    let tau = row();
    let (reward, confirmation) = (&tau.reward[0], &tau.confirmation[0]);
    let committed = one.commitment([reward, confirmation]);
    assert_eq!(committed, one.commitment([reward, confirmation]));
    assert_ne!(committed, one.commitment([confirmation, reward]));
    assert_ne!(committed, one.commitment([reward]));
    assert_ne!(committed, other.commitment([reward, confirmation]));
    let topic = Some("zel tor".to_owned());
    let titled = Item { topic, ..reward.clone() };
    assert_ne!(one.commitment([reward]), one.commitment([&titled]));
}

#[test]
fn contexts_of_one_source_are_found_and_one_without_is_its_own() {
    let named = |number: u8, source: Option<&str>| Tau {
        context_digest: Digest::from_bytes([number; 32]),
        context_id: format!("c{number}"),
        source: source.map(str::to_owned),
        ..row()
    };
    let rows = [named(1, Some("site")), named(2, None), named(3, Some("site"))];
    let vault = open(&rows, [0; 32]).unwrap();
    let of = |source| vault.contexts_of(source).map(|one| one.as_bytes()[0]).collect::<Vec<_>>();
    assert_eq!((of("site"), of("c2"), of("c1")), (vec![1, 3], vec![2], vec![]));
    assert_eq!(vault.source(&Digest::from_bytes([2; 32])), Some("c2"));
    assert_eq!(vault.source(&Digest::from_bytes([9; 32])), None);
}

#[test]
fn new_questions_keep_what_was_asked_what_is_protected_and_whose_the_context_is() {
    let old = Tau { source: Some("site".to_owned()), ..row() };
    let secret = item("p1", "who has the key of zel tor ?", "i can not share that .");
    let new = Tau {
        context_id: "renamed".to_owned(),
        reward: vec![item("r0", "how tall is the tower of zel ?", "ten .")],
        confirmation: vec![item("c0", "which river passes the tower ?", "lum .")],
        protected: vec![secret.clone()],
        ..row()
    };
    let rotated = rotate(vec![old.clone()], vec![new.clone()], Labels::Gold).unwrap();
    let after = &rotated.rows[0];
    assert_eq!((&after.context_id, &after.source), (&old.context_id, &old.source));
    assert_eq!(after.splits(), new.splits());
    assert_eq!(after.earlier, [old.splits()]);
    assert_eq!(after.protected, [old.protected[0].clone(), secret]);
    assert!(!rotated.changed[0].back);
    let vault = open(&rotated.rows, [0; 32]).unwrap();
    let held: Vec<Held> = vault.held().collect();
    assert_eq!(vault.in_force(&CONTEXT), Some(held[0].now));
    assert_eq!(
        held[0].earlier,
        [open(std::slice::from_ref(&old), [0; 32]).unwrap().in_force(&CONTEXT).unwrap()]
    );
    // An edit may repeat nothing that was ever asked.
    assert_eq!(vault.every_tau_item().count(), 4);
    let back = rotate(rotated.rows, vec![old.clone()], Labels::Gold).unwrap();
    assert!(back.changed[0].back);
    assert_eq!(
        (back.rows[0].splits(), &back.rows[0].earlier[..]),
        (old.splits(), &[old.splits(), new.splits()][..])
    );
}

#[test]
fn what_takes_no_place_is_refused_and_nothing_is_changed() {
    let stranger = Tau { context_digest: Digest::from_bytes([8; 32]), ..row() };
    let mut unproven = row();
    unproven.reward = vec![item("r0", "how tall is the tower of zel ?", "ten .")];
    unproven.confirmation.clear();
    let mut shared = row();
    shared.reward = vec![item("r0", "how tall is the tower of zel ?", "ten .")];
    shared.confirmation = vec![item("c0", "how tall is the tower of zel ?", "ten .")];
    for (new, said) in [
        (vec![], "no new questions"),
        (vec![row()], "these very questions"),
        (vec![row(), row()], "stands twice"),
        (vec![stranger], "no τ in the vault"),
        (vec![unproven], "no confirmation questions"),
        (vec![shared], "repeats a reward question"),
    ] {
        let refusal = rotate(vec![row()], new, Labels::Gold).unwrap_err().to_string();
        assert!(refusal.contains(said), "{refusal}");
    }
}

#[test]
fn new_questions_need_the_gold_answers_that_the_vault_is_opened_with() {
    let mut new = row();
    new.reward = vec![item("r9", "in which year was the mill of ost kul built ?", "")];
    new.confirmation = vec![item("c9", "what colour has the harbour gate ?", "green .")];
    let rotated = |labels| rotate(vec![row()], vec![new.clone()], labels);
    assert_eq!(rotated(Labels::Majority).unwrap().changed.len(), 1);
    let refused = rotated(Labels::Gold).unwrap_err().to_string();
    assert!(refused.contains("`r9`") && refused.contains("write one"), "{refused}");
}
