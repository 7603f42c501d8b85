//! A policy whose endpoint tunes models learns there: from verified verdicts alone, once for each update,
//! and what the endpoint cannot do leaves the policy as it was.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../shared/endpoint/tests/double/mod.rs"]
mod double;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use common::running::Running;
use common::{Bench, CONTEXTS, NOW, content, free, key, remote_config, signed, stage};
use double::tuner::Tuner;
use double::{Act, Double, Received};
use seal_protocol::{
    Digest, Envelope, LedgerHead, LedgerSeen, PolicyUpdate, PolicyUpdateRequest, PolicyUpdated,
    ProposeRequest, Role, UnixSeconds, path,
};
use seal_service::clock::FixedClock;
use seal_teacher::{Identity, Teacher, TeacherConfig};
use seal_trust::{TrustRoot, sign_statement};
use serde_json::Value;

/// An endpoint that tunes, and else replies with the passage it was asked about and its model's name.
fn served(tuner: &Tuner) -> Double {
    let tuner = tuner.clone();
    Double::start_heeding(move |_, received, body| {
        tuner.answer(received).unwrap_or_else(|| {
            let passage = body["messages"].as_array().unwrap().last().unwrap()["content"].clone();
            let passage = passage.as_str().unwrap().trim().to_owned();
            let model = body["model"].as_str().unwrap();
            Act::Reply(format!("1. It is said: {passage}\n2. By {model}."))
        })
    })
}

const TUNING: &str = "[fine_tuning]\nn_epochs = 2\npoll_interval_s = 0.01\n";

fn config(double: &Double, more: &str) -> String {
    remote_config(&format!(
        "[backend]\nkind = \"openai\"\nbase_url = \"{}\"\nmodel = \"m\"\n\n{more}\n\
         [egress]\nallow_hosts = [\"{}\"]\nallow_loopback = true\n",
        double.base_url(),
        double.host()
    ))
}

fn bench(double: &Double) -> Bench {
    Bench::with_config(&config(double, TUNING))
}

fn request(stage: &str, parent: Option<Digest>, verdicts: Vec<Envelope>) -> PolicyUpdateRequest {
    let stage = stage.to_owned();
    PolicyUpdateRequest { stage, parent_policy_digest: parent, verdicts, seed: 7 }
}

/// The request to learn one edit, whose verdict was shown to stand in the ledger.
fn one_accepted(bench: &mut Bench) -> PolicyUpdateRequest {
    let edits = bench.propose(&free(&[0], 1)).unwrap().edits;
    let request = request("round-1", None, bench.accept_all(&edits));
    bench.show(&request.verdicts);
    request
}

fn update(bench: &mut Bench, request: &PolicyUpdateRequest) -> Result<PolicyUpdated, &'static str> {
    bench.teacher.policy_update(request, &mut |_, _| {}).map_err(|refusal| refusal.code())
}

#[test]
fn accepted_edits_are_learned_at_the_endpoint_and_its_new_model_writes() {
    let tuner = Tuner::new(2);
    let double = served(&tuner);
    let mut bench = bench(&double);
    let edits = bench.propose(&free(&[0, 1], 1)).unwrap().edits;
    let first = request("round-1", None, bench.accept_all(&edits));
    bench.show(&first.verdicts);
    let updated = update(&mut bench, &first).unwrap();
    assert_eq!(update(&mut bench, &first).as_ref(), Ok(&updated), "asked again it is the same");

    let root =
        TrustRoot::open(&std::fs::read(&bench.config.trust_root).unwrap(), None, NOW).unwrap();
    let receipt = root.verify::<PolicyUpdate>(&updated.update, NOW).unwrap().statement.predicate;
    let policy = bench.config.state.join(format!("fine-tuned/{}.json", updated.policy_digest));
    let policy: Value = serde_json::from_slice(&std::fs::read(policy).unwrap()).unwrap();
    assert_eq!(policy["model"], "ft:m:org::0");
    assert_eq!((&policy["parent"], &policy["job"]), (&"m".into(), &"ftjob-0".into()));
    assert_eq!(policy["endpoint"], double.base_url());
    assert_eq!(policy["edits"], serde_json::to_value(&receipt.edit_digests).unwrap());

    // What went up is each prompt as it was asked, with the reply to it.
    let asked: Vec<Value> = double
        .received()
        .iter()
        .filter(|one| one.path.ends_with("/chat/completions"))
        .map(|one| serde_json::from_slice::<Value>(&one.body).unwrap()["messages"].take())
        .collect();
    let [file] = tuner.files().try_into().unwrap();
    assert_eq!(file.content.lines().count(), 2);
    for line in file.content.lines() {
        let mut turns = serde_json::from_str::<Value>(line).unwrap()["messages"].take();
        let reply = turns.as_array_mut().unwrap().pop().unwrap();
        assert!(asked.contains(&turns), "{turns}");
        let passage = turns.as_array().unwrap().last().unwrap()["content"].as_str().unwrap();
        let wanted = format!("1. It is said: {}\n2. By m.", passage.trim());
        assert_eq!((&reply["role"], &reply["content"]), (&"assistant".into(), &wanted.into()));
    }
    let job = &tuner.jobs()[0];
    assert_eq!((&job["model"], &job["hyperparameters"]["n_epochs"]), (&"m".into(), &2.into()));

    let mut bench = bench.reopen();
    let policy_digest = Some(updated.policy_digest);
    let next = ProposeRequest { stage: "round-2".to_owned(), policy_digest, ..free(&[2], 1) };
    let edits = bench.propose(&next).unwrap().edits;
    assert_eq!(content(&edits[0]).origin.policy_digest, updated.policy_digest);
    let last = double.received().pop().unwrap();
    let body: Value = serde_json::from_slice(&last.body).unwrap();
    assert_eq!(body["model"], "ft:m:org::0");

    // The next update goes on from that model.
    let verdicts = bench.verdicts_on(edits).into_iter().map(|(_, mut statement)| {
        statement.predicate.sequence += 100; // the auditor counts on
        signed(&statement)
    });
    let second = request("round-2", policy_digest, verdicts.collect());
    bench.show(&second.verdicts);
    let again = update(&mut bench, &second).unwrap();
    assert_ne!(again.policy_digest, updated.policy_digest);
    let job = &tuner.jobs()[1];
    assert_eq!(
        (&job["model"], &job["fine_tuned_model"]),
        (&"ft:m:org::0".into(), &"ft:m:org::1".into())
    );
    assert_eq!((tuner.files().len(), tuner.jobs().len()), (2, 2));
}

#[test]
fn no_verdict_that_does_not_hold_sends_anything_to_be_learned() {
    let tuner = Tuner::new(1);
    let double = served(&tuner);
    let mut bench = bench(&double);
    let edits = bench.propose(&free(&[0, 1, 2], 1)).unwrap().edits;
    let verdicts = bench.verdicts_on(edits);
    let asked = double.received().len();
    let by = |role: Role| sign_statement(&key(role), &verdicts[0].1).unwrap();
    let mut expired = verdicts[0].1.clone();
    expired.predicate.expires_at = UnixSeconds(NOW.0 - 1);
    let good = signed(&verdicts[1].1);
    for (bad, code) in [
        (by(Role::Witness), "signature_invalid"),
        (by(Role::Teacher), "signer_wrong_role"),
        (signed(&expired), "verdict_expired"),
    ] {
        let asked = request("round-1", None, vec![good.clone(), bad]);
        assert_eq!(update(&mut bench, &asked), Err(code));
    }
    let unshown = request("round-1", None, vec![good.clone()]);
    assert_eq!(update(&mut bench, &unshown), Err("verdict_not_in_ledger"));
    assert_eq!(double.received().len(), asked, "nothing left");

    bench.show(&unshown.verdicts);
    update(&mut bench, &unshown).unwrap();
    let asked = double.received().len();
    let replayed = request("round-2", None, vec![good]);
    assert_eq!(update(&mut bench, &replayed), Err("verdict_replayed"));
    assert_eq!((double.received().len(), tuner.jobs().len()), (asked, 1));
}

#[test]
fn a_job_that_comes_to_nothing_leaves_the_policy_and_the_verdicts_as_they_were() {
    let works = Arc::new(AtomicBool::new(false));
    let seen = works.clone();
    let whim = move |_: &Tuner, received: &Received| {
        let order = received.path.starts_with("/v1/fine_tuning");
        let refuses = order && !seen.load(Ordering::SeqCst);
        refuses.then(|| Act::Status(400, vec![], "too few".to_owned()))
    };
    let tuner = Tuner::ending(1, "succeeded", whim);
    let double = served(&tuner);
    let mut bench = bench(&double);
    let request = one_accepted(&mut bench);
    let refused = bench.teacher.policy_update(&request, &mut |_, _| {}).unwrap_err();
    assert_eq!(refused.code(), "fine_tuning_refused");
    assert!(refused.to_string().contains("ask for more proposals"), "{refused}");
    assert_eq!(std::fs::read_dir(bench.config.state.join("fine-tuned")).unwrap().count(), 0);
    let by_first = bench.propose(&free(&[1], 1)).unwrap().edits;
    assert_eq!(content(&by_first[0]).origin.policy_digest, bench.teacher.first_policy_digest());
    works.store(true, Ordering::SeqCst);
    update(&mut bench, &request).unwrap();
}

#[test]
fn an_edit_whose_prompt_would_be_another_one_now_is_not_learned() {
    let tuner = Tuner::new(1);
    let double = served(&tuner);
    let mut bench = bench(&double);
    let request = one_accepted(&mut bench);
    let mut bench = bench.reopen_with(|config| {
        let rule = "name = \"r\"\npattern = \"zel\"\nreplacement = \"[it]\"";
        config.egress.redact.push(toml::from_str(rule).unwrap());
    });
    let refused = bench.teacher.policy_update(&request, &mut |_, _| {}).unwrap_err();
    assert_eq!(refused.code(), "config_unusable");
    assert!(refused.to_string().contains("`redact`"), "{refused}");
    assert!(tuner.files().is_empty());
}

#[test]
fn a_policy_of_another_endpoint_is_not_asked_for_here() {
    let tuner = Tuner::new(1);
    let double = served(&tuner);
    let mut bench = bench(&double);
    let request = one_accepted(&mut bench);
    let policy_digest = Some(update(&mut bench, &request).unwrap().policy_digest);
    let elsewhere = served(&tuner);
    let mut bench = bench.reopen_with(|config| {
        let seal_teacher::BackendConfig::OpenAi(api) = &mut config.backend else { panic!() };
        api.base_url = elsewhere.base_url();
        config.egress.allow_hosts = vec![elsewhere.host()];
    });
    let asked = ProposeRequest { policy_digest, ..free(&[1], 1) };
    assert_eq!(bench.propose(&asked), Err("config_unusable"));
    assert!(elsewhere.received().is_empty());
}

#[test]
fn a_teacher_that_was_killed_after_it_ordered_a_job_waits_for_that_job() {
    for what in ["/v1/files", "/v1/fine_tuning/jobs"] {
        let killed = Arc::new(AtomicBool::new(false));
        let seen = killed.clone();
        let whim = move |tuner: &Tuner, received: &Received| {
            let ordered = received.method == "POST" && received.path == what;
            let silent = ordered && !seen.load(Ordering::SeqCst);
            silent.then(|| {
                tuner.do_it(received);
                Act::Silence
            })
        };
        let tuner = Tuner::ending(2, "succeeded", whim);
        let double = served(&tuner);
        let mut bench = bench(&double);
        let edits = bench.propose(&free(&[0, 1], 1)).unwrap().edits;
        // The real program goes by the machine's clock.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let verdicts = bench.verdicts_on(edits).into_iter().map(|(_, mut statement)| {
            statement.predicate.issued_at = UnixSeconds(now - 60);
            statement.predicate.expires_at = UnixSeconds(now + 3600);
            signed(&statement)
        });
        let request = request("round-1", None, verdicts.collect());
        let Bench { folder, teacher, mut ledger, .. } = bench;
        drop(teacher);
        request.verdicts.iter().for_each(|verdict| ledger.append(verdict));

        let mut running = Running::start(folder.path());
        let known: Vec<LedgerHead> = running.get(path::LEDGER_HEADS);
        let shown = ledger.show(&known, &request.verdicts);
        let _: LedgerSeen = running.post(path::LEDGER_HEADS, &shown);
        let _: seal_protocol::JobAccepted = running.post(path::POLICY_UPDATES, &request);
        let taken = || if what == "/v1/files" { tuner.files().len() } else { tuner.jobs().len() };
        while taken() == 0 {
            std::thread::yield_now();
        }
        running.child.kill().unwrap();
        drop(running);
        killed.store(true, Ordering::SeqCst);

        let running = Running::start(folder.path());
        let result = running.work(path::POLICY_UPDATES, &request).unwrap();
        let updated: PolicyUpdated = serde_json::from_value(result).unwrap();
        assert_eq!((tuner.files().len(), tuner.jobs().len()), (1, 1), "killed at {what}");
        let next = ProposeRequest { policy_digest: Some(updated.policy_digest), ..free(&[2], 1) };
        running.propose(&next).unwrap();
        let last: Value = serde_json::from_slice(&double.received().pop().unwrap().body).unwrap();
        assert_eq!(last["model"], "ft:m:org::0");
        assert!(!running.log().contains(CONTEXTS[0]), "no text of a prompt is logged");
    }
}

/// What a start with this config is refused with.
fn refused(text: &str) -> String {
    let folder = stage(text);
    let config = TeacherConfig::load(&folder.path().join("teacher.toml")).unwrap();
    std::fs::create_dir_all(&config.state).unwrap();
    let identity = Identity::read(&config, NOW).unwrap();
    let error = Teacher::load(config, identity, Arc::new(FixedClock::at(NOW))).err().unwrap();
    assert_eq!(error.code(), "config_unusable");
    error.to_string()
}

#[test]
fn a_config_that_could_not_learn_so_does_not_start() {
    let tuner = Tuner::new(1);
    let double = served(&tuner);
    let good = config(&double, TUNING);
    let exemplars = format!("{TUNING}\n[exemplars]\nper_prompt = 1\nmax_bytes = 100\n");
    let completions = good.replace("model = \"m\"\n", "model = \"m\"\napi = \"completions\"\n");
    let recorded = remote_config(&format!(
        "[backend]\nkind = \"recorded\"\nfile = \"teacher/replies.jsonl\"\n\n{TUNING}"
    ));
    let local = remote_config(TUNING);
    for (text, words) in [
        (config(&double, &exemplars), "[exemplars] are two ways"),
        (good.replace("[egress]\n", "[egress]\noffline = true\n"), "`offline = true`"),
        (completions, "set `api = \"chat\"`"),
        (good.replace("n_epochs = 2", "n_epochs = 0"), "`n_epochs`"),
        (recorded, "recorded replies have none"),
        (local, "a local policy learns by [policy_update]"),
    ] {
        let told = refused(&text);
        assert!(told.starts_with("[fine_tuning]") && told.contains(words), "{told}");
    }
    assert!(double.received().is_empty());
}
