use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};

use seal_protocol::{Digest, JobStatus};
use serde_json::json;

use super::*;
use crate::store::open_sqlite;

/// Echoes its kind; `panic` panics; `wait` tells that it began and goes on when it is told to.
struct Scripted {
    began: Sender<()>,
    go_on: Receiver<()>,
}

impl Worker for Scripted {
    fn run(&mut self, kind: &str, body: &[u8], progress: &Progress) -> Result<Value, ErrorBody> {
        progress.set(3, 7);
        match kind {
            "panic" => panic!("as scripted"),
            "wait" => {
                self.began.send(()).unwrap();
                self.go_on.recv().unwrap();
            }
            _ => {}
        }
        Ok(json!({ "kind": kind, "bytes": body.len() }))
    }
}

struct Running {
    jobs: JobRunner,
    began: Receiver<()>,
    go_on: Sender<()>,
}

fn start(database: &Path) -> Running {
    let (jobs, thread) = runner(JobStore::new(open_sqlite(database).unwrap()).unwrap());
    let (began_in, began) = channel();
    let (go_on, go_on_out) = channel();
    std::thread::spawn(move || {
        let mut worker = Scripted { began: began_in, go_on: go_on_out };
        thread.run(&mut worker)
    });
    Running { jobs, began, go_on }
}

/// Waits for everything queued so far: a call is answered between jobs, a job in its turn.
fn settled(running: &Running, id: &Digest) -> JobStatus {
    loop {
        match running.jobs.status(id).unwrap().unwrap() {
            JobStatus::Queued | JobStatus::Running { .. } => std::thread::yield_now(),
            settled => return settled,
        }
    }
}

#[test]
fn a_panic_in_the_worker_fails_its_job_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder.path().join("jobs.sqlite"));
    let bad = running.jobs.submit("panic", b"").unwrap();
    let good = running.jobs.submit("echo", b"ab").unwrap();
    let JobStatus::Failed { error } = settled(&running, &bad) else {
        panic!("the job did not fail");
    };
    assert_eq!(error.code, "worker_panicked");
    let result = json!({ "kind": "echo", "bytes": 2 });
    assert_eq!(settled(&running, &good), JobStatus::Done { result });
}

#[test]
fn a_running_job_shows_its_progress() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder.path().join("jobs.sqlite"));
    let id = running.jobs.submit("wait", b"").unwrap();
    running.began.recv().unwrap();
    let status = running.jobs.status(&id).unwrap();
    assert_eq!(status, Some(JobStatus::Running { done: 3, total: 7 }));
    running.go_on.send(()).unwrap();
    assert!(matches!(settled(&running, &id), JobStatus::Done { .. }));
}

#[test]
fn a_call_does_not_wait_for_queued_jobs() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder.path().join("jobs.sqlite"));
    running.jobs.submit("wait", b"first").unwrap();
    running.began.recv().unwrap();
    let second = running.jobs.submit("wait", b"second").unwrap();
    let jobs = running.jobs.clone();
    let answer = in_tokio(async {
        let mut call = std::pin::pin!(jobs.call("echo", b"abc".to_vec()));
        // Sent at the first look, while the first job is at work.
        tokio::select! {
            biased;
            _ = &mut call => panic!("a call was answered in the middle of a job"),
            () = std::future::ready(()) => {}
        }
        // The second job can only be let go after the call was answered.
        running.go_on.send(()).unwrap();
        call.await
    });
    let answer = answer.unwrap();
    assert_eq!(answer, json!({ "kind": "echo", "bytes": 3 }));
    running.go_on.send(()).unwrap();
    assert!(matches!(settled(&running, &second), JobStatus::Done { .. }));
}

#[test]
fn a_call_that_panics_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(&folder.path().join("jobs.sqlite"));
    let error = in_tokio(running.jobs.call("panic", Vec::new())).unwrap_err();
    assert_eq!(error.code, "worker_panicked");
}

#[test]
fn a_job_that_ran_when_the_process_died_runs_again() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("jobs.sqlite");
    // This process never comes back from its job.
    let died = start(&database);
    let id = died.jobs.submit("wait", b"").unwrap();
    died.began.recv().unwrap();
    let restarted = start(&database);
    restarted.go_on.send(()).unwrap();
    assert!(matches!(settled(&restarted, &id), JobStatus::Done { .. }));
}

#[test]
fn a_result_outlives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("jobs.sqlite");
    let first = start(&database);
    let id = first.jobs.submit("echo", b"a").unwrap();
    let done = settled(&first, &id);
    let second = start(&database);
    assert_eq!(second.jobs.submit("echo", b"a").unwrap(), id);
    assert_eq!(second.jobs.status(&id).unwrap(), Some(done));
}

fn in_tokio<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
