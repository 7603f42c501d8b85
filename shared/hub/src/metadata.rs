//! What a hub says about one file before its bytes are asked for.
//!
//! `hf-hub` follows this request to the store that holds large files, whose answer says nothing of
//! commit and digest. So it is ours: like huggingface_hub it follows a redirect within the hub (a
//! repository that was renamed) and reads the answer that leads elsewhere.

use std::time::Duration;

use reqwest::header::{self, HeaderMap};
use reqwest::{Client, Response, Url, redirect};

use crate::answer::{Asked, Refused};
use crate::content::Etag;
use crate::error::HubError;
use crate::name::is_commit;
use crate::settings::Settings;

/// Most redirects within a hub.
const MAX_REDIRECTS: usize = 5;
/// First wait before a request is made again; each further one takes twice as long.
const BACKOFF: Duration = Duration::from_millis(200);

/// A file's content by name and length.
#[derive(Clone, Debug)]
pub(crate) struct Metadata {
    pub(crate) etag: Etag,
    pub(crate) bytes: u64,
}

/// Asks for metadata.
pub(crate) struct Inquirer {
    client: Client,
}

impl Inquirer {
    pub(crate) fn new(settings: &Settings) -> Result<Self, HubError> {
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .timeout(settings.stall)
            .user_agent(concat!("seal/", env!("CARGO_PKG_VERSION")))
            .build();
        let bad = |error: reqwest::Error| HubError::Unreachable {
            endpoint: settings.endpoint.clone(),
            what: "anything".to_owned(),
            reason: crate::answer::innermost(&error),
        };
        Ok(Self { client: client.map_err(bad)? })
    }

    /// Asks about a file of a commit.
    pub(crate) async fn ask(&self, asked: Asked<'_>, commit: &str) -> Result<Metadata, HubError> {
        let file = asked.file.unwrap_or_default();
        let address = format!("{}/{}/resolve/{commit}/{file}", asked.settings.endpoint, asked.name);
        let mut url =
            Url::parse(&address).map_err(|_| asked.malformed("an address that is none"))?;
        for _ in 0..MAX_REDIRECTS {
            let answer = self.head(asked, &url).await?;
            match within(&url, &answer) {
                Some(next) => url = next,
                None => return read(asked, commit, &answer),
            }
        }
        Err(asked.malformed("too many redirects"))
    }

    /// One request, made again while the hub is busy or cannot be reached.
    async fn head(&self, asked: Asked<'_>, url: &Url) -> Result<Response, HubError> {
        let (mut left, mut wait) = (asked.settings.retries, BACKOFF);
        loop {
            let mut request = self.client.head(url.clone());
            request = request.header(header::ACCEPT_ENCODING, "identity");
            if let Some(token) = &asked.settings.token {
                request = request.bearer_auth(token.secret());
            }
            let answer = request.send().await;
            let passing = match &answer {
                Ok(answer) => is_passing(answer),
                Err(error) => error.is_connect(),
            };
            if left == 0 || !passing {
                return answer.map_err(|error| match error.is_timeout() {
                    true => asked.timed_out(),
                    false => asked.unreachable(&error.without_url()),
                });
            }
            tokio::time::sleep(wait).await;
            (left, wait) = (left - 1, wait * 2);
        }
    }
}

/// True for answers that are likely to change soon.
fn is_passing(answer: &Response) -> bool {
    matches!(answer.status().as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// Where a redirect within the hub leads; the token goes there too, so its host is compared.
fn within(from: &Url, answer: &Response) -> Option<Url> {
    let redirects = answer.status().is_redirection();
    let location = text(answer.headers(), header::LOCATION.as_str()).filter(|_| redirects)?;
    let relative = Url::parse(location).is_err();
    let next = from.join(location).ok().filter(|_| relative)?;
    (next.origin() == from.origin()).then_some(next)
}

fn read(asked: Asked<'_>, commit: &str, answer: &Response) -> Result<Metadata, HubError> {
    let (status, headers) = (answer.status(), answer.headers());
    if !status.is_success() && !status.is_redirection() {
        return Err(asked.refused(&Refused {
            status,
            code: text(headers, "x-error-code"),
            message: text(headers, "x-error-message"),
            after_s: text(headers, header::RETRY_AFTER.as_str()).and_then(|s| s.parse().ok()),
        }));
    }
    let found = text(headers, "x-repo-commit").filter(|text| is_commit(text));
    if found.is_some_and(|found| !found.eq_ignore_ascii_case(commit)) {
        return Err(asked.malformed("the file of another commit"));
    }
    let etag = text(headers, "x-linked-etag").or_else(|| text(headers, header::ETAG.as_str()));
    let length = text(headers, "x-linked-size")
        .or_else(|| text(headers, header::CONTENT_LENGTH.as_str()).filter(|_| status.is_success()));
    let etag = etag.and_then(Etag::new).ok_or_else(|| asked.malformed("no usable ETag"))?;
    let bytes = length.and_then(|length| length.parse().ok());
    Ok(Metadata { etag, bytes: bytes.ok_or_else(|| asked.malformed("no length"))? })
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
