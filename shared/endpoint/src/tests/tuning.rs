//! Fine-tuning jobs: made once and found again, whatever is lost on the way, and each bad end by its name.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use super::double::Received;
use super::double::tuner::Tuner;
use super::*;

/// One ask, by the model that the config names or another one.
fn ask(endpoint: &mut OpenAi, model: &str) -> Result<String, Unanswered> {
    let (prompt, context_digest) = (Prompt::Text("Passage".to_owned()), sha256(b"context"));
    let asks = [Ask { prompt, context_digest, proposal: 0, seed: 1 }];
    let answers = endpoint.ask_model(model, &asks, 1.0, &mut |_, _| {})?;
    let Answer::Written(written) = &answers[0] else { panic!("{answers:?}") };
    Ok(written.text.clone())
}

fn settings(more: &str) -> FineTuningConfig {
    let text = format!("n_epochs = 2\npoll_interval_s = 0.002\n{more}");
    toml::from_str(&text).unwrap()
}

fn examples() -> Vec<Example> {
    let example = |number: u32| {
        let turns = vec![Turn::system("List.".to_owned()), Turn::user(format!("Passage {number}"))];
        Example { prompt: Prompt::Chat(turns), reply: format!("1. reply {number}") }
    };
    (0..3).map(example).collect()
}

fn served(tuner: &Tuner) -> Double {
    let tuner = tuner.clone();
    Double::start_heeding(move |_, received, body| {
        let reply = || Act::Reply(format!("by {}", body["model"].as_str().unwrap_or_default()));
        tuner.answer(received).unwrap_or_else(reply)
    })
}

fn posts(received: &Received, what: &str) -> bool {
    received.method == "POST" && received.path == format!("/v1/{what}")
}

/// A whim for the first request that posts to `what`.
fn first(
    what: &'static str,
    act: impl Fn(&Tuner, &Received) -> Act + Send + Sync + 'static,
) -> impl Fn(&Tuner, &Received) -> Option<Act> + Send + Sync + 'static {
    let done = AtomicBool::new(false);
    move |tuner, received| {
        let first = posts(received, what) && !done.swap(true, Ordering::SeqCst);
        first.then(|| act(tuner, received))
    }
}

fn tune(endpoint: &mut OpenAi, settings: &FineTuningConfig) -> Result<Tuned, NotTuned> {
    let examples = examples();
    let order = TuningOrder { model: None, examples: &examples, settings, seed: 7 };
    endpoint.fine_tune(&order, &mut |_, _| {})
}

fn code(end: Result<Tuned, NotTuned>) -> &'static str {
    end.map_err(|error| error.code()).map(|_| "tuned").unwrap_or_else(|code| code)
}

#[test]
fn a_job_is_made_of_one_file_and_its_model_can_be_asked() {
    let tuner = Tuner::new(3);
    let double = served(&tuner);
    let state = tempfile::tempdir().unwrap();
    let mut endpoint = open_with(&config(&double), &egress(&double), state.path());
    let settings = settings("suffix = \"seal\"");
    let tuned = tune(&mut endpoint, &settings).unwrap();
    assert_eq!((tuned.model.as_str(), tuned.parent.as_str()), ("ft:m:org::0", "m"));
    let [file] = tuner.files().try_into().unwrap();
    assert_eq!(sha256(file.content.as_bytes()), tuned.training_file);
    let kept = std::fs::read(training_file(state.path(), &tuned.training_file)).unwrap();
    assert_eq!(kept, file.content.as_bytes());
    assert_eq!(file.content.lines().count(), 3);
    assert_eq!(ask(&mut endpoint, &tuned.model).unwrap(), "by ft:m:org::0");
    assert_eq!(ask(&mut endpoint, "m").unwrap(), "by m");

    // Everything that arrived was recorded as it arrived.
    let rows = read_record(state.path()).unwrap().into_iter();
    let sent = rows.filter_map(|row| match row {
        EgressRow::Sent { method, body, url, .. } => Some((method, url, body.into_bytes())),
        EgressRow::Answered { .. } => None,
    });
    let arrived = double.received().into_iter().map(|one| {
        let query = if one.query.is_empty() { String::new() } else { format!("?{}", one.query) };
        let root = double.base_url().replace("/v1", "");
        (one.method, format!("{root}{}{query}", one.path), one.body)
    });
    assert_eq!(sent.collect::<Vec<_>>(), arrived.collect::<Vec<_>>());

    // Another process goes on from it, and another order is another job.
    let before = tuner.jobs().len();
    let mut again = open_with(&config(&double), &egress(&double), state.path());
    assert_eq!(tune(&mut again, &settings).unwrap(), tuned);
    assert_eq!((tuner.files().len(), tuner.jobs().len()), (1, before));
    let other = FineTuningConfig { n_epochs: 1, ..settings };
    assert_ne!(tune(&mut again, &other).unwrap().model, tuned.model);
}

#[test]
fn what_may_not_leave_is_in_no_training_file() {
    let tuner = Tuner::new(1);
    let double = served(&tuner);
    let mut egress = egress(&double);
    let rule = "name = \"r\"\npattern = 'Passage \\d|reply \\d'\nreplacement = \"[it]\"";
    egress.redact.push(toml::from_str(rule).unwrap());
    let state = tempfile::tempdir().unwrap();
    tune(&mut open_with(&config(&double), &egress, state.path()), &settings("")).unwrap();
    let content = &tuner.files()[0].content;
    assert_eq!(content.matches("[it]").count(), 6, "{content}");
    assert!(!content.contains("Passage") && !content.contains("reply"), "{content}");
}

#[test]
fn a_lost_answer_makes_no_second_file_and_no_second_job() {
    let lost = |tuner: &Tuner, received: &Received| {
        tuner.do_it(received);
        Act::Raw("application/json", "{\"id\": \"cut".to_owned())
    };
    let failed = |tuner: &Tuner, received: &Received| {
        tuner.do_it(received);
        Act::Status(502, vec![], "behind".to_owned())
    };
    for what in ["files", "fine_tuning/jobs"] {
        for tuner in [
            Tuner::ending(1, "succeeded", first(what, lost)),
            Tuner::ending(1, "succeeded", first(what, failed)),
        ] {
            let double = served(&tuner);
            let state = tempfile::tempdir().unwrap();
            let mut endpoint = open_with(&config(&double), &egress(&double), state.path());
            assert_eq!(tune(&mut endpoint, &settings("")).unwrap().model, "ft:m:org::0");
            assert_eq!((tuner.files().len(), tuner.jobs().len()), (1, 1), "{what}");
        }
    }
}

#[test]
fn a_process_that_ended_before_the_answer_came_makes_no_second_file_and_no_second_job() {
    for what in ["files", "fine_tuning/jobs"] {
        let silent = |tuner: &Tuner, received: &Received| {
            tuner.do_it(received);
            Act::Silence
        };
        let tuner = Tuner::ending(1, "succeeded", first(what, silent));
        let double = served(&tuner);
        let state = tempfile::tempdir().unwrap();
        let mut config = config(&double);
        config.repeats.attempts = 1;
        config.limits.reply_timeout_s = Duration::from_millis(1500);
        let mut ended = open_with(&config, &egress(&double), state.path());
        assert_eq!(code(tune(&mut ended, &settings(""))), "endpoint_failing");
        drop(ended);
        let mut next = open_with(&config, &egress(&double), state.path());
        assert_eq!(code(tune(&mut next, &settings(""))), "tuned");
        assert_eq!((tuner.files().len(), tuner.jobs().len()), (1, 1), "{what}");
        let asked = |one: &&Received| posts(one, what);
        assert_eq!(double.received().iter().filter(asked).count(), 1, "{what}");
    }
}

#[test]
fn what_was_not_taken_is_asked_for_again_after_the_pause_that_was_asked_for() {
    let busy = |_: &Tuner, _: &Received| {
        Act::Status(429, vec![("retry-after", "0.2".to_owned())], String::new())
    };
    let tuner = Tuner::ending(1, "succeeded", first("fine_tuning/jobs", busy));
    let double = served(&tuner);
    let state = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    tune(&mut open_with(&config(&double), &egress(&double), state.path()), &settings("")).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(200));
    assert_eq!((tuner.files().len(), tuner.jobs().len()), (1, 1));
}

#[test]
fn a_job_that_fails_has_its_name_and_only_whoever_asks_again_pays_again() {
    for (end, words) in [("failed", "ftjob-0 failed"), ("cancelled", "ftjob-0 was cancelled")] {
        let tuner = Tuner::ending(2, end, |_, _| None);
        let double = served(&tuner);
        let state = tempfile::tempdir().unwrap();
        let mut endpoint = open_with(&config(&double), &egress(&double), state.path());
        let error = tune(&mut endpoint, &settings("")).unwrap_err();
        assert_eq!(error.code(), "fine_tuning_failed");
        let told = error.to_string();
        assert!(told.contains(words) && !told.contains("job-canary"), "{told}");
        let record = read_record(state.path()).unwrap();
        let noted = |row: &EgressRow| matches!(row, EgressRow::Answered { detail, .. } if detail == "job-canary");
        assert_eq!(record.iter().filter(|row| noted(row)).count(), 1);
        assert_eq!(tuner.jobs().len(), 1);
        assert_eq!(code(tune(&mut endpoint, &settings(""))), "fine_tuning_failed");
        assert_eq!(tuner.jobs().len(), 2);
    }
}

#[test]
fn each_other_bad_end_has_its_name_and_sends_nothing_further() {
    let status = |what: &'static str, status| {
        move |_: &Tuner, received: &Received| {
            let no = || Act::Status(status, vec![], "words-canary".to_owned());
            received.path.starts_with(&format!("/v1/{what}")).then(no)
        }
    };
    for (what, number, wanted, jobs) in [
        ("files", 404, "fine_tuning_unsupported", 0),
        ("fine_tuning/jobs", 404, "fine_tuning_unsupported", 0),
        ("fine_tuning/jobs", 501, "fine_tuning_unsupported", 0),
        ("files", 400, "fine_tuning_refused", 0),
        ("fine_tuning/jobs", 400, "fine_tuning_refused", 0),
        ("files", 401, "endpoint_refused", 0),
        ("fine_tuning/jobs/", 404, "fine_tuning_failed", 1),
        ("fine_tuning/jobs/", 403, "endpoint_refused", 1),
        ("models", 404, "fine_tuned_model_missing", 1),
    ] {
        let tuner = Tuner::ending(1, "succeeded", status(what, number));
        let double = served(&tuner);
        let state = tempfile::tempdir().unwrap();
        let mut endpoint = open_with(&config(&double), &egress(&double), state.path());
        let mut settings = settings("");
        settings.longest_wait_s = Duration::from_millis(30);
        let error = tune(&mut endpoint, &settings).unwrap_err();
        assert_eq!(error.code(), wanted, "{what} {number}");
        assert!(!error.to_string().contains("words-canary"), "{error}");
        assert_eq!(tuner.jobs().len(), jobs, "{what} {number}");
        println!("{number} at {what}: {error}");
    }
}

#[test]
fn a_job_that_takes_too_long_is_waited_for_again_and_not_made_again() {
    let tuner = Tuner::new(12);
    let double = served(&tuner);
    let state = tempfile::tempdir().unwrap();
    let mut endpoint = open_with(&config(&double), &egress(&double), state.path());
    let mut settings = settings("");
    settings.poll_interval_s = Duration::from_millis(20);
    settings.longest_wait_s = Duration::from_millis(90);
    assert_eq!(code(tune(&mut endpoint, &settings)), "fine_tuning_unfinished");
    settings.longest_wait_s = Duration::from_secs(20);
    assert_eq!(code(tune(&mut endpoint, &settings)), "tuned");
    assert_eq!((tuner.files().len(), tuner.jobs().len()), (1, 1));
}

#[test]
fn a_look_that_fails_is_followed_by_another_one() {
    let looks = AtomicUsize::new(0);
    let whim = move |_: &Tuner, received: &Received| {
        let look = received.path.starts_with("/v1/fine_tuning/jobs/");
        let odd = look && looks.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
        odd.then(|| Act::Status(503, vec![], String::new()))
    };
    let tuner = Tuner::ending(3, "succeeded", whim);
    let double = served(&tuner);
    let state = tempfile::tempdir().unwrap();
    let mut endpoint = open_with(&config(&double), &egress(&double), state.path());
    assert_eq!(code(tune(&mut endpoint, &settings(""))), "tuned");
}

#[test]
fn a_job_beyond_the_budget_sends_nothing_and_one_within_it_counts() {
    let tuner = Tuner::new(1);
    let double = served(&tuner);
    let state = tempfile::tempdir().unwrap();
    let mut config = config(&double);
    config.budget.max_cost = Some(0.001);
    config.budget.input_price_per_million = 1.0;
    let settings = settings("training_price_per_million = 5.0");
    let mut endpoint = open_with(&config, &egress(&double), state.path());
    let error = tune(&mut endpoint, &settings).unwrap_err();
    assert_eq!(error.code(), "budget_reached");
    assert!(error.to_string().contains("lower `n_epochs`"), "{error}");
    assert!(double.received().is_empty());

    config.budget.max_cost = Some(1.0);
    let mut endpoint = open_with(&config, &egress(&double), state.path());
    tune(&mut endpoint, &settings).unwrap();
    // Three bytes to a token, a frame, two passes, five millionths each.
    let tokens = 2 * (tuner.files()[0].content.len() as u64).div_ceil(3) + 2 * 16;
    let spent = read_record(state.path()).unwrap().into_iter().filter_map(|row| match row {
        EgressRow::Answered { spent, .. } => Some((spent.input_tokens, spent.cost_micro)),
        EgressRow::Sent { .. } => None,
    });
    let spent = spent.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
    assert_eq!(spent, (tokens, tokens * 5));
    config.budget.max_cost = Some(spent.1 as f64 / 1e6);
    let mut endpoint = open_with(&config, &egress(&double), state.path());
    assert_eq!(ask(&mut endpoint, "m").unwrap_err().code(), "budget_reached");
    // What was paid for is still to be had.
    assert_eq!(code(tune(&mut endpoint, &settings)), "tuned");
}

#[test]
fn offline_no_job_is_made() {
    let tuner = Tuner::new(1);
    let double = served(&tuner);
    let state = tempfile::tempdir().unwrap();
    let egress = EgressConfig { offline: true, ..egress(&double) };
    let mut endpoint = open_with(&config(&double), &egress, state.path());
    assert_eq!(code(tune(&mut endpoint, &settings(""))), "offline");
    assert!(double.received().is_empty());
}

#[test]
fn settings_that_no_job_can_have_are_refused_with_their_mend() {
    let double = Double::always(Act::Silence);
    let backend = config(&double);
    let refused = |backend: &OpenAiConfig, more: &str| settings(more).check(backend).unwrap_err();
    assert_eq!(settings("training_price_per_million = 3.0").check(&backend), Ok(()));
    for (more, word) in [
        ("batch_size = 0", "`batch_size`"),
        ("learning_rate_multiplier = 0.0", "`learning_rate_multiplier`"),
        ("suffix = \"a b\"", "`suffix`"),
        ("suffix = \"\"", "`suffix`"),
        ("training_price_per_million = -1.0", "`training_price_per_million`"),
    ] {
        let told = refused(&backend, more);
        assert!(told.starts_with("[fine_tuning]: ") && told.contains(word), "{told}");
    }
    let mut slow = settings("");
    slow.poll_interval_s = Duration::from_secs(601);
    assert!(slow.check(&backend).unwrap_err().contains("`poll_interval_s`"));
    let mut priced = backend.clone();
    priced.budget.max_cost = Some(1.0);
    assert!(refused(&priced, "").contains("`training_price_per_million`"));
    let plain = OpenAiConfig { api: Api::Completions, ..backend };
    assert!(refused(&plain, "").contains("`api = \"chat\"`"));
    assert!(toml::from_str::<FineTuningConfig>("suffix = \"a\"").is_err(), "epochs are said");
}
