//! `seal tls …`: a private CA for one deployment, and the certificates of its hosts.
//!
//! An organisation's own CA does as well; `docs/THREE-HOSTS.md` says what its certificates must hold.

mod authority;
mod issue;
mod list;
mod revoke;
mod show;

use crate::cli::{Global, Tls};
use crate::exit::{Ended, Failure};

pub(crate) fn tls(global: &Global, command: &Tls) -> Result<Option<Ended>, Failure> {
    match command {
        Tls::Init(args) => issue::init(global, args),
        Tls::Issue(args) => issue::issue(global, args),
        Tls::Revoke(args) => revoke::revoke(global, args),
        Tls::Show { files } => show::show(global, files),
    }
    .map_err(Failure::from)
    .map(|()| None)
}
