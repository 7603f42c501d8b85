//! One plain call: no prompt goes out, an object in JSON comes back.

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Method, Request, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::egress::{ApiKey, Ended, Purpose, Spent};
use crate::exchange::Endpoint;
use crate::fault::Fault;
use crate::gate::{Gate, Seen, fault_of, quotable};

/// A call, by its place under the endpoint's base.
#[derive(Clone, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) segments: Vec<&'a str>,
    pub(crate) query: Vec<(&'static str, &'a str)>,
    /// Type and bytes of what is posted; absent: something is fetched.
    pub(crate) body: Option<(&'a str, &'a str)>,
}

impl<'a> Call<'a> {
    pub(crate) fn get(segments: &[&'a str]) -> Self {
        Self { segments: segments.to_vec(), query: Vec::new(), body: None }
    }

    pub(crate) fn post(segments: &[&'a str], content_type: &'a str, body: &'a str) -> Self {
        Self { body: Some((content_type, body)), ..Self::get(segments) }
    }

    /// Names are escaped, so that none leads elsewhere.
    fn url(&self, base: &str) -> Result<Url, Fault> {
        let mut url = Url::parse(base).map_err(|_| Fault::Unreachable)?;
        url.path_segments_mut().map_err(|()| Fault::Unreachable)?.extend(&self.segments);
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        Ok(url)
    }
}

impl Endpoint {
    /// Calls once and records request and end. What may have been taken is counted at `most`.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        call: &Call<'_>,
        purpose: Purpose,
        most: Spent,
    ) -> (Result<T, Fault>, Spent) {
        let seen = Seen::default();
        let gate = self.gate("application/json", purpose, most, seen.clone());
        let exchanged = match self.request(call) {
            Ok(request) => {
                let exchanged = tokio::time::timeout(self.reply_timeout, exchange(gate, request));
                exchanged.await.unwrap_or(Err(Fault::TimeOut))
            }
            Err(fault) => Err(fault),
        };
        let words = exchanged.as_ref().ok().and_then(|answer| answer["error"]["message"].as_str());
        let words = words.map(|words| quotable(words, self.key.as_ref()));
        let outcome = exchanged
            .and_then(|answer| serde_json::from_value(answer).map_err(|_| Fault::Malformed));
        let sight = seen.now();
        let Some(number) = sight.number else { return (outcome, Spent::default()) };
        let taken = match &outcome {
            Ok(_) => true,
            // A server behind another one may have taken what that one failed to answer.
            Err(fault) => fault.may_cost() || matches!(fault, Fault::Server(..)),
        };
        let spent = if taken { most } else { Spent::default() };
        let ended = Ended {
            outcome: outcome.as_ref().err().map_or("ok", Fault::code),
            detail: words.unwrap_or(sight.detail),
            spent,
            measured: spent == Spent::default(),
        };
        match self.record.answered(number, ended).await {
            Ok(()) => (outcome, spent),
            Err(error) => (Err(error.into()), spent),
        }
    }

    fn request(&self, call: &Call<'_>) -> Result<Request, Fault> {
        let method = if call.body.is_some() { Method::POST } else { Method::GET };
        let mut request = self.client.request(method, call.url(&self.base)?);
        if let Some(key) = self.key.as_ref().and_then(ApiKey::header) {
            request = request.header(AUTHORIZATION, key);
        }
        if let Some((content_type, body)) = call.body {
            request = request.header(CONTENT_TYPE, content_type).body(body.to_owned());
        }
        request.build().map_err(|error| fault_of(&error))
    }
}

async fn exchange(gate: Gate, request: Request) -> Result<Value, Fault> {
    let seen = gate.seen.clone();
    let response = gate.pass(request).await?;
    let bytes = response.bytes().await;
    let bytes = bytes.map_err(|error| seen.now().cut.unwrap_or_else(|| fault_of(&error)))?;
    serde_json::from_slice(&bytes).map_err(|_| Fault::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_the_endpoint_leads_nowhere_but_below_its_base() {
        let url = |name: &str| {
            let call = Call { query: vec![("after", "a&b")], ..Call::get(&["models", name]) };
            call.url("https://h/v1").unwrap().to_string()
        };
        assert_eq!(url("ft:m:org::x1"), "https://h/v1/models/ft:m:org::x1?after=a%26b");
        assert_eq!(url("org/m-1"), "https://h/v1/models/org%2Fm-1?after=a%26b");
        assert_eq!(url("../../x?y#z"), "https://h/v1/models/..%2F..%2Fx%3Fy%23z?after=a%26b");
    }
}
