//! A client of one daemon: HTTP/1.1 over its unix socket, its loopback port, or TLS to another host.
//!
//! **Invariant:** every call has a deadline, and every failure says whether the daemon is gone, has
//! refused, has failed at the work, or does not speak our protocol.
//! **Invariant:** over TLS a message goes only to a daemon whose certificate bears the role that was
//! called. There are no redirects and no proxies.
//! **Absent:** trust. What a daemon returns is verified by whoever acts on it.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use seal_protocol::{Digest, ErrorBody, JobAccepted, JobStatus, path};
use seal_service::endpoint::Endpoint;
use seal_service::tls::{Party, TlsCallError, TlsClient, explain, in_chain};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep, timeout};

/// Longest answer that is read, in bytes.
const LONGEST_ANSWER: usize = 1 << 30;
/// Longest time for one call; a little more than a daemon gives itself.
const CALL_DEADLINE: Duration = Duration::from_secs(130);
/// Pauses between two looks at a job: short ones first, for short jobs.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Pause before a daemon that is busy is asked again, unless it names one.
const BUSY_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause that a daemon may ask for.
const LONGEST_BUSY_PAUSE: Duration = Duration::from_secs(10);

/// Calls one daemon. Each call is a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    endpoint: Endpoint,
    /// For an endpoint `tls:…`: who we are, and who must answer.
    tls: Option<(TlsClient, Party)>,
    deadline: Duration,
}

/// What came back.
struct Answer {
    status: StatusCode,
    /// How long a daemon that is busy asks us to wait.
    retry_after: Option<Duration>,
    body: Bytes,
}

/// Why a call gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers there, or no longer.
    #[error("no daemon answers at `{endpoint}`; {mend}")]
    Unreachable {
        /// Where.
        endpoint: Endpoint,
        /// What to do.
        mend: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// An endpoint of another host, and nothing to show there.
    #[error(
        "`{endpoint}` asks for a certificate; add `[tls]` to run.toml (`seal tls issue` makes one)"
    )]
    NoCertificate {
        /// Where.
        endpoint: Endpoint,
    },
    /// One end does not take the other's certificate, or no TLS is spoken there.
    #[error("no secure connection to `{endpoint}`: {reason}")]
    Insecure {
        /// Where.
        endpoint: Endpoint,
        /// Why, and the mend.
        reason: String,
    },
    /// The daemon answered 4xx or 5xx.
    #[error("{} ({}, status {status})", body.message, body.code)]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its reason.
        body: ErrorBody,
    },
    /// The job was done and failed.
    #[error("job {}: {} ({})", job.short(), body.message, body.code)]
    JobFailed {
        /// Which.
        job: Digest,
        /// The worker's reason.
        body: ErrorBody,
    },
    /// No answer in time.
    #[error("no answer from `{endpoint}` within {} s; look at its log, it may be overloaded", limit.as_secs())]
    Timeout {
        /// Where.
        endpoint: Endpoint,
        /// How long was waited.
        limit: Duration,
    },
    /// Something answers that is no daemon of this version.
    #[error(
        "`{endpoint}` does not answer as this version expects ({detail}); run one version of SEAL everywhere"
    )]
    Protocol {
        /// Where.
        endpoint: Endpoint,
        /// What was odd.
        detail: String,
    },
}

impl Client {
    /// A client of the daemon at `endpoint`. Connects at each call, not here.
    pub fn new(endpoint: &Endpoint) -> Self {
        Self { endpoint: endpoint.clone(), tls: None, deadline: CALL_DEADLINE }
    }

    /// The same client, that shows a certificate and demands one of the role `expected`.
    #[must_use]
    pub fn over_tls(self, own: &TlsClient, expected: Party) -> Self {
        Self { tls: Some((own.clone(), expected)), ..self }
    }

    /// Where the daemon listens.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The same client with another limit for each call.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// `GET at`, JSON back.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&self, at: &str) -> Result<T, ClientError> {
        let answer = self.exchange(Method::GET, at, Bytes::new()).await?;
        self.parsed(&answer)
    }

    /// `POST at` with JSON, JSON back.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        at: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.odd(&error))?;
        let answer = self.exchange(Method::POST, at, body.into()).await?;
        self.parsed(&answer)
    }

    /// `GET at`, bytes back.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get_bytes(&self, at: &str) -> Result<Bytes, ClientError> {
        self.exchange(Method::GET, at, Bytes::new()).await
    }

    /// `PUT at` with bytes.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn put_bytes(&self, at: &str, bytes: impl Into<Bytes>) -> Result<(), ClientError> {
        self.exchange(Method::PUT, at, bytes.into()).await.map(drop)
    }

    /// Starts a job, or finds the one that the same request has started before.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn submit<B: Serialize>(&self, at: &str, body: &B) -> Result<Digest, ClientError> {
        let accepted: JobAccepted = self.post(at, body).await?;
        Ok(accepted.job)
    }

    /// Whether the job that this request makes was done before. The same bytes are the same job, so
    /// its id is known without sending it.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn has_done<B: Serialize>(&self, kind: &str, body: &B) -> Result<bool, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.odd(&error))?;
        let id = seal_service::jobs::job_id(kind, &body);
        match self.get(&path::JOB.replace("{id}", &id.to_string())).await {
            Ok(status) => Ok(matches!(status, JobStatus::Done { .. })),
            Err(ClientError::Refused { status: 404, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits for a job's result and tells its progress (done, total) at every change.
    ///
    /// # Errors
    /// [`ClientError::JobFailed`] if it failed, [`ClientError::Timeout`] after `limit` without progress.
    pub async fn wait_job<T: DeserializeOwned>(
        &self,
        job: &Digest,
        limit: Duration,
        mut on_progress: impl FnMut(u64, u64),
    ) -> Result<T, ClientError> {
        let at = path::JOB.replace("{id}", &job.to_string());
        let mut until = Instant::now() + limit;
        let (mut pause, mut told) = (FIRST_PAUSE, None);
        loop {
            match self.get(&at).await? {
                JobStatus::Done { result } => return self.read_value(result),
                JobStatus::Failed { error: body } => {
                    return Err(ClientError::JobFailed { job: *job, body });
                }
                JobStatus::Running { done, total } if told != Some((done, total)) => {
                    told = Some((done, total));
                    until = Instant::now() + limit;
                    on_progress(done, total);
                }
                JobStatus::Running { .. } | JobStatus::Queued => {}
            }
            if Instant::now() >= until {
                return Err(self.late(limit));
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// A daemon that is busy is asked again: it has not begun, so nothing is done twice.
    async fn exchange(&self, method: Method, at: &str, body: Bytes) -> Result<Bytes, ClientError> {
        let until = Instant::now() + self.deadline;
        loop {
            let request = self.request(method.clone(), at, body.clone())?;
            let left = until.saturating_duration_since(Instant::now());
            let answer = timeout(left, self.connected(request)).await;
            let answer = answer.unwrap_or_else(|_| Err(self.late(self.deadline)))?;
            match answer.pause() {
                Some(pause) if Instant::now() + pause < until => sleep(pause).await,
                _ if answer.status.is_success() => return Ok(answer.body),
                _ => return Err(self.refused(answer.status, &answer.body)),
            }
        }
    }

    fn request(
        &self,
        method: Method,
        at: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        let host = match &self.endpoint {
            Endpoint::Tls(host) => host.to_string(),
            _ => "localhost".to_owned(),
        };
        Request::builder()
            .method(method)
            .uri(at)
            .header(HOST, host)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| self.odd(&error))
    }

    async fn connected(&self, request: Request<Full<Bytes>>) -> Result<Answer, ClientError> {
        match &self.endpoint {
            Endpoint::Unix(socket) => {
                let stream = UnixStream::connect(socket).await;
                self.over(stream.map_err(|error| self.unreachable(error))?, request).await
            }
            Endpoint::Tcp(address) => {
                let stream = TcpStream::connect(address).await;
                self.over(stream.map_err(|error| self.unreachable(error))?, request).await
            }
            Endpoint::Tls(host) => {
                let endpoint = self.endpoint.clone();
                let (own, expected) =
                    self.tls.as_ref().ok_or(ClientError::NoCertificate { endpoint })?;
                let stream = own.connect(host, *expected).await;
                self.over(stream.map_err(|error| self.not_connected(error))?, request).await
            }
        }
    }

    async fn over<S>(&self, stream: S, request: Request<Full<Bytes>>) -> Result<Answer, ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(error))?;
        // It ends with the exchange; its errors reach the request too.
        tokio::spawn(connection);
        let answer = sender.send_request(request).await.map_err(|error| self.broken(error))?;
        let status = answer.status();
        let retry_after = answer.headers().get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|text| text.to_str().ok()?.parse().ok());
        let retry_after = retry_after.map(Duration::from_secs);
        let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
        let body = body.map_err(|error| self.unreachable(io::Error::other(error)))?;
        Ok(Answer { status, retry_after, body: body.to_bytes() })
    }

    fn parsed<T: DeserializeOwned>(&self, answer: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(answer).map_err(|error| self.odd(&error))
    }

    fn read_value<T: DeserializeOwned>(&self, value: serde_json::Value) -> Result<T, ClientError> {
        serde_json::from_value(value).map_err(|error| self.odd(&error))
    }

    fn refused(&self, status: StatusCode, answer: &[u8]) -> ClientError {
        match serde_json::from_slice(answer) {
            Ok(body) => ClientError::Refused { status: status.as_u16(), body },
            Err(error) => self.odd(&format!("status {status}, {error}")),
        }
    }

    fn unreachable(&self, source: io::Error) -> ClientError {
        let mend = match source.kind() {
            io::ErrorKind::PermissionDenied => "call it as the user who started it",
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                "start it, or correct the endpoint in the config"
            }
            _ => "it may have ended; look at its log and start it again",
        };
        ClientError::Unreachable { endpoint: self.endpoint.clone(), mend, source }
    }

    fn not_connected(&self, error: TlsCallError) -> ClientError {
        match error {
            TlsCallError::Connect(source) => self.unreachable(source),
            other => self.insecure(other.to_string()),
        }
    }

    fn insecure(&self, reason: String) -> ClientError {
        ClientError::Insecure { endpoint: self.endpoint.clone(), reason }
    }

    /// A connection that breaks off is a daemon that ended; anything else is no daemon of ours. Where
    /// it refuses our certificate, TLS 1.3 tells only now.
    fn broken(&self, error: hyper::Error) -> ClientError {
        if let Some(tls) = in_chain(&error) {
            return self.insecure(explain(tls));
        }
        match error.is_parse() {
            true => self.odd(&error),
            false => self.unreachable(io::Error::other(error)),
        }
    }

    fn late(&self, limit: Duration) -> ClientError {
        ClientError::Timeout { endpoint: self.endpoint.clone(), limit }
    }

    fn odd(&self, detail: &dyn std::fmt::Display) -> ClientError {
        ClientError::Protocol { endpoint: self.endpoint.clone(), detail: detail.to_string() }
    }
}

impl Answer {
    /// How long to wait before asking again, if that is what the daemon wants.
    fn pause(&self) -> Option<Duration> {
        let busy = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS];
        let asked = self.retry_after.unwrap_or(BUSY_PAUSE).min(LONGEST_BUSY_PAUSE);
        busy.contains(&self.status).then_some(asked)
    }
}

#[cfg(test)]
mod tests;
