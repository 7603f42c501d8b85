//! `seal trust install`: the next version takes the place of the one in force.
//!
//! Daemons read it at their next start. The version before stays beside it, for those that have
//! slept and for whoever verifies old records.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use seal_service::store::write_atomic;
use seal_trust::{PublicKey, TrustRoot, TrustedRoot};
use seal_witness::version_file;

use super::files;
use super::show::print_changes;
use crate::cli::{Global, Install};
use crate::commands::{hint, print_json};
use crate::exit::{Ended, Failure, OrEnd};

pub(super) fn install(global: &Global, args: &Install) -> Result<(), Failure> {
    let root_file = files::root_path(global, args.root.as_deref())?;
    let draft_file = args.draft.clone().unwrap_or_else(|| files::next_path(&root_file));
    let (previous, next) = verified(&root_file, &draft_file).or_end(Ended::Unverified)?;
    put(&root_file, previous.as_ref(), &next)?;
    if draft_file != root_file {
        // What it said stands in the trust root now.
        let _ = std::fs::remove_file(&draft_file);
    }
    let (version, digest) = (next.root().version, next.digest());
    if global.json {
        print_json(&serde_json::json!({ "version": version, "digest": digest }))?;
        return Ok(());
    }
    print_changes(global, previous.as_ref().map(TrustedRoot::root), next.root())?;
    out!("in force  version {version}, digest {digest}");
    hint(global, "restart the daemons; each keeps this version and takes no older one again");
    Ok(())
}

/// The version in force, where there is one, and its successor.
fn verified(root_file: &Path, draft_file: &Path) -> Result<(Option<TrustedRoot>, TrustedRoot)> {
    let file = files::read(draft_file)?;
    let refused = || format!("`{}` cannot be put in force", draft_file.display());
    if !root_file.exists() {
        let first = TrustRoot::open(&file, None, files::now()).with_context(refused)?;
        ensure!(
            first.root().version == 1,
            "`{}` is missing, and a version {} needs the ones before it",
            root_file.display(),
            first.root().version
        );
        return Ok((None, first));
    }
    let current = files::root(root_file)?;
    let next = current.update(&file, files::now()).with_context(refused)?;
    Ok((Some(current), next))
}

/// The old version is put aside first: a kill in between leaves it in force.
fn put(root_file: &Path, previous: Option<&TrustedRoot>, next: &TrustedRoot) -> Result<()> {
    let write = |path: &Path, bytes: &[u8]| {
        write_atomic(path, bytes).with_context(|| format!("cannot write `{}`", path.display()))
    };
    if let Some(previous) = previous {
        write(&version_file(root_file, previous.root().version), previous.file())?;
    }
    write(root_file, next.file())?;
    write(&root_file.with_extension("sha256"), format!("{}\n", next.digest()).as_bytes())?;
    for role in next.root().roles.keys() {
        let pems: String = next.keys(*role).iter().map(PublicKey::to_pem).collect();
        write(&root_file.with_file_name(format!("{role}.pub.pem")), pems.as_bytes())?;
    }
    Ok(())
}
