//! `seal trust key` and `seal trust init`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use seal_protocol::{Role, UnixSeconds};
use seal_service::store::private_folder;
use seal_trust::{Limits, RootDraft, SigningKey, TrustRoot, sha256};
use serde::Serialize;

use super::change::apply_terms;
use super::files;
use crate::cli::{Global, TrustInit};
use crate::commands::{hint, print_json};
use crate::exit::Failure;

/// Roles that get a key here unless one is handed in.
const NEEDED: [Role; 5] = [Role::Root, Role::Teacher, Role::Student, Role::Auditor, Role::Ledger];
/// A year, unless told otherwise.
const LIFE_S: u64 = 365 * 24 * 3600;

pub(super) fn key(global: &Global, file: &Path) -> Result<(), Failure> {
    let public_file = file.with_extension("pub.pem");
    let key = files::write_key_pair(file, &public_file)?;
    if global.json {
        print_json(&serde_json::json!({ "keyid": key.keyid(), "public": public_file }))?;
    } else {
        out!("key       {}", key.keyid());
        out!("private   {}   keep it here, for its owner alone", file.display());
        out!("public    {}   hand this one on", public_file.display());
    }
    Ok(())
}

/// `seal trust init --json`.
#[derive(Serialize)]
struct Made {
    draft: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    private_keys: Vec<PathBuf>,
}

pub(super) fn init(global: &Global, args: &TrustInit) -> Result<(), Failure> {
    let made = make(args)?;
    if global.json {
        print_json(&made)?;
        return Ok(());
    }
    for file in &made.private_keys {
        out!("private   {}", file.display());
    }
    match (&made.root, &made.digest) {
        (Some(root), Some(digest)) => {
            out!("root      {}", root.display());
            out!("digest    {digest}");
            hint(
                global,
                "give this digest to every reader on another way than the file; take the root key \
                 offline",
            );
        }
        _ => {
            out!("draft     {}", made.draft.display());
            hint(global, "seal trust sign DRAFT --key ROOT.pem, by each root key's owner in turn");
        }
    }
    Ok(())
}

fn make(args: &TrustInit) -> Result<Made> {
    let (keys, trust) = (args.folder.join("keys"), args.folder.join("trust"));
    private_folder(&keys).with_context(|| format!("cannot make `{}`", keys.display()))?;
    std::fs::create_dir_all(&trust)
        .with_context(|| format!("cannot make `{}`", trust.display()))?;
    let (draft_file, root_file) = (trust.join("root.draft.json"), trust.join("root.json"));
    for file in [&draft_file, &root_file] {
        ensure!(!file.exists(), "`{}` exists and is not overwritten", file.display());
    }
    let handed_in = |role: Role| args.keys.iter().any(|key| key.role == role);
    let missing: Vec<Role> = NEEDED.into_iter().filter(|role| !handed_in(*role)).collect();
    let private = |role: Role| keys.join(format!("{role}.pem"));

    let mut root = TrustRoot::first(UnixSeconds(files::now().0 + LIFE_S), Limits::default());
    for key in &args.keys {
        root = root.with_key(key.role, &files::public_key(&key.value)?);
    }
    // Everything that can be refused is, before a key lies on the disk.
    apply_terms(&mut root, &args.terms)?;
    for role in &missing {
        let key = files::write_key_pair(&private(*role), &trust.join(format!("{role}.pub.pem")))?;
        root = root.with_key(*role, &key);
    }
    for threshold in &args.thresholds {
        root = root.with_threshold(threshold.role, threshold.value);
    }
    let mut draft = RootDraft::new(&root)?;
    if missing.contains(&Role::Root) {
        draft.sign(&SigningKey::read(&private(Role::Root))?, None)?;
    }
    let file = draft.to_bytes();
    let complete = draft.is_complete(None)?;
    let digest = complete.then(|| sha256(&file).to_string());
    if let Some(digest) = &digest {
        files::write_new(&root_file, &file)?;
        files::write_new(&trust.join("root.sha256"), format!("{digest}\n").as_bytes())?;
    } else {
        files::write_new(&draft_file, &file)?;
    }
    Ok(Made {
        draft: draft_file,
        root: complete.then_some(root_file),
        digest,
        private_keys: missing.into_iter().map(private).collect(),
    })
}
