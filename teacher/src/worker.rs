//! The model thread's side: a kind of work and its body become a call on the teacher.

use seal_protocol::ErrorBody;
use seal_service::jobs::{Progress, Worker};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::TeacherError;
use crate::teacher::Teacher;

/// Kinds of work.
pub(crate) mod kind {
    pub(crate) const PROPOSE: &str = "propose";
    pub(crate) const POLICY_UPDATE: &str = "policy-update";
}

impl Worker for Teacher {
    fn run(&mut self, kind: &str, body: &[u8], progress: &Progress) -> Result<Value, ErrorBody> {
        let mut report = |done: u64, total: u64| progress.set(done, total);
        let outcome = match kind {
            kind::PROPOSE => with(body, |request| self.propose(&request, &mut report)),
            kind::POLICY_UPDATE => with(body, |request| self.policy_update(&request, &mut report)),
            other => Err(TeacherError::UnknownWork(other.to_owned())),
        };
        outcome.map_err(|error| error.to_body())
    }
}

fn with<Request, Reply>(
    body: &[u8],
    work: impl FnOnce(Request) -> Result<Reply, TeacherError>,
) -> Result<Value, TeacherError>
where
    Request: DeserializeOwned,
    Reply: Serialize,
{
    let reply = work(serde_json::from_slice(body)?)?;
    Ok(serde_json::to_value(reply)?)
}
