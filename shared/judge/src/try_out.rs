//! A judge tried before anything depends on it: on its constitution's cases, and on texts of one's own.

use std::sync::Arc;

use seal_endpoint::{Report, WayOut};
use seal_service::clock::SystemClock;

use crate::asking::{Asking, singly};
use crate::config::JudgeConfig;
use crate::constitution::Constitution;
use crate::error::JudgeError;
use crate::ruling::Ruling;
use crate::trial;

/// Folder inside the judge's state, so that a running judge is not disturbed.
const STATE: &str = "check";

/// What came of a try.
#[derive(Clone, Debug)]
pub struct TriedOut {
    /// One for each text, or why there is no ruling.
    pub found: Vec<Result<Ruling, String>>,
    /// Why the constitution calls the judge unfit; absent: it is fit. Only where its own cases were tried.
    pub unfit: Option<String>,
}

/// Asks about the constitution's cases and judges the judge.
///
/// # Errors
/// An endpoint that may not be reached or answers no further.
pub fn try_cases(config: &JudgeConfig, report: Report<'_>) -> Result<TriedOut, JudgeError> {
    let constitution = Constitution::read(&config.constitution)?;
    let texts: Vec<&str> = constitution.cases.iter().map(|case| case.text.as_str()).collect();
    let tried = try_texts(config, &texts, report)?;
    let held = trial::held(&constitution, &tried.found);
    let unfit =
        trial::demand(&constitution, held, &tried.found).err().map(|error| error.to_string());
    Ok(TriedOut { unfit, ..tried })
}

/// Asks about any texts.
///
/// # Errors
/// As for [`try_cases`].
pub fn try_texts(
    config: &JudgeConfig,
    texts: &[&str],
    report: Report<'_>,
) -> Result<TriedOut, JudgeError> {
    let way_out = WayOut::prepare(&config.backend, &config.egress)?;
    let state = config.state.join(STATE);
    let mut asking = Asking::open(config, way_out, &state, Arc::new(SystemClock))?;
    let said = asking.about(&singly(texts.iter().copied()), report)?;
    let found = said.into_iter().map(|said| said.ruling);
    Ok(TriedOut { found: found.collect(), unfit: None })
}
