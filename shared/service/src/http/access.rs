//! Which caller may use which path. Between hosts the certificate says who calls.
//!
//! **Invariant:** what the table does not allow is refused; a path that is new is closed until somebody
//! writes down who needs it.
//! **Invariant:** no daemon calls another one, so a daemon's certificate opens nothing.

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use seal_protocol::path;

use super::ApiError;
use crate::tls::{Identity, Party};

/// Who sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A process of this machine: over a unix socket one of our own user, over loopback any.
    Local,
    /// The bearer of a certificate.
    Named(Identity),
    /// The bearer of a certificate of the right CA that names no party, and what is wrong with it.
    Nameless(String),
}

const CONDUCTOR: &[Party] = &[Party::Conductor];
const OPERATOR: &[Party] = &[Party::Operator];
const BOTH: &[Party] = &[Party::Conductor, Party::Operator];

/// Paths of all daemons. What starts work or moves a run's bytes is the conductor's; what changes or
/// asks the serving model by a person's will is the operator's.
const TABLE: [(Method, &str, &[Party]); 20] = [
    (Method::GET, path::HEALTH, BOTH),
    (Method::GET, path::CONFINEMENT, BOTH),
    (Method::GET, path::JOB, CONDUCTOR),
    (Method::POST, path::PROPOSALS, CONDUCTOR),
    (Method::POST, path::POLICY_UPDATES, CONDUCTOR),
    (Method::POST, path::INNER_UPDATES, CONDUCTOR),
    (Method::POST, path::EXTENSIONS, CONDUCTOR),
    (Method::POST, path::CONSOLIDATIONS, CONDUCTOR),
    (Method::GET, path::ADAPTER_FILE, CONDUCTOR),
    (Method::PUT, path::ADAPTER_FILE, CONDUCTOR),
    (Method::POST, path::JUDGEMENTS, CONDUCTOR),
    (Method::POST, path::AUDITS, CONDUCTOR),
    (Method::POST, path::LEDGER, BOTH),
    (Method::POST, path::COSIGNATURES, BOTH),
    (Method::GET, path::LEDGER_HEADS, BOTH),
    (Method::POST, path::LEDGER_HEADS, BOTH),
    // The last task of a run, on a verdict that allows it.
    (Method::POST, path::PROMOTIONS, BOTH),
    (Method::POST, path::ROLLBACKS, OPERATOR),
    (Method::GET, path::VERSIONS, BOTH),
    (Method::POST, path::ANSWERS, OPERATOR),
];

/// Who may use a path, as it stands in the router.
pub fn callers(method: &Method, path: &str) -> &'static [Party] {
    // A HEAD is answered by the handler of GET.
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let row = TABLE.iter().find(|(verb, at, _)| verb == method && *at == path);
    row.map_or(&[], |(_, _, callers)| callers)
}

/// Puts the table before every route of `router`. Whoever serves it says by an extension who calls.
pub(crate) fn restrict(router: Router) -> Router {
    router.layer(from_fn(admit))
}

async fn admit(request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    match judge(request.extensions().get(), request.method(), path) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

fn judge(peer: Option<&Peer>, method: &Method, path: &str) -> Result<(), ApiError> {
    let refuse = |code, message| Err(ApiError::new(StatusCode::FORBIDDEN, code, message));
    match peer {
        Some(Peer::Local) => Ok(()),
        Some(Peer::Named(caller)) if callers(method, path).contains(&caller.party) => Ok(()),
        Some(Peer::Named(caller)) => refuse("not_your_route", not_yours(caller, method, path)),
        Some(Peer::Nameless(reason)) => refuse("no_role", format!("Nobody may call so: {reason}.")),
        None => refuse("no_role", "This daemon cannot tell who calls.".to_owned()),
    }
}

fn not_yours(caller: &Identity, method: &Method, path: &str) -> String {
    let allowed: Vec<&str> = callers(method, path).iter().map(|party| party.name()).collect();
    let allowed = match allowed.as_slice() {
        [] => "nobody from another machine".to_owned(),
        names => format!("the {}", names.join(" and the ")),
    };
    format!(
        "`{method} {path}` is for {allowed}, and this certificate is the {}'s (`{caller}`); call with the right one.",
        caller.party
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(party: Party) -> Peer {
        let (trust_domain, id) = ("seal.test".to_owned(), "x".to_owned());
        Peer::Named(Identity { trust_domain, party, id })
    }

    #[test]
    fn every_path_of_the_protocol_has_a_row() {
        let source = include_str!("../../../protocol/src/api.rs");
        let paths: Vec<&str> =
            source.split('"').skip(1).step_by(2).filter(|text| text.starts_with("/v1/")).collect();
        assert!(paths.len() >= 15, "{paths:?}");
        for path in paths {
            assert!(TABLE.iter().any(|(_, at, _)| *at == path), "nobody may call `{path}`");
        }
    }

    #[test]
    fn no_daemons_certificate_opens_any_route() {
        for (method, path, _) in &TABLE {
            for party in Party::ALL.into_iter().filter(|party| party.is_daemon()) {
                let refused = judge(Some(&named(party)), method, path).unwrap_err();
                assert_eq!(refused.status, StatusCode::FORBIDDEN);
                assert_eq!(refused.body.code, "not_your_route", "{party}: {method} {path}");
            }
        }
    }

    #[test]
    fn a_conductor_can_neither_undo_nor_ask_and_an_operator_starts_no_work() {
        let conductor = |method, path| judge(Some(&named(Party::Conductor)), &method, path).is_ok();
        let operator = |method, path| judge(Some(&named(Party::Operator)), &method, path).is_ok();
        assert!(conductor(Method::POST, path::AUDITS) && !operator(Method::POST, path::AUDITS));
        assert!(!conductor(Method::POST, path::ROLLBACKS));
        assert!(!conductor(Method::POST, path::ANSWERS));
        assert!(operator(Method::POST, path::ROLLBACKS) && operator(Method::POST, path::ANSWERS));
        assert!(conductor(Method::HEAD, path::HEALTH) && operator(Method::GET, path::HEALTH));
    }

    #[test]
    fn what_the_table_does_not_know_is_closed_to_other_machines_only() {
        let conductor = named(Party::Conductor);
        for (method, path) in
            [(Method::GET, "/v1/new"), (Method::DELETE, path::HEALTH), (Method::GET, "")]
        {
            assert!(judge(Some(&conductor), &method, path).is_err(), "{method} {path}");
            assert!(judge(Some(&Peer::Local), &method, path).is_ok());
        }
    }

    #[test]
    fn who_cannot_be_named_is_refused() {
        let nameless = Peer::Nameless("it has 0 URI names".to_owned());
        for peer in [None, Some(&nameless)] {
            let refused = judge(peer, &Method::GET, path::HEALTH).unwrap_err();
            assert_eq!(
                (refused.status, refused.body.code.as_str()),
                (StatusCode::FORBIDDEN, "no_role")
            );
        }
    }
}
