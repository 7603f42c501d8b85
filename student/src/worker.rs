//! The model thread's side: a kind of work and its body become a call on the student.

use seal_protocol::ErrorBody;
use seal_service::jobs::{Progress, Worker};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::StudentError;
use crate::student::Student;

/// Kinds of work.
pub(crate) mod kind {
    pub(crate) const INNER_UPDATE: &str = "inner-update";
    pub(crate) const EXTEND: &str = "extend";
    pub(crate) const CONSOLIDATE: &str = "consolidate";
    pub(crate) const PROMOTE: &str = "promote";
    pub(crate) const ROLL_BACK: &str = "roll-back";
    pub(crate) const ANSWER: &str = "answer";
}

impl Worker for Student {
    fn run(&mut self, kind: &str, body: &[u8], progress: &Progress) -> Result<Value, ErrorBody> {
        let mut report = |done: u64, total: u64| progress.set(done, total);
        let outcome = match kind {
            kind::INNER_UPDATE => with(body, |request| self.inner_update(&request, &mut report)),
            kind::EXTEND => with(body, |request| self.extend(&request, &mut report)),
            kind::CONSOLIDATE => with(body, |request| self.consolidate(&request, &mut report)),
            kind::PROMOTE => with(body, |request| self.promote(&request)),
            kind::ROLL_BACK => with(body, |request| self.roll_back(&request)),
            kind::ANSWER => with(body, |request| self.answer(&request)),
            other => Err(StudentError::UnknownWork(other.to_owned())),
        };
        outcome.map_err(|error| error.to_body())
    }
}

fn with<Request, Reply>(
    body: &[u8],
    work: impl FnOnce(Request) -> Result<Reply, StudentError>,
) -> Result<Value, StudentError>
where
    Request: DeserializeOwned,
    Reply: Serialize,
{
    let reply = work(serde_json::from_slice(body)?)?;
    Ok(serde_json::to_value(reply)?)
}
