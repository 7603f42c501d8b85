//! The one place through which requests leave: beneath what writes and reads the protocol, above the HTTP
//! client. It records, sends once, and lets in only an answer of the right status,
//! type and length.
//!
//! **Invariant:** what the library hands over is recorded before it is sent, exactly as it is sent.
//! **Invariant:** nothing leaves for a URL that does not start with the pinned base.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::SystemTime;

use async_openai::error::OpenAIError;
use async_openai::middleware::HttpRequestFactory;
use axum::http;
use futures_util::StreamExt;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use reqwest::{Body, Request, Response};
use secrecy::ExposeSecret;

use crate::egress::{ApiKey, EgressRecord, Purpose, RequestHead, Spent, WITHHELD};
use crate::fault::Fault;
use crate::pause::retry_after;

/// Most that is kept of the endpoint's words about a failure, in bytes read and characters kept.
const LONGEST_DETAIL: (usize, usize) = (16 << 10, 500);

/// Lets one request through.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) client: reqwest::Client,
    pub(crate) key: Option<ApiKey>,
    pub(crate) base: String,
    pub(crate) record: EgressRecord,
    pub(crate) purpose: Purpose,
    pub(crate) most: Spent,
    pub(crate) content_type: &'static str,
    pub(crate) reply_bytes: u64,
    pub(crate) seen: Seen,
}

/// What the gate saw of one request; the library above forgets most of it.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Sight>>);

#[derive(Clone, Default)]
pub(crate) struct Sight {
    /// Number in the record, once it may have left.
    pub(crate) number: Option<u64>,
    /// Why the answer's body ended early.
    pub(crate) cut: Option<Fault>,
    /// The endpoint's words about a failure.
    pub(crate) detail: String,
    /// Bytes of body received.
    pub(crate) received: u64,
}

impl Seen {
    pub(crate) fn now(&self) -> Sight {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, note: impl FnOnce(&mut Sight)) {
        note(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The library carries our faults as they are.
impl From<Fault> for OpenAIError {
    fn from(fault: Fault) -> Self {
        Self::Boxed(Box::new(fault))
    }
}

impl tower_service::Service<HttpRequestFactory> for Gate {
    type Response = Response;
    type Error = OpenAIError;
    type Future = Pin<Box<dyn Future<Output = Result<Response, OpenAIError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OpenAIError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, factory: HttpRequestFactory) -> Self::Future {
        let gate = self.clone();
        Box::pin(async move { Ok(gate.pass(factory.build().await?).await?) })
    }
}

impl Gate {
    pub(crate) async fn pass(self, request: Request) -> Result<Response, Fault> {
        let body = request.body().and_then(Body::as_bytes).unwrap_or_default();
        let body = std::str::from_utf8(body).map_err(|_| Fault::Malformed)?.to_owned();
        if !request.url().as_str().starts_with(&self.base) {
            return Err(Fault::Unreachable);
        }
        let (purpose, most) = (self.purpose.clone(), self.most);
        let number = self.record.sent(head_of(&request), body, purpose, most).await?;
        self.seen.note(|seen| seen.number = Some(number));
        let response = self.client.execute(request).await.map_err(|error| fault_of(&error))?;
        let status = response.status().as_u16();
        if !response.status().is_success() {
            let after = retry_after(response.headers(), SystemTime::now());
            self.keep_detail(response).await;
            return Err(Fault::of_status(status, after));
        }
        if !has_type(response.headers(), self.content_type) {
            self.keep_detail(response).await;
            return Err(Fault::WrongContentType);
        }
        Ok(self.capped(response))
    }

    /// The answer, whose body ends with a fault at the cap.
    fn capped(self, response: Response) -> Response {
        let (cap, seen) = (self.reply_bytes, self.seen);
        let body = response.bytes_stream().map(move |part| {
            let part = part.map_err(|error| match error.is_timeout() {
                true => Fault::TimeOut,
                false => Fault::CutOff,
            });
            let mut outcome = part;
            seen.note(|seen| {
                seen.received += outcome.as_ref().map_or(0, |part| part.len() as u64);
                if outcome.is_ok() && seen.received > cap {
                    outcome = Err(Fault::TooLong);
                }
                seen.cut = outcome.as_ref().err().cloned().or(seen.cut.take());
            });
            outcome
        });
        // Status and type were judged; the library above looks at nothing else.
        http::Response::new(Body::wrap_stream(body)).into()
    }

    async fn keep_detail(&self, response: Response) {
        let mut bytes = Vec::new();
        let mut body = response.bytes_stream();
        while let Some(Ok(part)) = body.next().await {
            bytes.extend_from_slice(&part);
            if bytes.len() > LONGEST_DETAIL.0 {
                break;
            }
        }
        let detail = quotable(&String::from_utf8_lossy(&bytes), self.key.as_ref());
        self.seen.note(|seen| seen.detail = detail);
    }
}

/// The endpoint's words as the record keeps them: cut and without the key.
pub(crate) fn quotable(words: &str, key: Option<&ApiKey>) -> String {
    let clean = key.map(|key| words.replace(key.secret().expose_secret(), WITHHELD));
    clean.as_deref().unwrap_or(words).chars().take(LONGEST_DETAIL.1).collect()
}

fn head_of(request: &Request) -> RequestHead {
    let text = |name, value: &reqwest::header::HeaderValue| match name == AUTHORIZATION {
        true => WITHHELD.to_owned(),
        false => String::from_utf8_lossy(value.as_bytes()).into_owned(),
    };
    let headers = request.headers().iter();
    RequestHead {
        method: request.method().to_string(),
        url: request.url().to_string(),
        headers: headers.map(|(name, value)| (name.to_string(), text(name, value))).collect(),
    }
}

fn has_type(headers: &HeaderMap, wanted: &str) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case(wanted))
}

/// What an error of the HTTP client is; its text may quote addresses and stays out.
pub(crate) fn fault_of(error: &reqwest::Error) -> Fault {
    match error {
        error if error.is_timeout() && !error.is_connect() => Fault::TimeOut,
        error if error.is_body() || error.is_decode() => Fault::CutOff,
        error if error.is_request() && !error.is_connect() => Fault::CutOff,
        _ => Fault::Unreachable,
    }
}
