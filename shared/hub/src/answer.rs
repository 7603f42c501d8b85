//! What an unwelcome answer of a hub means.
//!
//! Source: the headers `X-Error-Code` of the hub's API, by which huggingface_hub tells them apart. A
//! hub hides what it does not show: a private repository looks like one that is not there.

use std::error::Error;

use hf_hub::HFError;
use reqwest::StatusCode;

use crate::error::HubError;
use crate::name::{RepoName, Revision};
use crate::settings::Settings;

/// What was asked when the answer came.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) name: &'a RepoName,
    pub(crate) revision: &'a Revision,
    /// The file, if it was one.
    pub(crate) file: Option<&'a str>,
}

/// An answer that is no success.
pub(crate) struct Refused<'a> {
    pub(crate) status: StatusCode,
    pub(crate) code: Option<&'a str>,
    pub(crate) message: Option<&'a str>,
    pub(crate) after_s: Option<u64>,
}

impl Asked<'_> {
    fn what(&self) -> String {
        match self.file {
            Some(file) => format!("`{file}` of `{}`", self.name),
            None => format!("`{}` at `{}`", self.name, self.revision),
        }
    }

    /// The error of an answer.
    pub(crate) fn refused(&self, answer: &Refused<'_>) -> HubError {
        let (name, endpoint) = (self.name.to_string(), self.settings.endpoint.clone());
        let with_token = self.settings.token.is_some();
        match (answer.code, answer.status.as_u16()) {
            (Some("GatedRepo"), _) => HubError::Gated { name, endpoint, with_token },
            (Some("RepoNotFound"), _) => HubError::NoRepository { name, endpoint, with_token },
            (Some("RevisionNotFound"), _) => self.no_revision(),
            (None, 401) if with_token => HubError::TokenRejected { endpoint },
            (None, 401) => HubError::NoToken { endpoint },
            (None, 403) => HubError::Gated { name, endpoint, with_token },
            (None, 404) if self.file.is_none() && *self.revision != Revision::default() => {
                self.no_revision()
            }
            (None, 404) if self.file.is_none() => {
                HubError::NoRepository { name, endpoint, with_token }
            }
            (_, 429) => HubError::Busy { endpoint, after_s: answer.after_s, with_token },
            _ => {
                let said = answer.message.map(|text| format!(" ({})", self.settings.shown(text)));
                let answer = format!("{}{}", answer.status, said.unwrap_or_default());
                HubError::Answer { endpoint, what: self.what(), answer }
            }
        }
    }

    fn no_revision(&self) -> HubError {
        HubError::NoRevision { name: self.name.to_string(), revision: self.revision.to_string() }
    }

    /// The error of an answer that lacks something.
    pub(crate) fn malformed(&self, problem: &str) -> HubError {
        let answer = format!("what is no answer to that: {}", self.settings.shown(problem));
        HubError::Answer { endpoint: self.settings.endpoint.clone(), what: self.what(), answer }
    }

    /// The error of a request without an answer.
    pub(crate) fn unreachable(&self, error: &(dyn Error + 'static)) -> HubError {
        self.silent(&innermost(error))
    }

    /// The error of a request that got no answer in time.
    pub(crate) fn timed_out(&self) -> HubError {
        self.silent(&format!("no answer for {} s", self.settings.stall.as_secs_f32()))
    }

    fn silent(&self, reason: &str) -> HubError {
        let endpoint = self.settings.endpoint.clone();
        HubError::Unreachable { endpoint, what: self.what(), reason: self.settings.shown(reason) }
    }

    /// An error of `hf-hub` in our words: its own hold addresses, which may be signed, and whatever
    /// the hub sent.
    pub(crate) fn of(&self, error: &HFError) -> HubError {
        let context = match error {
            HFError::Http { context }
            | HFError::AuthRequired { context }
            | HFError::Forbidden { context }
            | HFError::Conflict { context }
            | HFError::RateLimited { context, .. } => context,
            HFError::RepoNotFound { context: Some(context), .. }
            | HFError::RevisionNotFound { context: Some(context), .. }
            | HFError::EntryNotFound { context: Some(context), .. } => context,
            HFError::Request { source, .. } if source.is_decode() => {
                return self.malformed("its body does not read");
            }
            HFError::Request { source, .. } => return self.unreachable(source),
            HFError::Xet { source, .. } => return self.unreachable(source.as_ref()),
            HFError::MalformedResponse { what, .. } => return self.malformed(what),
            _ => return self.malformed("hf-hub cannot use it"),
        };
        let after_s = match error {
            HFError::RateLimited { retry_after, .. } => retry_after.map(|after| after.as_secs()),
            _ => None,
        };
        self.refused(&Refused {
            status: context.status,
            code: context.error_code.as_deref(),
            message: context.server_message.as_deref(),
            after_s,
        })
    }
}

/// The first cause of an error: the outer ones of HTTP clients hold addresses.
pub(crate) fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}
