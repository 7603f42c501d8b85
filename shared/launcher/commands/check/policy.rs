//! `seal check policy`: a bundle's own tests, what it says on inputs, what it looks at, how long it takes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use seal_auditor::policy::{Bundle, Examined, Policy, PolicyInput, Said, examine};
use seal_protocol::Digest;
use serde::Serialize;

use crate::cli::Global;
use crate::commands::{hint, print_json};
use crate::exit::{Ended, Failure, OrEnd};
use crate::text::{printable, table};

/// An edit that every gate passed; where no input is named.
const EXAMPLE: &str = include_str!("../../../../configs/policies/example-input.json");
/// How often each input is decided.
const DECISIONS: usize = 200;
/// Far beyond what the auditor waits: here slowness is shown and not refused.
const TIME_LIMIT: Duration = Duration::from_secs(60);

#[derive(Serialize)]
struct Report {
    bundle_digest: Digest,
    tests_passed: usize,
    inputs: Vec<Tried>,
}

#[derive(Serialize)]
struct Tried {
    input: String,
    allowed: bool,
    reasons: Vec<String>,
    decisions: usize,
    median_us: u64,
    longest_us: u64,
    demanded: Vec<String>,
    not_asked: Vec<String>,
}

pub(super) fn check(
    global: &Global,
    bundle: &Path,
    inputs: &[PathBuf],
) -> Result<Option<Ended>, Failure> {
    let policy = Bundle::read(bundle).map_err(anyhow::Error::from);
    let policy = policy.and_then(|bundle| Ok(Policy::new(bundle, TIME_LIMIT)?));
    let policy = policy.or_end(Ended::BadConfig)?;
    let mut report =
        Report { bundle_digest: policy.digest(), tests_passed: policy.tests(), inputs: Vec::new() };
    if inputs.is_empty() {
        report.inputs.push(tried("the example", EXAMPLE.as_bytes(), &policy)?);
    }
    for file in inputs {
        let bytes = std::fs::read(file);
        let bytes = bytes.with_context(|| format!("cannot read `{}`", file.display()));
        let bytes = bytes.or_end(Ended::BadConfig)?;
        report.inputs.push(tried(&file.display().to_string(), &bytes, &policy)?);
    }
    if global.json {
        print_json(&report)?;
    } else {
        report.print();
        hint(global, "seal audit rejudge --policy tries it on every attempt of a finished run");
    }
    Ok(None)
}

fn tried(name: &str, bytes: &[u8], policy: &Policy) -> Result<Tried, Failure> {
    let input = PolicyInput::from_json(bytes).with_context(|| name.to_owned());
    let input = input.or_end(Ended::BadConfig)?;
    let Examined { said, mut took, demanded, not_asked } = examine(policy, &input, DECISIONS);
    took.sort_unstable();
    let micros = |time: Option<&Duration>| time.map_or(0, |time| time.as_micros() as u64);
    Ok(Tried {
        input: name.to_owned(),
        allowed: said == Said::Allowed,
        reasons: said.reasons(),
        decisions: took.len(),
        median_us: micros(took.get(took.len() / 2)),
        longest_us: micros(took.last()),
        demanded,
        not_asked,
    })
}

impl Report {
    fn print(&self) {
        out!("bundle {}: {} tests passed", self.bundle_digest.short(), self.tests_passed);
        for tried in &self.inputs {
            let said = match tried.allowed {
                true => "allowed".to_owned(),
                false => format!("refused: {}", tried.reasons.join(", ")),
            };
            let millis = |micros: u64| format!("{:.2} ms", micros as f64 / 1000.0);
            let times = format!(
                "{} median, {} longest of {}",
                millis(tried.median_us),
                millis(tried.longest_us),
                tried.decisions
            );
            out!("");
            out!("{}", printable(&tried.input));
            let mut rows = vec![
                vec!["said".to_owned(), printable(&said)],
                vec!["time per decision".to_owned(), times],
            ];
            if tried.allowed {
                let all = tried.demanded.len() + tried.not_asked.len();
                let fields =
                    format!("{} of {all}, refused without any of them", tried.demanded.len());
                rows.push(vec!["fields it demands".to_owned(), fields]);
            }
            out!("{}", table(&rows));
        }
    }
}
