//! An OpenAI-compatible endpoint that does what a test tells it, faults included, and remembers what
//! it received.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod tuner;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::Response;
use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};

/// What to do with one request.
#[derive(Clone, Debug)]
pub enum Act {
    /// Answer with this text, whole or in events, as asked for.
    Reply(String),
    /// Answer with this text and these counts of tokens.
    Counted(String, u64, u64),
    /// Do it later.
    After(Duration, Box<Act>),
    /// A status, headers and a body.
    Status(u16, Vec<(&'static str, String)>, String),
    /// Status 200 with this type and body.
    Raw(&'static str, String),
    /// Begin, then break the connection.
    Break(String),
    /// Begin, then end as if that were all.
    EndEarly(String),
    /// Write without end.
    Endless,
    /// A word again and again at this distance, without end.
    Drip(Duration),
    /// Take the request and never answer.
    Silence,
    /// The model refuses.
    Decline(String),
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

type Script = Box<dyn Fn(usize, &Received, &Value) -> Act + Send + Sync>;

struct Stage {
    script: Script,
    received: Mutex<Vec<Received>>,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
}

/// The endpoint; it is gone when this is dropped.
pub struct Double {
    address: SocketAddr,
    stage: Arc<Stage>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Double {
    /// Serves on a free port of this machine; `script` gets the number of each request, from 0, and
    /// its body.
    pub fn start(script: impl Fn(usize, &Value) -> Act + Send + Sync + 'static) -> Self {
        Self::start_heeding(move |number, _, body| script(number, body))
    }

    /// The same for a script that looks at more than the body.
    pub fn start_heeding(
        script: impl Fn(usize, &Received, &Value) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let stage = Arc::new(Stage {
            script: Box::new(script),
            received: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            most_in_flight: AtomicUsize::new(0),
        });
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let router = Router::new().fallback(serve).with_state(stage.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    _ = axum::serve(listener, router).into_future() => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, stage, stop: Some(stop) }
    }

    /// Always the same.
    pub fn always(act: Act) -> Self {
        Self::start(move |_, _| act.clone())
    }

    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub fn host(&self) -> String {
        self.address.to_string()
    }

    pub fn received(&self) -> Vec<Received> {
        self.stage.received.lock().unwrap().clone()
    }

    pub fn most_in_flight(&self) -> usize {
        self.stage.most_in_flight.load(Ordering::SeqCst)
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        drop(self.stop.take());
    }
}

/// Counts a request as under way until its answer's head is on the way.
struct UnderWay(Arc<Stage>);

impl UnderWay {
    fn new(stage: &Arc<Stage>) -> Self {
        let now = stage.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        stage.most_in_flight.fetch_max(now, Ordering::SeqCst);
        Self(stage.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn serve(State(stage): State<Arc<Stage>>, request: Request) -> Response<Body> {
    let _under_way = UnderWay::new(&stage);
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let text =
        |value: &axum::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value)));
    let received = Received {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: headers.collect(),
        body: body.to_vec(),
    };
    let number = {
        let mut all = stage.received.lock().unwrap();
        all.push(received.clone());
        all.len() - 1
    };
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut act = (stage.script)(number, &received, &asked);
    while let Act::After(time, then) = act {
        tokio::time::sleep(time).await;
        act = *then;
    }
    if matches!(act, Act::Silence) {
        std::future::pending::<()>().await;
    }
    answer(act, received.path.ends_with("/chat/completions"), asked["stream"] == true)
}

fn answer(act: Act, chat: bool, streamed: bool) -> Response<Body> {
    let content_type = if streamed { "text/event-stream" } else { "application/json" };
    let ok = |body: Body| with(200, &[("content-type", content_type.to_owned())], body);
    match act {
        Act::Reply(text) => ok(whole(&text, None, chat, streamed).into()),
        Act::Counted(text, read, written) => {
            ok(whole(&text, Some((read, written)), chat, streamed).into())
        }
        Act::Status(status, headers, body) => with(status, &headers, body.into()),
        Act::Raw(kind, body) => with(200, &[("content-type", kind.to_owned())], body.into()),
        Act::Break(text) => {
            let parts =
                [Ok(Bytes::from(part(&text, chat, streamed))), Err(io::Error::other("cut"))];
            ok(Body::from_stream(stream::iter(parts)))
        }
        Act::EndEarly(text) => ok(part(&text, chat, streamed).into()),
        Act::Endless => {
            let word = Bytes::from(part(&"word ".repeat(200), chat, streamed));
            ok(Body::from_stream(stream::repeat(Ok::<_, Infallible>(word))))
        }
        Act::Drip(distance) => {
            let word = Bytes::from(part("word ", chat, streamed));
            let drops = stream::repeat(()).then(move |()| {
                let word = word.clone();
                async move {
                    tokio::time::sleep(distance).await;
                    Ok::<_, Infallible>(word)
                }
            });
            ok(Body::from_stream(drops))
        }
        Act::Decline(words) => ok(declined(&words, streamed).into()),
        Act::After(..) | Act::Silence => unreachable!(),
    }
}

fn with(status: u16, headers: &[(&'static str, String)], body: Body) -> Response<Body> {
    let response = Response::builder().status(status);
    let response = headers.iter().fold(response, |all, (name, value)| all.header(*name, value));
    response.body(body).unwrap()
}

fn choice(text: &str, finish: Option<&str>, chat: bool, streamed: bool) -> Value {
    match (chat, streamed) {
        (true, true) => {
            json!({ "index": 0, "delta": { "content": text }, "finish_reason": finish })
        }
        (true, false) => json!({
            "index": 0, "message": { "role": "assistant", "content": text }, "finish_reason": finish
        }),
        (false, _) => json!({ "index": 0, "text": text, "finish_reason": finish }),
    }
}

fn event(value: &Value) -> String {
    format!("data: {value}\n\n")
}

/// The beginning of an answer.
fn part(text: &str, chat: bool, streamed: bool) -> String {
    let piece = json!({ "id": "x", "choices": [choice(text, None, chat, streamed)] });
    match streamed {
        true => event(&piece),
        false => piece.to_string().trim_end_matches(['}', ']']).to_owned(),
    }
}

fn whole(text: &str, counted: Option<(u64, u64)>, chat: bool, streamed: bool) -> String {
    let usage = counted
        .map(|(read, written)| json!({ "prompt_tokens": read, "completion_tokens": written }));
    if !streamed {
        let choices = [choice(text, Some("stop"), chat, false)];
        return json!({ "id": "x", "choices": choices, "usage": usage }).to_string();
    }
    let words = text.split_inclusive(' ').map(|word| part(word, chat, true));
    let last = json!({ "id": "x", "choices": [choice("", Some("stop"), chat, true)] });
    let usage = usage.map(|usage| event(&json!({ "id": "x", "choices": [], "usage": usage })));
    let end = [event(&last), usage.unwrap_or_default(), "data: [DONE]\n\n".to_owned()];
    words.chain(end).collect()
}

fn declined(words: &str, streamed: bool) -> String {
    let message = json!({ "role": "assistant", "content": null, "refusal": words });
    match streamed {
        true => event(&json!({ "choices": [{ "delta": message, "finish_reason": "stop" }] })),
        false => {
            json!({ "choices": [{ "message": message, "finish_reason": "stop" }] }).to_string()
        }
    }
}
