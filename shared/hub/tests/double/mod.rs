//! A hub of ours in this process: the routes that hf-hub and huggingface_hub use, and ways to fail.
//!
//! Source of the routes and headers: hf-hub 1.0 and the API's documentation.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

mod answers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

/// What a repository's only commit is called.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// How the answer to a request for a file's bytes goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status and `X-Error-Code`.
    Status(u16, Option<&'static str>),
    /// So many bytes of those that were promised, then the connection closes.
    Cut(usize),
    /// Nothing comes after the head.
    Silent,
    /// Other bytes of the same number.
    Wrong,
    /// The whole file, wherever the client wanted to begin.
    NoRange,
}

/// A request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub host: String,
    pub method: String,
    pub path: String,
    pub authorization: Option<String>,
    pub range: Option<String>,
}

/// What the hub has and how it behaves.
#[derive(Clone, Default)]
pub struct Behaviour {
    /// Contents by name.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Faults of the next answers with a file's bytes, the last first.
    pub faults: BTreeMap<String, Vec<Fault>>,
    /// Answers every request for metadata and listings with this status, code and message.
    pub refuse: Option<(u16, Option<&'static str>, String)>,
    /// Answers requests for files like this, in the head already.
    pub refuse_files: Option<(u16, Option<&'static str>)>,
    /// Large files lie at this other address.
    pub store: Option<String>,
    /// Headers that are not what they should be, by name.
    pub headers: BTreeMap<&'static str, String>,
    /// The commit it gives for every revision.
    pub commit: Option<String>,
    /// Tells the client its own credentials.
    pub echoes: bool,
}

pub struct Inner {
    pub behaviour: Mutex<Behaviour>,
    pub seen: Mutex<Vec<Seen>>,
}

/// A running hub; it ends with the test's runtime.
pub struct Double {
    pub endpoint: String,
    inner: Arc<Inner>,
}

impl Double {
    pub async fn start(behaviour: Behaviour) -> Self {
        let (behaviour, seen) = (Mutex::new(behaviour), Mutex::default());
        let inner = Arc::new(Inner { behaviour, seen });
        Self { endpoint: listen(inner.clone()).await, inner }
    }

    /// The same hub under another address.
    pub async fn second_address(&self) -> String {
        listen(self.inner.clone()).await
    }

    pub fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.inner.behaviour.lock().unwrap());
    }

    /// How often a file was asked for so far.
    pub fn count(&self, method: &str, file: &str) -> usize {
        let seen = self.inner.seen.lock().unwrap();
        seen.iter().filter(|seen| seen.method == method && seen.path.ends_with(file)).count()
    }

    /// Requests so far; they are forgotten.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.inner.seen.lock().unwrap())
    }
}

async fn listen(inner: Arc<Inner>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(answer).with_state(inner);
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

async fn answer(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let header = |name: &str| {
        let value = request.headers().get(name)?.to_str().ok()?;
        Some(value.to_owned())
    };
    let seen = Seen {
        host: header("host").unwrap_or_default(),
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        authorization: header("authorization"),
        range: header("range"),
    };
    inner.seen.lock().unwrap().push(seen.clone());
    answers::answer(&mut inner.behaviour.lock().unwrap(), &seen)
}

/// Large files are named by their SHA-256, small ones as git does.
pub fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".bin")
}

pub fn etag(name: &str, content: &[u8]) -> String {
    match is_large(name) {
        true => hex(&Sha256::digest(content)),
        false => {
            let head = format!("blob {}\0", content.len());
            hex(&Sha1::new().chain_update(head).chain_update(content).finalize())
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A repository with a model in one file, and much that nobody needs.
pub fn model() -> Behaviour {
    let mut files = BTreeMap::from([
        ("config.json".to_owned(), b"{\"architectures\": [\"LlamaForCausalLM\"]}".to_vec()),
        ("generation_config.json".to_owned(), b"{}".to_vec()),
        ("tokenizer.json".to_owned(), b"{\"model\": {}}".to_vec()),
        ("chat_template.jinja".to_owned(), b"{{ messages }}".to_vec()),
        ("model.safetensors".to_owned(), noise(1, 300_000)),
    ]);
    for name in ["README.md", "modeling_x.py", "pytorch_model.bin", "consolidated.safetensors"] {
        files.insert(name.to_owned(), format!("{name} is not needed").into_bytes());
    }
    Behaviour { files, ..Behaviour::default() }
}

/// The same in two shards beside a third file that no index names.
pub fn sharded() -> Behaviour {
    let mut behaviour = model();
    let whole = behaviour.files.remove("model.safetensors").unwrap();
    let (first, second) = whole.split_at(200_000);
    let shard = |n: u8| format!("model-0000{n}-of-00002.safetensors");
    let index = format!(
        "{{\"metadata\": {{}}, \"weight_map\": {{\"a\": \"{}\", \"b\": \"{}\"}}}}",
        shard(1),
        shard(2)
    );
    behaviour.files.extend([
        (shard(1), first.to_vec()),
        (shard(2), second.to_vec()),
        ("model.safetensors.index.json".to_owned(), index.into_bytes()),
        ("adapter_model.safetensors".to_owned(), b"of no index".to_vec()),
    ]);
    behaviour
}

/// The names of what a client must have fetched.
pub fn names(behaviour: &Behaviour) -> BTreeSet<String> {
    let needless = |name: &&String| {
        !["README.md", "modeling_x.py", "pytorch_model.bin", "consolidated.safetensors"]
            .contains(&name.as_str())
            && *name != "adapter_model.safetensors"
    };
    behaviour.files.keys().filter(needless).cloned().collect()
}

/// Bytes that do not repeat, by a linear congruence.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}
