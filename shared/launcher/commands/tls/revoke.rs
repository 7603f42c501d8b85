//! `seal tls revoke`.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use seal_service::store::write_atomic;
use serde::Serialize;

use super::authority::Authority;
use super::list::{self, List};
use crate::cli::{Global, TlsRevoke};
use crate::commands::{hint, print_json};

const FILE: &str = "ca.crl.pem";

/// `--json`.
#[derive(Serialize)]
struct Revoked {
    file: String,
    #[serde(flatten)]
    list: List,
}

/// Adds certificates to the CA's list, or writes it anew with a later end.
pub(super) fn revoke(global: &Global, args: &TlsRevoke) -> Result<()> {
    let authority = Authority::open(&args.ca)?;
    let file = args.ca.join(FILE);
    let mut entries = match file.exists() {
        true => authority.entries(list::read(&file)?, &file)?,
        false => list::Entries::default(),
    };
    for certificate in &args.certificates {
        let serial = authority.serial_of(certificate)?;
        ensure!(
            entries.add(serial),
            "`{}` is on the list already; nothing was written",
            certificate.display()
        );
    }
    let pem = authority.list(&entries, args.days)?;
    write_atomic(&file, pem.as_bytes())
        .with_context(|| format!("cannot write `{}`", file.display()))?;
    tell(global, &file)?;
    hint(
        global,
        &format!(
            "bring `{}` to every host, name it as `revoked` under [tls], and start the daemons again",
            file.display()
        ),
    );
    Ok(())
}

fn tell(global: &Global, file: &Path) -> Result<()> {
    let list = list::read(file)?.list;
    if global.json {
        return print_json(&Revoked { file: file.display().to_string(), list });
    }
    out!("{}", file.display());
    list.print();
    Ok(())
}
