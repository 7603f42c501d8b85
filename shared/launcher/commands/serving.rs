//! `ask`, `promote`, `rollback`: what concerns the model that serves.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Context, Result, bail};
use seal_auditor::offline;
use seal_conductor::client::Client;
use seal_conductor::ledger;
use seal_protocol::{
    Answers, AskRequest, Digest, Envelope, LedgerHead, LedgerQuestion, LedgerSeen, PromoteRequest,
    Role, RollBackRequest, Served, ServingAction, path,
};
use seal_service::tls::Party;

use super::{hint, print_json};
use crate::cli::{Ask, Global, Rollback};
use crate::evidence;
use crate::exit::{Ended, Failure};
use crate::run_dir::RunDir;
use crate::session::with_student;
use crate::text::printable;

/// Longest answer, in tokens.
const LONGEST_ANSWER: u32 = 24;

pub(crate) async fn ask(
    global: &Global,
    run: &RunDir,
    args: &Ask,
) -> Result<Option<Ended>, Failure> {
    let question = read_question(&args.question)?;
    let answers = answers(run, &question, args.compare, args.version.as_deref()).await?;
    if global.json {
        print_json(&answers)?;
    } else {
        show_answers(&answers);
    }
    hint(global, "seal why VERSION tells why a version may serve; seal rollback base undoes it");
    Ok(None)
}

/// Words from the command line, else one line from standard input.
fn read_question(words: &[String]) -> Result<String> {
    if !words.is_empty() {
        return Ok(words.join(" "));
    }
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("cannot read a question")?;
    match line.trim() {
        "" => bail!("no question; write `seal ask who founded ...` or pipe one line in"),
        question => Ok(question.to_owned()),
    }
}

/// Asks one version, the active one, or base and active side by side.
pub(crate) async fn answers(
    run: &RunDir,
    question: &str,
    compare: bool,
    version: Option<&str>,
) -> Result<Answers> {
    let chosen: Vec<String> = version.map(str::to_owned).into_iter().collect();
    with_student(run, async |client| {
        let mut versions = chosen;
        if compare {
            let served: Served = client.get(path::VERSIONS).await?;
            versions.insert(0, "base".into());
            if versions.len() == 1 && served.active != "base" {
                versions.push(served.active);
            }
        }
        let request =
            AskRequest { question: question.to_owned(), versions, max_new_tokens: LONGEST_ANSWER };
        Ok(client.post(path::ANSWERS, &request).await?)
    })
    .await
}

pub(crate) fn show_answers(answers: &Answers) {
    for answer in &answers.answers {
        let digest =
            answer.adapter_digest.map_or_else(String::new, |d| format!(" ({})", d.short()));
        out!("  {:<6}{}  {}", answer.version, digest, printable(&answer.text));
    }
}

pub(crate) async fn promote(
    global: &Global,
    run: &RunDir,
    version: &str,
) -> Result<Option<Ended>, Failure> {
    confirm(global, &format!("serve {version}"))?;
    let served = with_student(run, async |client| {
        let served: Served = client.get(path::VERSIONS).await?;
        if served.versions.contains_key(version) {
            // Promoted before: going back to it is a rollback in the record, whatever the direction.
            let request = RollBackRequest {
                version: version.to_owned(),
                reason: "promoted again by the operator".into(),
            };
            return Ok(client.post(path::ROLLBACKS, &request).await?);
        }
        let verdicts = evidence::promotion_verdicts(run, version)?;
        show_ledger(run, &client, &verdicts).await?;
        Ok(client.post::<_, Served>(path::PROMOTIONS, &PromoteRequest { verdicts }).await?)
    })
    .await?;
    show_served(global, &served)?;
    Ok(None)
}

/// Shows the student that the verdict stands in the ledger: from the auditor's files, or by asking it
/// on its host.
async fn show_ledger(run: &RunDir, student: &Client, verdicts: &[Envelope]) -> Result<()> {
    if run.host_elsewhere(Role::Auditor)?.is_some() {
        let auditor = run.client(Role::Auditor, Party::Operator)?;
        let teacher = run.client(Role::Teacher, Party::Operator)?;
        return Ok(ledger::show(&[&auditor], &[&teacher, student], verdicts).await?);
    }
    let known: Vec<LedgerHead> = student.get(path::LEDGER_HEADS).await?;
    let digests: Result<Vec<Digest>, _> = verdicts.iter().map(seal_trust::payload_digest).collect();
    let question = LedgerQuestion { known, verdicts: digests?, at: None };
    let shown = offline::show(&run.state_here(Role::Auditor)?, &question)?;
    let _: LedgerSeen = student.post(path::LEDGER_HEADS, &shown).await?;
    Ok(())
}

pub(crate) async fn roll_back(
    global: &Global,
    run: &RunDir,
    args: &Rollback,
) -> Result<Option<Ended>, Failure> {
    confirm(global, &format!("serve {} instead of the active version", args.version))?;
    let served = roll_back_to(run, &args.version, &args.reason).await?;
    show_served(global, &served)?;
    hint(
        global,
        "seal ask --compare \"...\" shows the difference; the version stays in the history",
    );
    Ok(None)
}

pub(crate) async fn roll_back_to(run: &RunDir, version: &str, reason: &str) -> Result<Served> {
    let request = RollBackRequest { version: version.to_owned(), reason: reason.to_owned() };
    with_student(run, async |client| Ok(client.post(path::ROLLBACKS, &request).await?)).await
}

fn show_served(global: &Global, served: &Served) -> Result<()> {
    if global.json {
        return print_json(served);
    }
    out!("serving {}", served.active);
    for change in evidence::serving_changes(&served.history)? {
        let what = match &change.action {
            ServingAction::Promote { version, .. } => format!("promoted {version}"),
            ServingAction::RollBack { version, reason, .. } => {
                format!("rolled back to {version}: {}", printable(reason))
            }
        };
        out!("  {:>3}  {what}", change.number);
    }
    Ok(())
}

/// Asks on a terminal; a script must say --yes.
pub(super) fn confirm(global: &Global, what: &str) -> Result<()> {
    if global.yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        bail!("this would {}; say --yes to do it without a terminal", printable(what));
    }
    eprint!("{}? [y/N] ", printable(what));
    std::io::stderr().flush().context("cannot ask")?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("cannot read the answer")?;
    match line.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => bail!("not confirmed; nothing was changed"),
    }
}
