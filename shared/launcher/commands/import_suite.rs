//! `seal import lm-eval|promptfoo|inspect|arc`: evaluations of other tools in, suites of the auditor out.

use std::path::Path;

use anyhow::anyhow;
use seal_auditor::grading::Grading;
use seal_auditor::items::ItemKind;
use serde::Serialize;

use super::import::show;
use super::{hint, print_json};
use crate::cli::{Global, Import, SuiteDestination};
use crate::exit::{Ended, Failure, OrEnd};
use crate::import::LeftOut;
use crate::import::suites::{
    Foreign, Written, name, read_arc, read_inspect, read_lm_eval, read_promptfoo, write,
};
use crate::text::table;

/// What was written.
#[derive(Serialize)]
struct Report<'a> {
    suites: &'a [Written],
    left_out: &'a [LeftOut],
}

/// A source as read: its format, its first file, where its suite goes, and what it asks.
type Read<'a> = (&'static str, Option<&'a Path>, &'a SuiteDestination, anyhow::Result<Foreign>);

pub(super) fn import(global: &Global, import: &Import) -> Result<Option<Ended>, Failure> {
    let Some((format, first, into, foreign)) = read(import) else { return Ok(None) };
    let foreign = foreign.or_end(Ended::BadConfig)?;
    let kind = if into.protected { ItemKind::Protected } else { ItemKind::Knowledge };
    let suites = foreign.into_suites(kind);
    if suites.items.is_empty() {
        show(global, &suites.left_out);
        let error = anyhow!("no question with a gold answer is left; nothing was written");
        return Err(Failure { ended: Ended::BadConfig, error });
    }
    let stem = first.and_then(Path::file_stem).unwrap_or_default().to_string_lossy();
    let name = name(into.name.as_deref().unwrap_or(&stem)).replace('/', "-");
    let written = write(&into.into, &name, format, &suites, into.replace)?;
    report(global, into, &written, &suites.left_out)?;
    Ok(None)
}

fn read(import: &Import) -> Option<Read<'_>> {
    match import {
        Import::LmEval { tasks, data, into } => {
            let foreign = read_lm_eval(tasks, data.as_deref());
            Some(("lm-eval", tasks.first().map(AsRef::as_ref), into, foreign))
        }
        Import::Promptfoo { configs, into } => {
            Some(("promptfoo", configs.first().map(AsRef::as_ref), into, read_promptfoo(configs)))
        }
        Import::Inspect { files, fields, into } => {
            Some(("inspect", files.first().map(AsRef::as_ref), into, read_inspect(files, fields)))
        }
        Import::Arc { files, solutions, into } => {
            let foreign = read_arc(files, solutions.as_deref());
            Some(("arc", files.first().map(AsRef::as_ref), into, foreign))
        }
        Import::Squad { .. } | Import::Jsonl { .. } | Import::Folder { .. } => None,
    }
}

fn report(
    global: &Global,
    into: &SuiteDestination,
    written: &[Written],
    left_out: &[LeftOut],
) -> anyhow::Result<()> {
    if global.json {
        return print_json(&Report { suites: written, left_out });
    }
    let mut rows = vec![["suite", "questions", "sha256"].map(str::to_owned).to_vec()];
    rows.extend(written.iter().map(|suite| {
        let path = suite.path.display().to_string();
        vec![path, suite.items.to_string(), suite.sha256.short().to_string()]
    }));
    out!("{}", table(&rows));
    out!("left out: {}", left_out.len());
    show(global, left_out);
    if let Some(largest) = written.iter().max_by_key(|suite| suite.items) {
        hint(global, &settings(into, largest));
    }
    Ok(())
}

/// What makes a suite the auditor's.
fn settings(into: &SuiteDestination, suite: &Written) -> String {
    let key = if into.protected { "refusals" } else { "retention" };
    let file = suite.path.strip_prefix(&into.into).unwrap_or(&suite.path).display();
    let grading = match &suite.grading {
        Grading::FirstChoice => "by = \"first_choice\"".to_owned(),
        Grading::Written { grader, .. } => {
            let kind = serde_json::to_value(grader).ok();
            let kind = kind.as_ref().and_then(|grader| grader["kind"].as_str()).unwrap_or("exact");
            format!("by = \"written\", grader = {{ kind = \"{kind}\" }}")
        }
    };
    format!("in auditor.toml: [vault] {key} = \"{file}\" and [grading] {key} = {{ {grading} }}")
}
