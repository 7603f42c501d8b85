//! A revocation list as it lies on disk.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use time::OffsetDateTime;
use x509_parser::prelude::{CertificateRevocationList, FromDer, Pem};

use crate::text::printable;

/// What PEM calls a list.
pub(super) const LABEL: &str = "X509 CRL";

/// What a list says.
#[derive(Serialize)]
pub(super) struct List {
    pub(super) issuer: String,
    pub(super) number: Option<String>,
    pub(super) next_update: Option<String>,
    pub(super) days_left: Option<i64>,
    /// Serial numbers, in hexadecimal digits.
    pub(super) revoked: Vec<String>,
}

/// What the next list carries on.
#[derive(Default)]
pub(super) struct Entries {
    /// The last list's.
    pub(super) number: u64,
    /// Serial number, and since when.
    pub(super) revoked: Vec<(Vec<u8>, OffsetDateTime)>,
}

/// One list that was read.
pub(super) struct Read {
    pub(super) list: List,
    pub(super) entries: Entries,
    /// The identifier of the key that signed it.
    pub(super) authority_key: Option<Vec<u8>>,
}

impl Entries {
    /// False if it is there already.
    pub(super) fn add(&mut self, serial: Vec<u8>) -> bool {
        let is_new = self.revoked.iter().all(|(other, _)| *other != serial);
        if is_new {
            self.revoked.push((serial, OffsetDateTime::now_utc()));
        }
        is_new
    }
}

impl List {
    pub(super) fn print(&self) {
        out!("  list of     {}", printable(&self.issuer));
        out!("  number      {}", self.number.as_deref().unwrap_or("none"));
        match (&self.next_update, self.days_left) {
            (Some(day), Some(left)) if left > 0 => {
                out!("  valid       until {day} ({left} days left)");
            }
            (Some(day), _) => out!("  valid       until {day} (EXPIRED)"),
            _ => out!("  valid       for ever"),
        }
        match self.revoked.as_slice() {
            [] => out!("  revoked     none"),
            all => all.iter().for_each(|serial| out!("  revoked     {serial}")),
        }
    }
}

/// The first list of a PEM file.
pub(super) fn read(file: &Path) -> Result<Read> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let odd = || format!("`{}` holds no revocation list in PEM form", file.display());
    let pems = Pem::iter_from_buffer(&bytes).flatten();
    let pem = pems.into_iter().find(|pem| pem.label == LABEL).with_context(odd)?;
    of(&pem.contents).with_context(odd)
}

/// A list in DER form.
pub(super) fn of(der: &[u8]) -> Result<Read> {
    let (_, crl) = CertificateRevocationList::from_der(der)?;
    let next = crl.next_update().map(|at| at.timestamp());
    let day = |at: i64| -> Result<String> {
        Ok(jiff::Timestamp::from_second(at)?.strftime("%Y-%m-%d").to_string())
    };
    let mut revoked = Vec::new();
    for entry in crl.iter_revoked_certificates() {
        revoked.push((entry.raw_serial().to_vec(), entry.revocation_date.to_datetime()));
    }
    let number = crl.crl_number();
    let hex = |(serial, _): &(Vec<u8>, _)| serial.iter().map(|b| format!("{b:02x}")).collect();
    let list = List {
        issuer: crl.issuer().to_string(),
        number: number.map(ToString::to_string),
        next_update: next.map(day).transpose()?,
        days_left: next.map(super::show::days_until),
        revoked: revoked.iter().map(hex).collect(),
    };
    let number = number.and_then(|number| u64::try_from(number).ok()).unwrap_or(0);
    let authority_key = super::authority::authority_key(crl.extensions()).map(<[u8]>::to_vec);
    Ok(Read { list, entries: Entries { number, revoked }, authority_key })
}
