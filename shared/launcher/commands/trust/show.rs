//! `seal trust show`, and how a trust root and its changes look on a terminal.

use std::path::Path;

use anyhow::{Context, Result};
use seal_trust::{RootDraft, Signed, TrustRoot, changes, sha256};
use serde::Serialize;

use super::files;
use crate::cli::Global;
use crate::commands::{hint, print_json};
use crate::exit::Failure;
use crate::text::{printable, wire_name};

/// `seal trust show --json`.
#[derive(Serialize)]
struct Shown<'a> {
    file: String,
    digest: String,
    complete: bool,
    root: &'a TrustRoot,
}

pub(super) fn show(global: &Global, file: Option<&Path>) -> Result<(), Failure> {
    let path = files::root_path(global, file)?;
    let bytes = files::read(&path)?;
    // A draft of a later version needs the one before; shown alone, its signatures are not counted.
    let (root, complete) = read(&bytes)
        .with_context(|| format!("`{}` is no trust root and no draft", path.display()))?;
    let digest = sha256(&bytes).to_string();
    if global.json {
        print_json(&Shown { file: path.display().to_string(), digest, complete, root: &root })?;
        return Ok(());
    }
    out!("file      {}", path.display());
    out!("digest    {digest}");
    if !complete {
        out!("state     a draft: not in force, and its signatures were not checked here");
    }
    print_root(&root);
    hint(global, "seal trust rotate|revoke|change drafts the next version");
    Ok(())
}

fn read(bytes: &[u8]) -> Result<(TrustRoot, bool)> {
    if let Ok(root) = TrustRoot::open_for_update(bytes, sha256(bytes)) {
        return Ok((root.root().clone(), true));
    }
    if let Ok(draft) = RootDraft::open(bytes, None) {
        return Ok((draft.root().clone(), false));
    }
    let envelope = seal_trust::envelope_from_file_bytes(bytes)?;
    let root: TrustRoot = serde_json::from_slice(&seal_trust::payload_bytes(&envelope)?)?;
    root.check()?;
    Ok((root, false))
}

fn print_root(root: &TrustRoot) {
    out!("version   {}", root.version);
    out!("expires   {}", moment(root.expires.0));
    for (role, names) in &root.roles {
        out!("{:<9} {} of {} keys must sign", role.name(), names.threshold, names.keyids.len());
        for keyid in &names.keyids {
            let revoked = root.revoked.iter().find(|entry| entry.keyid == *keyid);
            let note = revoked.map_or_else(String::new, |entry| {
                format!("   REVOKED from sequence {} on", entry.from_sequence)
            });
            out!("            {}{note}", printable(keyid));
        }
    }
    for entry in root.revoked.iter().filter(|entry| root.role_of_keyid(&entry.keyid).is_none()) {
        out!("revoked   {} from sequence {} on", printable(&entry.keyid), entry.from_sequence);
    }
    let pins = &root.pins;
    let lists = [
        ("base model", &pins.base_models),
        ("policy", &pins.policies),
        ("suite", &pins.suites),
        ("evaluator", &pins.evaluators),
    ];
    for (what, digests) in lists {
        match digests.as_slice() {
            [] => out!("pins      any {what}"),
            digests => digests.iter().for_each(|digest| out!("pins      {what} {digest}")),
        }
    }
    let limits = &root.limits;
    out!(
        "limits    verdicts live {} s, clocks differ {} s, {} attempts on one tau, chance accepts {}",
        limits.verdict_ttl_s,
        limits.max_clock_skew_s,
        limits.tau_query_budget,
        limits.alpha_micro.to_f64()
    );
    out!("          confinement at least {}", wire_name(&limits.min_enforcement));
}

fn moment(seconds: u64) -> String {
    let moment = i64::try_from(seconds).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    moment.map_or_else(|| seconds.to_string(), |moment| moment.to_string())
}

/// What a signer reads before signing. A line that loosens something begins with `!`.
pub(super) fn print_changes(
    global: &Global,
    old: Option<&TrustRoot>,
    new: &TrustRoot,
) -> Result<()> {
    let list = changes(old, new);
    if global.json {
        let lines: Vec<_> = list
            .iter()
            .map(|line| serde_json::json!({ "text": line.text, "loosens": line.loosens }))
            .collect();
        return print_json(&serde_json::json!({ "version": new.version, "changes": lines }));
    }
    for line in &list {
        out!("{} {}", if line.loosens { "!" } else { " " }, printable(&line.text));
    }
    if list.iter().any(|line| line.loosens) {
        out!("lines with `!` let something pass that was refused before");
    }
    Ok(())
}

/// Who has signed, who may still.
pub(super) fn print_standing(standing: &[Signed]) {
    for of in standing {
        let open = if of.is_enough() || of.open.is_empty() {
            String::new()
        } else {
            format!("; open: {}", short(&of.open))
        };
        out!(
            "signed    {} of {} root keys of version {}{open}",
            of.keyids.len(),
            of.needed,
            of.version
        );
    }
}

fn short(keyids: &[String]) -> String {
    let heads: Vec<&str> = keyids.iter().map(|keyid| keyid.get(..12).unwrap_or(keyid)).collect();
    heads.join(", ")
}
