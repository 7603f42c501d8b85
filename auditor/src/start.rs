//! What an auditor is built from: keys, trust root, vault, rules, model, ledger.
//!
//! Keys and trust root are read before the process is confined and cannot be read again afterwards;
//! everything else is read inside.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use seal_model::LoraSpec;
use seal_model::chat::ChatSettings;
use seal_model::fit::Work;
use seal_protocol::{Digest, Evaluator, Labels, LedgerEvent, Role, UnixSeconds};
use seal_service::daemon::Context;
use seal_service::store::{ContentStore, write_atomic};
use seal_trust::{RootChain, SigningKey, TrustedRoot, digest_of, sha256};
use seal_witness::{RootSource, own_key};
use serde::Serialize;

use crate::audit::{Auditor, BaseCache, Identity, Parts};
use crate::config::{AuditorConfig, JudgeConfig, default_audit_limit_s};
use crate::gate::GateSettings;
use crate::grading::Gradings;
use crate::items::Item;
use crate::ledger::{Artefact, ArtefactKind, InForce, Ledger, LedgerKey};
use crate::measure::Measurer;
use crate::model::{Asking, ModelMeasurer, QUESTION};
use crate::policy::{Bundle, Policy};
use crate::recompute::{Asked, Draw, Share};
use crate::rotation;
use crate::rules::Rules;
use crate::vault::{Judged, Vault, VaultFiles};

/// Folder of uploaded adapter files inside the state.
pub(crate) const ADAPTERS: &str = "adapters";
/// Rank of the adapter that must at least find room.
const LEAST_RANK: usize = 16;
/// Longest time for an audit that makes any sense.
const MAX_AUDIT_S: u64 = 7 * 24 * 3600;
const COMMITMENT_KEY: &str = "commitment.key";
const BENCH: &str = "bench";
const CACHE: &str = "base-outcomes.sqlite";

/// What is read before the process is confined.
pub(crate) struct Secrets {
    key: SigningKey,
    ledger_key: SigningKey,
    root: TrustedRoot,
    /// The same with its predecessors.
    roots: RootChain,
}

impl Secrets {
    /// Reads both keys and the trust root, and checks that each key holds its role.
    pub(crate) fn read(config: &AuditorConfig, now: UnixSeconds) -> Result<Self> {
        let root = RootSource {
            file: &config.trust_root,
            pinned: config.trust_root_sha256,
            state: &config.state,
        };
        let roots = root.in_force(now)?;
        let root = roots.newest().clone();
        let key = own_key(&root, Role::Auditor, &config.key)?;
        let ledger_key = own_key(&root, Role::Ledger, &config.ledger_key)?;
        Ok(Self { key, ledger_key, root, roots })
    }

    /// The trust root in force.
    pub(crate) fn root(&self) -> TrustedRoot {
        self.root.clone()
    }
}

/// Everything that decides, by one digest: two auditors with the same settings agree on it.
#[derive(Serialize)]
struct Deciding<'a> {
    gate: &'a GateSettings,
    prompt: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    chat: Option<&'a ChatSettings>,
    #[serde(skip_serializing_if = "Gradings::is_default")]
    grading: &'a Gradings,
    rules_sha256: Digest,
    retention_items_per_edit: usize,
    refusal_items_per_edit: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<WrittenPolicy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recomputation: Option<TrainedAgain>,
    #[serde(skip_serializing_if = "Option::is_none")]
    constitution_digest: Option<Digest>,
    /// Left out where nobody says, so that policy digests of before stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_time_limit_s: Option<u64>,
}

#[derive(Serialize)]
struct TrainedAgain {
    share: Share,
    tables_digest: Digest,
}

#[derive(Serialize)]
struct WrittenPolicy {
    bundle_digest: Digest,
    time_limit_ms: u64,
}

/// Opens the folder of uploaded adapter files.
pub(crate) fn uploads(state: &Path) -> Result<ContentStore> {
    let folder = state.join(ADAPTERS);
    let opened = ContentStore::new(&folder);
    opened.with_context(|| {
        format!("cannot make or read `{}`; look at the disk that it lies on", folder.display())
    })
}

/// Builds the auditor inside the confined process.
pub(crate) fn auditor(
    config: AuditorConfig,
    asked: Option<Asked>,
    secrets: Secrets,
    context: &Context,
) -> Result<Auditor<ModelMeasurer>> {
    let settings = config.gate.clone().checked()?;
    check_limits(&config, &secrets.root)?;
    let commitment = commitment_key(&config.state.join(COMMITMENT_KEY))?;
    let vault = Vault::open(&vault_files(&config), commitment, settings.labels)?;
    let (rules, rules_sha256) = rules(&config.vault.rules, &vault)?;
    let (measurer, recomputation) = measurer(&config, asked, &vault)?;
    let perturbed = perturbed(&config, &measurer, &vault, &commitment)?;
    let policy = policy(&config)?;
    let constitution = constitution(&config, &secrets.root)?;
    let constitution_digest = constitution.as_ref().map(|kept| kept.digest);
    let policy_digest = digest_of(&Deciding {
        gate: &settings,
        prompt: &config.prompt,
        chat: config.chat.as_ref(),
        grading: &config.grading,
        rules_sha256,
        retention_items_per_edit: config.vault.retention_items_per_edit,
        refusal_items_per_edit: config.vault.refusal_items_per_edit,
        policy: written(&config, policy.as_ref()),
        recomputation,
        constitution_digest,
        audit_time_limit_s: Some(config.audit_time_limit_s)
            .filter(|limit| *limit != default_audit_limit_s()),
    })?;
    let evaluator =
        Evaluator { version: context.version.to_owned(), binary_digest: context.binary_digest };
    check_pins(
        &secrets.root,
        measurer.base_model_digest(),
        policy_digest,
        evaluator.binary_digest,
    )?;
    let now = context.clock.now();
    let scope = scope(&config, &measurer)?;
    let time_limit = config.audit_time_limit();
    let signer = LedgerKey { key: secrets.ledger_key, origin: config.ledger_origin };
    let mut in_force =
        in_force(&secrets.roots, measurer.base_model_digest(), policy_digest, policy.as_ref())?;
    in_force.artefacts.extend(constitution);
    let mut ledger = Ledger::open(&config.state, signer, &secrets.root, in_force, now)?;
    rotation::take_over(&mut ledger, &vault, &settings, now)?;
    Ok(Auditor::new(Parts {
        ledger,
        identity: Identity {
            key: secrets.key,
            evaluator,
            enforcement: context.enforcement.clone(),
            policy_digest,
            policy_bundle_digest: policy.as_ref().map(Policy::digest),
            trust_root_version: secrets.root.root().version,
            verdict_ttl_s: config.verdict_ttl_s,
        },
        root: secrets.root,
        vault,
        rules,
        settings,
        constitution: constitution_digest,
        policy,
        gradings: config.grading,
        retention_items: config.vault.retention_items_per_edit,
        refusal_items: config.vault.refusal_items_per_edit,
        perturbed,
        draw: Draw::new(&commitment, config.recompute),
        cache: BaseCache::open(&config.state.join(CACHE), commitment, scope)?,
        uploads: uploads(&config.state)?,
        bench: config.state.join(BENCH),
        measurer,
        clock: Arc::clone(&context.clock),
        time_limit,
    }))
}

/// Compiles the written policy and runs its tests.
fn policy(config: &AuditorConfig) -> Result<Option<Policy>> {
    let Some(settings) = &config.policy else { return Ok(None) };
    let named = || format!("the written policy `{}`", settings.bundle.display());
    ensure!(settings.time_limit_ms > 0, "[policy] time_limit_ms must be at least 1");
    let bundle = Bundle::read(&settings.bundle)?;
    let policy = Policy::new(bundle, settings.time_limit()).with_context(named)?;
    tracing::info!(
        policy.bundle_digest = %policy.digest(),
        policy.tests = policy.tests(),
        "the written policy passed its own tests"
    );
    Ok(Some(policy))
}

/// The constitution that edits are held against, as it will be kept.
fn constitution(config: &AuditorConfig, root: &TrustedRoot) -> Result<Option<Artefact>> {
    let Some(JudgeConfig { constitution }) = &config.judge else { return Ok(None) };
    let named = || format!("the constitution `{}`", constitution.display());
    ensure!(
        root.root().roles.contains_key(&Role::Judge),
        "[judge] demands judgements, and the trust root names no judge key: `seal trust change --add \
         judge=KEY.pub.pem`, or leave the table out"
    );
    let body = std::fs::read(constitution)
        .with_context(|| format!("cannot read {}; set it under [judge]", named()))?;
    ensure!(!body.is_empty(), "{} is empty", named());
    Ok(Some(Artefact { kind: ArtefactKind::Constitution, digest: sha256(&body), body }))
}

fn written(config: &AuditorConfig, policy: Option<&Policy>) -> Option<WrittenPolicy> {
    let settings = config.policy.as_ref()?;
    let bundle_digest = policy?.digest();
    Some(WrittenPolicy { bundle_digest, time_limit_ms: settings.time_limit_ms })
}

fn in_force(
    roots: &RootChain,
    base_model_digest: Digest,
    policy_digest: Digest,
    policy: Option<&Policy>,
) -> Result<InForce> {
    let bundle = |policy: &Policy| -> Result<Artefact> {
        let (kind, digest) = (ArtefactKind::Policy, policy.digest());
        Ok(Artefact { kind, digest, body: policy.bundle().to_bytes()? })
    };
    // A rotated key's verdicts stay; whoever reads them needs the version under which it spoke.
    let version = |root: &TrustedRoot| Artefact {
        kind: ArtefactKind::TrustRoot,
        digest: root.digest(),
        body: root.file().to_vec(),
    };
    let mut artefacts: Vec<Artefact> = roots.versions().iter().map(version).collect();
    artefacts.extend(policy.map(bundle).transpose()?);
    let root = roots.newest();
    Ok(InForce {
        event: LedgerEvent::Genesis {
            trust_root_digest: root.digest(),
            trust_root_version: root.root().version,
            base_model_digest,
            policy_digest,
            policy_bundle_digest: policy.map(Policy::digest),
        },
        artefacts,
    })
}

/// What the base's cached answers depend on.
fn scope(config: &AuditorConfig, measurer: &ModelMeasurer) -> Result<Digest> {
    let asked = (measurer.base_model_digest(), measurer.tokenizer_digest(), &config.prompt);
    Ok(match &config.chat {
        None => digest_of(&asked)?,
        Some(chat) => digest_of(&(asked, chat))?,
    })
}

fn vault_files(config: &AuditorConfig) -> VaultFiles {
    VaultFiles {
        tau: config.vault.tau.clone(),
        retention: config.vault.retention.clone(),
        refusals: config.vault.refusals.clone(),
        benign: config.vault.benign.clone(),
    }
}

fn rules(path: &Path, vault: &Vault) -> Result<(Rules, Digest)> {
    let rules = Rules::load(path)?.over(vault.every_tau_item());
    let bytes = std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok((rules, sha256(&bytes)))
}

/// Loads the model and asks it nothing it cannot answer; where adapters are trained again, with what
/// that goes by.
fn measurer(
    config: &AuditorConfig,
    asked: Option<Asked>,
    vault: &Vault,
) -> Result<(ModelMeasurer, Option<TrainedAgain>)> {
    ensure!(
        config.prompt.contains(QUESTION),
        "`prompt` must hold `{QUESTION}` where the question goes"
    );
    let opened = config.device.open()?;
    if let Some(note) = opened.note {
        tracing::warn!("{note}");
    }
    let mut works = vec![audit_work(config, vault)];
    works.extend(asked.iter().flat_map(Asked::works));
    let asking = Asking { prompt: config.prompt.clone(), chat: config.chat.clone() };
    let measurer = ModelMeasurer::load(&config.base_model, asking, &opened.device, &works)?;
    let mut measurer = measurer.computing(opened.products);
    for Judged { items, grading, labels } in vault.suites(&config.grading, config.gate.labels) {
        if labels.is_gold() {
            grading.check(items.iter().copied())?;
        }
        let checked = measurer.check(items, grading, labels);
        checked.context("the vault does not fit the base model")?;
    }
    let trained_again = |asked| -> Result<TrainedAgain> {
        let tables_digest = measurer.train_again(asked, &config.base_model)?;
        Ok(TrainedAgain { share: config.recompute, tables_digest })
    };
    let recomputation = asked.map(trained_again).transpose()?;
    Ok((measurer, recomputation))
}

/// The questions of the divergence probe, which this model can be asked.
fn perturbed(
    config: &AuditorConfig,
    measurer: &ModelMeasurer,
    vault: &Vault,
    secret: &[u8; 32],
) -> Result<Vec<Item>> {
    let Some(gate) = &config.gate.divergence else { return Ok(Vec::new()) };
    let questions = measurer.perturbed(&vault.retention.items, gate, secret);
    measurer
        .check(&questions, &config.grading.retention, Labels::Gold)
        .context("[gate.divergence]")?;
    Ok(questions)
}

/// The least that an audit takes: the longest item under one adapter. How many come together, and
/// of which rank, is known only with the request.
fn audit_work(config: &AuditorConfig, vault: &Vault) -> Work {
    // A token has a byte or more.
    let longest = |Judged { items, grading, .. }: Judged<'_>| {
        let answer = |item: &Item| item.answer.len().max(grading.written_tokens());
        let bytes = |item: &&Item| config.prompt.len() + item.asked().len() + answer(item);
        items.iter().map(bytes).max()
    };
    let suites = vault.suites(&config.grading, config.gate.labels);
    let tokens = suites.into_iter().filter_map(longest).max().unwrap_or(1);
    Work::Score { tokens, adapters: 1, lora: LoraSpec::all(LEAST_RANK) }
}

fn check_limits(config: &AuditorConfig, root: &TrustedRoot) -> Result<()> {
    let limits = &root.root().limits;
    ensure!(
        config.gate.alpha <= limits.alpha_micro.to_f64(),
        "[gate] alpha = {} is above the trust root's limit of {}; lower it",
        config.gate.alpha,
        limits.alpha_micro.to_f64()
    );
    ensure!(
        config.verdict_ttl_s > 0 && config.verdict_ttl_s <= limits.verdict_ttl_s,
        "verdict_ttl_s = {} must lie between 1 and the trust root's limit of {}",
        config.verdict_ttl_s,
        limits.verdict_ttl_s
    );
    ensure!(
        (1..=MAX_AUDIT_S).contains(&config.audit_time_limit_s),
        "audit_time_limit_s = {} must lie between 1 and {MAX_AUDIT_S}, a week",
        config.audit_time_limit_s
    );
    ensure!(
        config.vault.refusals.is_some() || !config.gate.protected.demanded,
        "[vault] names no `refusals`: name a suite, or say `demanded = false` under [gate.protected] \
         if the base model has no protected behaviour to lose"
    );
    config.grading.tau.check_labels(config.gate.labels)?;
    ensure!(
        config.vault.retention_items_per_edit > 0 && config.vault.refusal_items_per_edit > 0,
        "[vault] retention_items_per_edit and refusal_items_per_edit must be at least 1: an absent \
         measurement is never a pass"
    );
    Ok(())
}

/// Verdicts that nobody would believe are not worth making.
fn check_pins(root: &TrustedRoot, base: Digest, policy: Digest, evaluator: Digest) -> Result<()> {
    let pins = &root.root().pins;
    let pinned = [
        ("base model", "base_models", &pins.base_models, base),
        ("policy", "policies", &pins.policies, policy),
        ("evaluator", "evaluators", &pins.evaluators, evaluator),
    ];
    for (what, field, allowed, found) in pinned {
        if !allowed.is_empty() && !allowed.contains(&found) {
            bail!(
                "this {what} has digest {found}, which the trust root's `pins.{field}` does not list"
            );
        }
    }
    Ok(())
}

/// Read, or drawn at the first start.
fn commitment_key(path: &Path) -> Result<[u8; 32]> {
    let named = || format!("the commitment key `{}`", path.display());
    if !path.exists() {
        let mut key = [0_u8; 32];
        getrandom::fill(&mut key).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
        let unwritten =
            || format!("{} cannot be written; check the disk and the folder's owner", named());
        write_atomic(path, &key).with_context(unwritten)?;
    }
    let unread = || format!("{} cannot be read; check the disk and the file's owner", named());
    let bytes = std::fs::read(path).with_context(unread)?;
    let key = bytes.try_into();
    key.map_err(|_| anyhow::anyhow!("{} does not hold 32 bytes; restore it from a copy", named()))
}
