//! `seal tls init` and `seal tls issue`.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use seal_service::store::private_folder;
use seal_service::tls::Party;
use serde::Serialize;

use super::authority::{Authority, Wanted, Written};
use crate::cli::{Global, TlsInit, TlsIssue};
use crate::commands::{hint, print_json};

/// `--json` of both.
#[derive(Serialize)]
struct Made {
    certificates: Vec<Pair>,
}

#[derive(Serialize)]
struct Pair {
    name: String,
    certificate: String,
    key: String,
}

pub(super) fn init(global: &Global, args: &TlsInit) -> Result<()> {
    let folder = &args.folder;
    ensure!(!folder.exists(), "`{}` exists already; choose another folder", folder.display());
    private_folder(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    let made = fill(args, folder);
    if made.is_err() {
        // Half a CA is none, and what would be left keeps a second try from working.
        let _ = std::fs::remove_dir_all(folder);
    }
    tell(global, &made?)?;
    hint(
        global,
        &format!(
            "carry each pair to its host with `{0}/ca.pem`, name them under [tls] (configs/three-hosts), and take \
             `{0}/ca.key.pem` offline",
            folder.display()
        ),
    );
    Ok(())
}

fn fill(args: &TlsInit, folder: &Path) -> Result<Vec<Written>> {
    let authority = Authority::make(folder, &args.trust_domain, args.ca_days)?;
    let mut made = Vec::new();
    for party in Party::ALL {
        let hosts = args.hosts.iter().filter(|at| at.party == party);
        let hosts: Vec<String> = hosts.map(|at| at.host.clone()).collect();
        if party.is_daemon() && hosts.is_empty() {
            continue;
        }
        let id = id_of(party, &hosts);
        let wanted = Wanted { party, id: &id, hosts: &hosts, days: args.days };
        made.push(authority.issue(&wanted, folder)?);
    }
    Ok(made)
}

pub(super) fn issue(global: &Global, args: &TlsIssue) -> Result<()> {
    let authority = Authority::open(&args.ca)?;
    let folder = args.out.as_deref().unwrap_or(&args.ca);
    private_folder(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    let id = args.id.clone().unwrap_or_else(|| id_of(args.party, &args.hosts));
    let wanted = Wanted { party: args.party, id: &id, hosts: &args.hosts, days: args.days };
    let made = authority.issue(&wanted, folder)?;
    tell(global, &[made])?;
    hint(
        global,
        "put both files in place of the old ones and start the daemon again; it reads them at its start",
    );
    Ok(())
}

/// The first host, as far as its letters may stand in a name.
fn id_of(party: Party, hosts: &[String]) -> String {
    let host = hosts.first().map(|host| host.replace(':', "-"));
    host.unwrap_or_else(|| party.name().to_owned())
}

fn tell(global: &Global, made: &[Written]) -> Result<()> {
    if global.json {
        let certificates = made.iter().map(|made| Pair {
            name: made.identity.to_string(),
            certificate: made.certificate.display().to_string(),
            key: made.key.display().to_string(),
        });
        return print_json(&Made { certificates: certificates.collect() });
    }
    for Written { identity, certificate, key } in made {
        out!("{:<9} {identity}", identity.party.name());
        out!("          {}   {}", certificate.display(), key.display());
    }
    Ok(())
}
