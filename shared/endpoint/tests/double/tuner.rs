//! Files, fine-tuning jobs and models, as OpenAI answers about them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::{Act, Received};

/// What a tuner does with one request before it answers in earnest; `None`: nothing of the kind.
type Whim = Box<dyn Fn(&Tuner, &Received) -> Option<Act> + Send + Sync>;

/// The part of an endpoint that tunes models. Clones are the same one.
#[derive(Clone)]
pub struct Tuner(Arc<Inner>);

struct Inner {
    /// Looks at a job until it has ended.
    looks: usize,
    /// How it ends.
    end: &'static str,
    whim: Whim,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    files: Vec<File>,
    jobs: Vec<Value>,
    looked: BTreeMap<String, usize>,
}

/// A file as it was uploaded.
#[derive(Clone, Debug)]
pub struct File {
    pub name: String,
    pub content: String,
}

impl Tuner {
    /// Jobs succeed at the look of this number, from 1.
    pub fn new(looks: usize) -> Self {
        Self::ending(looks, "succeeded", |_, _| None)
    }

    /// Jobs end like this; `whim` may answer first.
    pub fn ending(
        looks: usize,
        end: &'static str,
        whim: impl Fn(&Self, &Received) -> Option<Act> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner { looks, end, whim: Box::new(whim), state: Mutex::default() }))
    }

    pub fn files(&self) -> Vec<File> {
        self.0.state.lock().unwrap().files.clone()
    }

    pub fn jobs(&self) -> Vec<Value> {
        self.0.state.lock().unwrap().jobs.clone()
    }

    /// The answer to a request about files, jobs or models; `None`: it is about something else.
    pub fn answer(&self, received: &Received) -> Option<Act> {
        (self.0.whim)(self, received).or_else(|| self.do_it(received))
    }

    /// Does what is asked, without any whim.
    pub fn do_it(&self, received: &Received) -> Option<Act> {
        let path = received.path.trim_start_matches("/v1/");
        let posted = received.method == "POST";
        let answer = match (posted, path.split('/').collect::<Vec<_>>().as_slice()) {
            (true, ["files"]) => self.take_file(received),
            (true, ["fine_tuning", "jobs"]) => self.take_job(received),
            (false, ["files"]) => {
                let count = self.files().len();
                list((0..count).rev().map(|at| self.file(at)).collect())
            }
            (false, ["fine_tuning", "jobs"]) => list(self.jobs().into_iter().rev().collect()),
            (false, ["fine_tuning", "jobs", id]) => self.look(id)?,
            (false, ["models", model]) => {
                let known = self.jobs().iter().any(|job| job["fine_tuned_model"] == *model);
                if !known {
                    return Some(Act::Status(404, vec![], "no such model".to_owned()));
                }
                json!({ "id": model, "object": "model", "created": 1, "owned_by": "org" })
            }
            _ => return None,
        };
        Some(Act::Raw("application/json", answer.to_string()))
    }

    fn take_file(&self, received: &Received) -> Value {
        let body = String::from_utf8(received.body.clone()).unwrap();
        let boundary = received.headers["content-type"].split_once("boundary=").unwrap().1;
        let parts: Vec<&str> = body.split(&format!("--{boundary}")).collect();
        let [first, purpose, file, last] = parts.as_slice() else { panic!("{body}") };
        assert_eq!((*first, *last), ("", "--\r\n"));
        assert!(purpose.contains("name=\"purpose\"\r\n\r\nfine-tune\r\n"), "{purpose}");
        let (head, content) = file.split_once("\r\n\r\n").unwrap();
        let name = head.split_once("filename=\"").unwrap().1.split_once('"').unwrap().0;
        let content = content.strip_suffix("\r\n").unwrap();
        let file = File { name: name.to_owned(), content: content.to_owned() };
        self.0.state.lock().unwrap().files.push(file);
        self.file(self.files().len() - 1)
    }

    fn file(&self, at: usize) -> Value {
        let file = &self.files()[at];
        json!({ "id": format!("file-{at}"), "object": "file", "bytes": file.content.len(),
            "created_at": 1, "filename": file.name, "purpose": "fine-tune", "status": "processed" })
    }

    fn take_job(&self, received: &Received) -> Value {
        let order: Value = serde_json::from_slice(&received.body).unwrap();
        let mut state = self.0.state.lock().unwrap();
        let job = json!({ "id": format!("ftjob-{}", state.jobs.len()), "object": "fine_tuning.job",
            "created_at": 1, "error": null, "fine_tuned_model": null, "finished_at": null,
            "model": order["model"], "organization_id": "org", "result_files": [],
            "status": "validating_files", "trained_tokens": null, "seed": order["seed"],
            "training_file": order["training_file"], "validation_file": null,
            "method": order["method"], "hyperparameters": order["method"]["supervised"]["hyperparameters"] });
        state.jobs.push(job.clone());
        job
    }

    fn look(&self, id: &str) -> Option<Value> {
        let mut state = self.0.state.lock().unwrap();
        let at = state.jobs.iter().position(|job| job["id"] == id)?;
        let looked = state.looked.entry(id.to_owned()).or_default();
        *looked += 1;
        let over = *looked >= self.0.looks;
        let job = &mut state.jobs[at];
        job["status"] = if over { self.0.end.into() } else { "running".into() };
        if over && self.0.end == "succeeded" {
            job["fine_tuned_model"] = format!("ft:{}:org::{at}", base(&job["model"])).into();
            job["trained_tokens"] = 4321.into();
        } else if over {
            job["error"] = json!({ "code": "bad", "message": "job-canary", "param": null });
        }
        Some(job.clone())
    }
}

/// The name without what earlier jobs made of it.
fn base(model: &Value) -> String {
    let name = model.as_str().unwrap();
    name.strip_prefix("ft:").and_then(|name| name.split(':').next()).unwrap_or(name).to_owned()
}

fn list(data: Vec<Value>) -> Value {
    json!({ "object": "list", "data": data, "has_more": false })
}
