//! `seal trust sign`: read what changes, then sign it.

use anyhow::{Context, Result};
use seal_service::store::write_atomic;
use seal_trust::{SigningKey, TrustedRoot, sha256};

use super::files;
use super::show::{print_changes, print_standing};
use crate::cli::{Global, Sign};
use crate::commands::serving::confirm;
use crate::commands::{hint, print_json};
use crate::exit::Failure;

pub(super) fn sign(global: &Global, args: &Sign) -> Result<(), Failure> {
    let previous = previous(args)?;
    let mut draft = files::draft(&args.draft, previous.as_ref())?;
    if !global.json {
        print_changes(global, previous.as_ref().map(TrustedRoot::root), draft.root())?;
    }
    confirm(
        global,
        &format!("sign version {} with `{}`", draft.root().version, args.key.display()),
    )?;
    let key = SigningKey::read(&args.key).map_err(anyhow::Error::from)?;
    draft.sign(&key, previous.as_ref()).map_err(anyhow::Error::from)?;
    let file = draft.to_bytes();
    write_atomic(&args.draft, &file)
        .with_context(|| format!("cannot write `{}`", args.draft.display()))?;
    let standing = draft.standing(previous.as_ref()).map_err(anyhow::Error::from)?;
    let complete = standing.iter().all(seal_trust::Signed::is_enough);
    let digest = sha256(&file);
    if global.json {
        print_json(&serde_json::json!({
            "version": draft.root().version, "complete": complete, "digest": digest,
        }))?;
        return Ok(());
    }
    print_standing(&standing);
    match complete {
        true => {
            out!("digest    {digest}   complete");
            hint(global, &format!("seal trust install {}", args.draft.display()));
        }
        false => hint(global, "hand the draft to the next signer"),
    }
    Ok(())
}

/// The version before the draft: the one named, and none for a first version.
fn previous(args: &Sign) -> Result<Option<TrustedRoot>> {
    args.previous.as_deref().map(files::root).transpose()
}
