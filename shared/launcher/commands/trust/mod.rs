//! `seal trust …`: make keys and a first trust root, change it, sign it, put it in force.
//!
//! Root keys lie offline, with different people. Nothing here needs more than one of them at a time,
//! and none of it talks to a daemon.

mod change;
mod files;
mod init;
mod install;
mod show;
mod sign;

pub(super) use files::write_new;

use crate::cli::{Global, Trust};
use crate::exit::{Ended, Failure};

pub(crate) fn trust(global: &Global, command: &Trust) -> Result<Option<Ended>, Failure> {
    match command {
        Trust::Key { file } => init::key(global, file),
        Trust::Init(args) => init::init(global, args),
        Trust::Show { file } => show::show(global, file.as_deref()),
        Trust::Rotate(args) => change::rotate(global, args),
        Trust::Revoke(args) => change::revoke(global, args),
        Trust::Change(args) => change::change(global, args),
        Trust::Sign(args) => sign::sign(global, args),
        Trust::Install(args) => install::install(global, args),
    }
    .map(|()| None)
}
