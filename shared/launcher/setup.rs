//! Makes a run folder: keys, trust root, configs and the miniature's data.
//!
//! The one moment at which a single program holds everything. Afterwards each file belongs to one
//! role, and each role confines itself to its own. Built beside its final name and renamed last, so
//! that a failure leaves nothing half-written.

mod judge;

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use seal_conductor::plan::{ContextRef, ContextUse};
use seal_miniature::lines::{Direction, Question, questions_of};
use seal_miniature::passages::Passage;
use seal_miniature::run_data::{RunCounts, RunData, RunLayout, write_run_data};
use seal_protocol::{EnforcementLevel, Role, UnixSeconds};
use seal_service::clock::{Clock, SystemClock};
use seal_service::confine::landlock_abi;
use seal_trust::{Limits, SigningKey, TrustRoot};
use toml_edit::{DocumentMut, value};

use crate::cli::{Size, SizeArgs};
use crate::run_dir::{EXAMPLES, Example, RunDir};

const RUN: &str = include_str!("../../configs/miniature/run.toml");
const TEACHER: &str = include_str!("../../configs/miniature/teacher.toml");
const STUDENT: &str = include_str!("../../configs/miniature/student.toml");
const AUDITOR: &str = include_str!("../../configs/miniature/auditor.toml");
const RULES: &str = include_str!("../../configs/miniature/rules.toml");

/// Roles that sign, in the order their keys are made.
const SIGNERS: [Role; 5] = [Role::Root, Role::Teacher, Role::Student, Role::Auditor, Role::Ledger];
/// Roles that cosign the auditor's checkpoints, each with a key of its own for that.
const WITNESSES: [Role; 2] = [Role::Teacher, Role::Student];
/// Landlock's version from which confinement is full.
const CONFINING_ABI: u32 = 6;
/// How long the demo's trust root holds: a year.
const ROOT_LIFE_S: u64 = 365 * 24 * 3600;
/// Lines of the known world that updates replay. A consolidation needs thousands of different ones
/// to keep what it does not repeat.
const REPLAY_LINES: usize = 3000;
/// The best plan that needs no learning, as the control arm forces it.
const FIXED_PLAN: [&str; 2] = ["plan_mixed", "size_12"];

/// Makes the folder of the miniature, with a judge where a folder with its files is named.
pub(crate) fn make(folder: &Path, size: &Size, judge: Option<&Path>) -> Result<RunDir> {
    make_with(folder, |run| fill(run, size, judge))
}

/// Makes a folder with the configs of another one and a base model; passages and questions are still
/// to be imported.
pub(crate) fn make_from(
    folder: &Path,
    configs: &Path,
    base_model: &Path,
    said: &SizeArgs,
    judge: Option<&Path>,
) -> Result<RunDir> {
    make_with(folder, |run| fill_from(run, configs, base_model, said, judge))
}

fn make_with(folder: &Path, fill: impl FnOnce(&RunDir) -> Result<()>) -> Result<RunDir> {
    if folder.exists() {
        bail!("`{}` exists already; choose another folder or remove it", folder.display());
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        fs::create_dir_all(parent)
            .with_context(|| format!("cannot make `{}`", parent.display()))?;
    }
    let name = folder.file_name().context("a run folder needs a name")?.to_string_lossy();
    let partial = folder.with_file_name(format!(".{name}.partial"));
    let _ = fs::remove_dir_all(&partial);
    let filled = fill(&RunDir::at(partial.clone()))
        .and_then(|()| fs::rename(&partial, folder).context("cannot finish the run folder"));
    if let Err(error) = filled {
        let _ = fs::remove_dir_all(&partial);
        return Err(error.context(format!("the run folder `{}` was not made", folder.display())));
    }
    RunDir::open(folder)
}

fn fill(run: &RunDir, size: &Size, judge: Option<&Path>) -> Result<()> {
    make_folders(run)?;
    let root_digest = make_trust(run, judge.is_some())?;
    seal_miniature::base::write_base(&run.path("base"))?;
    write_data(run, size)?;
    write_configs(run, size, &root_digest)?;
    judge.map_or(Ok(()), |judge| judge::add(run, judge, &root_digest))
}

/// Files of `configs` keep their words; the trust root's digest is put in, and what the user said beside
/// them. A preset inside another one holds only what differs from it.
fn fill_from(
    run: &RunDir,
    configs: &Path,
    base_model: &Path,
    said: &SizeArgs,
    judge: Option<&Path>,
) -> Result<()> {
    let read = |name: &str| {
        let own = configs.join(name);
        let inherited = configs.parent().map(|parent| parent.join(name));
        let inherited = inherited.filter(|path| !own.is_file() && path.is_file());
        if let Some(path) = &inherited {
            eprintln!("{name}: taken from `{}`", path.display());
        }
        let path = inherited.unwrap_or(own);
        fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))
    };
    let (settings, rules) = (read("run.toml")?, read("rules.toml")?);
    let roles = [Role::Teacher, Role::Student, Role::Auditor];
    let texts = roles.map(|role| read(&format!("{role}.toml")));
    make_folders(run)?;
    let root_digest = make_trust(run, judge.is_some())?;
    copy_files(base_model, &run.path("base"))?;
    let mut settings: DocumentMut = settings.parse().context("run.toml")?;
    put_said(&mut settings, said)?;
    fs::write(run.path("run.toml"), settings.to_string())?;
    fs::write(run.path("auditor/rules.toml"), rules)?;
    for (role, text) in roles.into_iter().zip(texts) {
        let mut config: DocumentMut = text?.parse().with_context(|| format!("{role}.toml"))?;
        config["trust_root_sha256"] = value(root_digest.as_str());
        if let (Role::Auditor, Some(selection)) = (role, &said.selection) {
            config["gate"]["selection"] = value(selection.as_str());
        }
        fs::write(run.config_file(role), config.to_string())?;
    }
    judge.map_or(Ok(()), |judge| judge::add(run, judge, &root_digest))
}

/// Into a `run.toml` whose comments stay.
fn put_said(settings: &mut DocumentMut, said: &SizeArgs) -> Result<()> {
    let seed = said.seed.map(i64::try_from).transpose().context("the seed is too large")?;
    let numbers = [
        ("seed", seed),
        ("rounds", said.rounds.map(i64::from)),
        ("proposals_per_context", said.proposals.map(i64::from)),
    ];
    for (key, number) in numbers {
        if let Some(number) = number {
            settings["run"][key] = value(number);
        }
    }
    if let Some(mode) = &said.mode {
        settings["run"]["mode"] = value(mode.as_str());
    }
    Ok(())
}

/// The files of a model folder, none of its subfolders.
fn copy_files(from: &Path, to: &Path) -> Result<()> {
    let unreadable = || format!("cannot read the model folder `{}`", from.display());
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        if let Some(name) = path.file_name().filter(|_| path.is_file()) {
            fs::copy(&path, to.join(name))
                .with_context(|| format!("cannot copy `{}`", path.display()))?;
        }
    }
    Ok(())
}

fn make_folders(run: &RunDir) -> Result<()> {
    for folder in ["", "keys", "sockets", "teacher", "student", "auditor", "conductor"] {
        private_folder(&run.path(folder))?;
    }
    for folder in ["trust", "logs"] {
        fs::create_dir_all(run.path(folder))?;
    }
    Ok(())
}

fn private_folder(path: &PathBuf) -> Result<()> {
    fs::DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(path)
        .with_context(|| format!("cannot make `{}`", path.display()))
}

/// One key per role, and a trust root that names them. Returns the root's digest.
fn make_trust(run: &RunDir, with_judge: bool) -> Result<String> {
    let signers = SIGNERS.into_iter().chain(with_judge.then_some(Role::Judge));
    let keys: Vec<_> = signers.map(|role| (role, SigningKey::generate())).collect();
    for (role, key) in &keys {
        key.write(&run.key_file(*role))?;
        fs::write(run.path(&format!("trust/{role}.pub.pem")), key.public().to_pem())?;
    }
    let witnesses = WITNESSES.map(|role| (role, SigningKey::generate()));
    for (role, key) in &witnesses {
        key.write(&run.path(&format!("keys/{role}-witness.pem")))?;
        let public = run.path(&format!("trust/{role}-witness.pub.pem"));
        fs::write(public, key.public().to_pem())?;
    }
    let envelope = trust_root(&keys, &witnesses, SystemClock.now())?;
    fs::write(run.trust_root_file(), &envelope)?;
    let digest = seal_trust::sha256(&envelope).to_string();
    fs::write(run.path("trust/root.sha256"), format!("{digest}\n"))?;
    Ok(digest)
}

/// The signed file's bytes.
fn trust_root(
    keys: &[(Role, SigningKey)],
    witnesses: &[(Role, SigningKey)],
    now: UnixSeconds,
) -> Result<Vec<u8>> {
    let expires = UnixSeconds(now.0 + ROOT_LIFE_S);
    let mut root = TrustRoot::first(expires, limits());
    for (role, key) in keys {
        root = root.with_key(*role, &key.public());
    }
    for (_, key) in witnesses {
        root = root.with_key(Role::Witness, &key.public());
    }
    let root = root.with_threshold(Role::Witness, witnesses.len());
    let signers: Vec<&SigningKey> =
        keys.iter().filter(|(role, _)| *role == Role::Root).map(|(_, key)| key).collect();
    Ok(seal_trust::envelope_to_bytes(&seal_trust::sign_root(&root, &signers)?))
}

/// The demo demands the confinement that this machine can give, and says so where that is little.
fn limits() -> Limits {
    let demanded = Limits::default();
    if landlock_abi() >= CONFINING_ABI {
        return demanded;
    }
    eprintln!(
        "warning: this kernel cannot confine the daemons (Linux 6.12 with Landlock can); verdicts of \
         this run will count without it"
    );
    Limits { min_enforcement: EnforcementLevel::Off, ..demanded }
}

fn write_data(run: &RunDir, size: &Size) -> Result<()> {
    let train = size.contexts * size.rounds as usize;
    let counts = RunCounts {
        train,
        evaluation: size.held_out,
        poisoned: 1,
        replay_world: REPLAY_LINES,
        ..RunCounts::default()
    };
    let layout = RunLayout::under(run.root());
    let data = write_run_data(&layout, size.seed, counts)?;
    let refs: Vec<ContextRef> = data
        .context_records()
        .into_iter()
        .enumerate()
        .map(|(index, context)| ContextRef {
            digest: seal_trust::sha256(context.text.as_bytes()),
            id: context.id,
            usage: usage(index, size, train),
        })
        .collect();
    fs::write(run.path("conductor/contexts.json"), serde_json::to_vec_pretty(&refs)?)?;
    fs::write(run.path(EXAMPLES), serde_json::to_vec_pretty(&examples(&data))?)?;
    Ok(())
}

/// Questions by context that an operator can try, in wordings that edits use and τ does not.
fn examples(data: &RunData) -> Vec<Example> {
    let ask = |id: &String, passage: &Passage| {
        let questions = questions_of(&passage.profile, Direction::Forward, 0);
        let ask = |(_, question): (_, Question)| Example {
            context: id.clone(),
            question: question.text,
            answer: question.answer,
        };
        questions.into_iter().map(ask).collect::<Vec<_>>()
    };
    data.contexts.iter().flat_map(|(id, passage)| ask(id, passage)).collect()
}

/// Contexts come as: those to learn from, round after round; the held-out ones; the poisoned one.
fn usage(index: usize, size: &Size, train: usize) -> ContextUse {
    if index < train {
        ContextUse::Round((index / size.contexts) as u32 + 1)
    } else if index < train + size.held_out {
        ContextUse::Evaluation
    } else {
        ContextUse::Intake
    }
}

fn write_configs(run: &RunDir, size: &Size, root_digest: &str) -> Result<()> {
    let mut settings: DocumentMut = RUN.parse()?;
    settings["run"]["seed"] = value(i64::try_from(size.seed).context("the seed is too large")?);
    settings["run"]["rounds"] = value(i64::from(size.rounds));
    settings["run"]["proposals_per_context"] = value(i64::from(size.proposals));
    settings["run"]["evaluate"] = value(size.held_out > 0);
    if size.mode != "single_passage" {
        settings["run"]["mode"] = value(size.mode.as_str());
        settings["run"]["consolidate"] = value(size.mode == "continual");
    }
    if size.controls {
        settings["run"]["fixed_plan"] = value(toml_edit::Array::from_iter(FIXED_PLAN));
        settings["run"]["length_control_proposals"] = value(8);
    }
    fs::write(run.path("run.toml"), settings.to_string())?;
    for (role, template) in
        [(Role::Teacher, TEACHER), (Role::Student, STUDENT), (Role::Auditor, AUDITOR)]
    {
        let mut config: DocumentMut = template.parse()?;
        config["trust_root_sha256"] = value(root_digest);
        if role == Role::Auditor {
            config["gate"]["selection"] = value(size.selection.as_str());
        }
        fs::write(run.config_file(role), config.to_string())?;
    }
    fs::write(run.path("auditor/rules.toml"), RULES)?;
    Ok(())
}
