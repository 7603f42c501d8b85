//! `seal tls show`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use seal_service::tls::Identity;
use serde::Serialize;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, GeneralName, Pem, X509Certificate};

use super::list::{self, List};
use crate::cli::Global;
use crate::commands::print_json;
use crate::text::printable;

/// Seconds of a day.
const DAY_S: i64 = 24 * 3600;

/// One entry of a file.
#[derive(Serialize)]
#[serde(untagged)]
enum Shown {
    Certificate(Certificate),
    List {
        file: String,
        #[serde(flatten)]
        list: List,
    },
}

/// What a certificate says.
#[derive(Serialize)]
struct Certificate {
    file: String,
    /// Subject and issuer, for people.
    subject: String,
    issuer: String,
    /// URI names; one that begins with `spiffe://` says who it is.
    names: Vec<String>,
    hosts: Vec<String>,
    ca: bool,
    not_before: String,
    not_after: String,
    days_left: i64,
}

pub(super) fn show(global: &Global, files: &[PathBuf]) -> Result<()> {
    let mut shown = Vec::new();
    for file in files {
        shown.extend(read(file)?);
    }
    if global.json {
        return print_json(&shown);
    }
    for entry in &shown {
        let certificate = match entry {
            Shown::Certificate(certificate) => certificate,
            Shown::List { file, list } => {
                out!("{file}");
                list.print();
                continue;
            }
        };
        out!("{}", certificate.file);
        let role = match certificate.names.as_slice() {
            [name] if name.parse::<Identity>().is_ok() => printable(name),
            _ if certificate.ca => "a CA; it speaks for nobody itself".to_owned(),
            names => format!("names nobody here: {}", printable(&names.join(", "))),
        };
        out!("  speaks for  {role}");
        if !certificate.hosts.is_empty() {
            out!("  at          {}", printable(&certificate.hosts.join(", ")));
        }
        out!("  issued by   {}", printable(&certificate.issuer));
        let left = match certificate.days_left {
            left if left <= 0 => "EXPIRED".to_owned(),
            left => format!("{left} days left"),
        };
        out!("  valid       {} – {} ({left})", certificate.not_before, certificate.not_after);
    }
    Ok(())
}

fn read(file: &Path) -> Result<Vec<Shown>> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let odd = || format!("`{}` holds no certificate in PEM form, nor a list", file.display());
    let mut shown = Vec::new();
    for pem in Pem::iter_from_buffer(&bytes) {
        let pem = pem.with_context(odd)?;
        if pem.label == "CERTIFICATE" {
            let (_, certificate) = X509Certificate::from_der(&pem.contents).with_context(odd)?;
            shown.push(Shown::Certificate(of(file, &certificate)?));
        }
        if pem.label == list::LABEL {
            let (file, list) = (file.display().to_string(), list::of(&pem.contents)?.list);
            shown.push(Shown::List { file, list });
        }
    }
    if shown.is_empty() {
        bail!(odd());
    }
    Ok(shown)
}

fn of(file: &Path, certificate: &X509Certificate<'_>) -> Result<Certificate> {
    let (mut names, mut hosts) = (Vec::new(), Vec::new());
    let alternative = certificate.subject_alternative_name().ok().flatten();
    for name in alternative.iter().flat_map(|names| &names.value.general_names) {
        match name {
            GeneralName::URI(uri) => names.push((*uri).to_owned()),
            GeneralName::DNSName(host) => hosts.push((*host).to_owned()),
            GeneralName::IPAddress(bytes) => hosts.extend(address(bytes)),
            _ => {}
        }
    }
    let validity = certificate.validity();
    let day = |at: i64| -> Result<String> {
        Ok(jiff::Timestamp::from_second(at)?.strftime("%Y-%m-%d").to_string())
    };
    Ok(Certificate {
        file: file.display().to_string(),
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        names,
        hosts,
        ca: certificate.is_ca(),
        not_before: day(validity.not_before.timestamp())?,
        not_after: day(validity.not_after.timestamp())?,
        days_left: days_until(validity.not_after.timestamp()),
    })
}

/// Days until a moment in seconds since 1970. A day that has begun counts.
pub(super) fn days_until(at: i64) -> i64 {
    (at - OffsetDateTime::now_utc().unix_timestamp() + DAY_S - 1).div_euclid(DAY_S)
}

fn address(bytes: &[u8]) -> Option<String> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
        _ => <[u8; 16]>::try_from(bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
    }
}
