//! Each fault ends in the outcome that docs/TEACHERS.md names.

use super::*;

struct Told {
    outcome: Result<String, String>,
    requests: usize,
    recorded: Vec<String>,
}

/// One order against an endpoint that always does the same.
fn ask(act: Act, change: impl FnOnce(&mut OpenAiConfig)) -> Told {
    let double = Double::always(act);
    let state = tempfile::tempdir().unwrap();
    let mut config = config(&double);
    change(&mut config);
    let mut endpoint = open_with(&config, &egress(&double), state.path());
    let outcome = match write(&mut endpoint, &asks(1)) {
        Ok(outcomes) => said(&outcomes[0]).map(str::to_owned).map_err(str::to_owned),
        Err(error) => Err(format!("stopped: {} ({error})", error.code())),
    };
    let recorded = outcomes_recorded(state.path());
    Told { outcome, requests: double.received().len(), recorded }
}

/// The order is missed with this code, after so many requests, each recorded.
#[track_caller]
fn missed(act: Act, code: &str, requests: usize) {
    for stream in [true, false] {
        let told = ask(act.clone(), |config| {
            config.stream = stream;
            config.limits.reply_timeout_s = Duration::from_millis(300);
            config.limits.reply_bytes = 100_000;
        });
        let reason = told.outcome.expect_err("a reply");
        assert!(reason.starts_with(&format!("{code}: ")), "stream = {stream}: {reason}");
        assert_eq!(told.requests, requests, "stream = {stream}");
        assert_eq!(told.recorded, vec![code; requests], "stream = {stream}");
    }
}

fn status(status: u16) -> Act {
    let body = "{\"error\":{\"message\":\"\\u001b[31mno\",\"type\":\"t\"}}".to_owned();
    Act::Status(status, vec![("content-type", "application/json".to_owned())], body)
}

#[test]
fn a_reply_comes_back_whole_by_both_calls_streamed_or_not() {
    for api in [Api::Chat, Api::Completions] {
        for stream in [true, false] {
            let told = ask(Act::Reply("1. a\n2. b c".to_owned()), |config| {
                (config.api, config.stream) = (api, stream);
            });
            assert_eq!(told.outcome.as_deref(), Ok("1. a\n2. b c"), "{api:?} {stream}");
            assert_eq!((told.requests, told.recorded), (1, vec!["ok".to_owned()]));
        }
    }
}

#[test]
fn silence_is_a_time_out_and_is_repeated() {
    missed(Act::Silence, "time_out", 3);
}

#[test]
fn a_reply_without_end_is_cut_by_time() {
    missed(Act::Drip(Duration::from_millis(50)), "time_out", 3);
}

#[test]
fn a_reply_without_end_is_cut_by_bytes_and_not_paid_for_again() {
    missed(Act::Endless, "too_long", 1);
}

#[test]
fn a_silent_stream_is_a_time_out() {
    let told = ask(Act::Drip(Duration::from_secs(60)), |config| {
        config.limits.silence_timeout_s = Duration::from_millis(50);
        config.repeats.attempts = 1;
    });
    assert!(told.outcome.unwrap_err().starts_with("time_out: "));
}

#[test]
fn failures_of_the_server_are_repeated() {
    missed(status(500), "server_error", 3);
    missed(status(503), "server_error", 3);
}

#[test]
fn answers_that_do_not_read_are_repeated() {
    for (stream, body) in [(false, "{\"choices\": ["), (true, "data: {\"choices\": [\n\n")] {
        let kind = if stream { "text/event-stream" } else { "application/json" };
        let told = ask(Act::Raw(kind, body.to_owned()), |config| config.stream = stream);
        assert!(told.outcome.unwrap_err().starts_with("malformed: "));
        assert_eq!(told.requests, 3);
    }
}

#[test]
fn a_stream_that_breaks_and_one_that_ends_early_are_cut_off() {
    missed(Act::Break("1. a".to_owned()), "cut_off", 3);
    let told = ask(Act::EndEarly("1. a".to_owned()), |_| {});
    assert!(told.outcome.unwrap_err().starts_with("cut_off: "));
    assert_eq!(told.requests, 3);
}

#[test]
fn a_page_for_people_is_no_answer() {
    missed(Act::Raw("text/html", "<h1>Sign in</h1>".to_owned()), "wrong_content_type", 3);
    missed(Act::Raw("", "{}".to_owned()), "wrong_content_type", 3);
}

#[test]
fn a_refusal_and_an_empty_reply_are_outcomes_that_were_paid_for() {
    missed(Act::Decline("I will not.".to_owned()), "declined", 1);
    missed(Act::Reply(" \n".to_owned()), "empty", 1);
}

#[test]
fn a_request_that_is_refused_is_not_repeated() {
    missed(status(400), "bad_request", 1);
    missed(status(422), "bad_request", 1);
}

#[test]
fn a_rate_limit_is_waited_for_as_long_as_the_endpoint_says() {
    let wait = vec![("retry-after-ms", "120".to_owned())];
    let double = Double::start(move |number, _| match number {
        0 => Act::Status(429, wait.clone(), String::new()),
        _ => Act::Reply("a".to_owned()),
    });
    let state = tempfile::tempdir().unwrap();
    let mut endpoint = open_with(&config(&double), &egress(&double), state.path());
    let start = std::time::Instant::now();
    let outcomes = write(&mut endpoint, &asks(1)).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(120));
    assert_eq!(said(&outcomes[0]), Ok("a"));
    assert_eq!(outcomes_recorded(state.path()), ["rate_limited", "ok"]);
    // Longer than `longest_pause_s`: no further attempt.
    let day = Act::Status(429, vec![("retry-after", "86400".to_owned())], String::new());
    missed(day, "rate_limited", 1);
}

#[test]
fn a_key_that_is_refused_and_a_redirect_stop_everything() {
    let elsewhere = vec![("location", "http://127.0.0.1:1/v1/chat/completions".to_owned())];
    let redirect = Act::Status(307, elsewhere, String::new());
    for act in [status(401), status(403), status(404), redirect] {
        let told = ask(act, |_| {});
        let reason = told.outcome.unwrap_err();
        assert!(reason.starts_with("stopped: endpoint_refused"), "{reason}");
        assert!(!reason.contains('\u{1b}'), "the endpoint's words are not shown");
        assert_eq!(told.requests, 1);
    }
}

#[test]
fn an_endpoint_that_is_not_there_is_unreachable() {
    let double = Double::always(Act::Silence);
    let (config, egress) = (config(&double), egress(&double));
    drop(double);
    // The port is free once its thread is gone, and a connection to it is refused.
    let state = tempfile::tempdir().unwrap();
    let mut endpoint = open_with(&config, &egress, state.path());
    let gone = || std::net::TcpStream::connect(&egress.allow_hosts[0]).is_err();
    while !gone() {
        std::thread::yield_now();
    }
    let outcomes = write(&mut endpoint, &asks(1)).unwrap();
    assert!(said(&outcomes[0]).unwrap_err().starts_with("unreachable: "));
}

#[test]
fn an_endpoint_that_only_fails_is_given_up_and_asked_again_by_the_next_job() {
    let failing = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let seen = failing.clone();
    let double = Double::start(move |_, _| match seen.load(std::sync::atomic::Ordering::SeqCst) {
        true => status(500),
        false => Act::Reply("a".to_owned()),
    });
    let state = tempfile::tempdir().unwrap();
    let mut config = config(&double);
    (config.concurrency, config.repeats.breaker_after) = (2, 4);
    let mut endpoint = open_with(&config, &egress(&double), state.path());
    let error = write(&mut endpoint, &asks(50)).unwrap_err();
    assert_eq!(error.code(), "endpoint_failing", "{error}");
    // Four failures, those under way, and one trial for each further opening.
    let requests = double.received().len();
    assert!((6..=8).contains(&requests), "{requests}");
    failing.store(false, std::sync::atomic::Ordering::SeqCst);
    let outcomes = write(&mut endpoint, &asks(50)).unwrap();
    assert!(outcomes.iter().all(|outcome| said(outcome) == Ok("a")));
}
