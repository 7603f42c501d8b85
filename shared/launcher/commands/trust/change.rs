//! `seal trust rotate`, `revoke` and `change`: drafts of the next version.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use seal_protocol::{Digest, Micro, UnixSeconds};
use seal_service::store::write_atomic;
use seal_trust::{Pins, RootDraft, TrustRoot, TrustedRoot};

use super::files;
use super::show::print_changes;
use crate::cli::{Change, Global, Next, PinKind, Revoke, Rotate, Terms};
use crate::commands::hint;
use crate::exit::Failure;

const DAY_S: u64 = 24 * 3600;

pub(super) fn rotate(global: &Global, args: &Rotate) -> Result<(), Failure> {
    let key = files::public_key(&args.to)?;
    draft_next(global, &args.next, |root| {
        let keyids = root.roles.get(&args.role).map_or(&[][..], |names| &names.keyids);
        let old = match (&args.from, keyids) {
            (Some(from), _) => find_key(&root, from)?,
            (None, [only]) => only.clone(),
            (None, several) => bail!(
                "role `{}` has {} keys; name the one to replace with --from",
                args.role,
                several.len()
            ),
        };
        ensure!(
            root.role_of_keyid(&old) == Some(args.role),
            "key {old} is not in role `{}`",
            args.role
        );
        let threshold = root.roles.get(&args.role).map_or(1, |names| names.threshold);
        let rotated = root.without_key(&old).with_key(args.role, &key);
        Ok(rotated.with_threshold(args.role, threshold))
    })
}

pub(super) fn revoke(global: &Global, args: &Revoke) -> Result<(), Failure> {
    draft_next(global, &args.next, |root| {
        // A key that was rotated out is in no list any more and is named in full.
        let keyid = match args.keyid.parse::<Digest>() {
            Ok(whole) => whole.to_string(),
            Err(_) => find_key(&root, &args.keyid)?,
        };
        Ok(root.with_revocation(&keyid, args.from_sequence))
    })
}

pub(super) fn change(global: &Global, args: &Change) -> Result<(), Failure> {
    draft_next(global, &args.next, |mut root| {
        for key in &args.add {
            root = root.with_key(key.role, &files::public_key(&key.value)?);
        }
        for keyid in &args.remove {
            root = root.clone().without_key(&find_key(&root, keyid)?);
        }
        for threshold in &args.thresholds {
            root = root.with_threshold(threshold.role, threshold.value);
        }
        apply_terms(&mut root, &args.terms)?;
        Ok(root)
    })
}

/// Expiry, pins and limits.
pub(super) fn apply_terms(root: &mut TrustRoot, terms: &Terms) -> Result<()> {
    if let Some(days) = terms.expires_in_days {
        root.expires = UnixSeconds(files::now().0.saturating_add(days.saturating_mul(DAY_S)));
    }
    for pin in &terms.pins {
        let list = pin_list(&mut root.pins, pin.kind);
        list.retain(|digest| *digest != pin.digest);
        list.push(pin.digest);
    }
    for pin in &terms.unpins {
        let list = pin_list(&mut root.pins, pin.kind);
        let before = list.len();
        list.retain(|digest| *digest != pin.digest);
        ensure!(list.len() < before, "{} is not pinned, so it cannot be taken away", pin.digest);
    }
    let limits = &mut root.limits;
    let set = |limit: &mut u64, value: Option<u64>| *limit = value.unwrap_or(*limit);
    set(&mut limits.verdict_ttl_s, terms.verdict_ttl_s);
    set(&mut limits.max_clock_skew_s, terms.max_clock_skew_s);
    set(&mut limits.tau_query_budget, terms.tau_query_budget);
    limits.min_enforcement = terms.min_enforcement.unwrap_or(limits.min_enforcement);
    limits.alpha_micro = terms.alpha.map_or(limits.alpha_micro, Micro::from_f64);
    Ok(())
}

fn pin_list(pins: &mut Pins, kind: PinKind) -> &mut Vec<Digest> {
    match kind {
        PinKind::BaseModel => &mut pins.base_models,
        PinKind::Policy => &mut pins.policies,
        PinKind::Suite => &mut pins.suites,
        PinKind::Evaluator => &mut pins.evaluators,
    }
}

/// The one key whose id begins so.
fn find_key(root: &TrustRoot, head: &str) -> Result<String> {
    let found: Vec<&String> = root.keys.keys().filter(|keyid| keyid.starts_with(head)).collect();
    match found.as_slice() {
        [only] if !head.is_empty() => Ok((*only).clone()),
        [] => bail!(
            "no key of the trust root begins with `{head}`; `seal trust show` lists them (a key of an \
             earlier version is named by its whole id)"
        ),
        several => bail!("{} keys begin with `{head}`; give more digits", several.len()),
    }
}

/// Changes the version in force, or a draft that nobody has signed yet, and writes the draft.
fn draft_next(
    global: &Global,
    next: &Next,
    change: impl FnOnce(TrustRoot) -> Result<TrustRoot>,
) -> Result<(), Failure> {
    let root_file = files::root_path(global, next.root.as_deref())?;
    let draft_file = next.draft.clone().unwrap_or_else(|| files::next_path(&root_file));
    let current = files::root(&root_file)?;
    let changed = change(begin(&current, &draft_file)?)?;
    let draft = RootDraft::new(&changed).map_err(anyhow::Error::from)?;
    write_atomic(&draft_file, &draft.to_bytes()).map_err(anyhow::Error::from)?;
    if !global.json {
        out!("draft     {}", draft_file.display());
    }
    print_changes(global, Some(current.root()), draft.root())?;
    hint(
        global,
        &format!(
            "seal trust sign {} --key ROOT.pem --previous {}, by each root key's owner in turn",
            draft_file.display(),
            root_file.display()
        ),
    );
    Ok(())
}

fn begin(current: &TrustedRoot, draft_file: &Path) -> Result<TrustRoot> {
    if !draft_file.exists() {
        return Ok(current.root().next());
    }
    let draft = files::draft(draft_file, Some(current))?;
    let signed = draft.standing(Some(current))?.iter().any(|of| !of.keyids.is_empty());
    ensure!(
        !signed,
        "`{}` is signed already; install it first, or remove it to start anew",
        draft_file.display()
    );
    Ok(draft.root().clone())
}
