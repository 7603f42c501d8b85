//! The endpoint's own fine-tuning job: a file of accepted replies goes up, a job is made of it, and a model
//! comes out that is asked by its name.
//!
//! **Invariant:** a file or a job is made once: where the answer to an earlier request was lost, it is looked
//! for at the endpoint before another one is made.
//! **Absent:** whether anything may be learned; the caller has verified that.

mod config;
mod error;
mod file;
mod kept;
mod steps;
mod wire;

use std::path::{Path, PathBuf};

use seal_protocol::Digest;
use seal_trust::sha256;

use self::kept::Kept;
use self::wire::{Method, NewJob};
use crate::budget::Prices;
use crate::egress::Spent;
use crate::{OpenAi, Prompt, Report};

pub use self::config::FineTuningConfig;
pub use self::error::NotTuned;
pub use self::file::Example;

/// Where jobs and training files are kept in the state folder.
pub(crate) const FOLDER: &str = "backend/fine-tuning";
/// Seeds of the protocol have 31 bits.
const SEED_BITS: u64 = 0x7fff_ffff;

/// Where the training file of this digest lies in a state folder.
pub fn training_file(state: &Path, sha256: &Digest) -> PathBuf {
    state.join(FOLDER).join(format!("{sha256}.jsonl"))
}

/// What is to be tuned.
#[derive(Clone, Copy, Debug)]
pub struct TuningOrder<'a> {
    /// The model to go on from; absent: the one that the config names.
    pub model: Option<&'a str>,
    /// What is to be learned.
    pub examples: &'a [Example],
    /// How.
    pub settings: &'a FineTuningConfig,
    /// Fixes the order of rows, as far as the endpoint does.
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuned {
    /// The new model, as the endpoint calls it.
    pub model: String,
    /// The model that it was made of.
    pub parent: String,
    /// The job, as the endpoint calls it.
    pub job: String,
    /// SHA-256 of the training file as it left.
    pub training_file: Digest,
}

/// An order as it will leave.
struct Plan<'a> {
    model: &'a str,
    settings: &'a FineTuningConfig,
    seed: Option<u64>,
    content: String,
    sha256: Digest,
    /// Names the order: endpoint, model, file and settings. The file is called so at the endpoint, where
    /// no other order's file is.
    key: Digest,
    /// The most that the job is taken to cost.
    most: Spent,
}

impl Plan<'_> {
    fn file_name(&self) -> String {
        format!("seal-{}.jsonl", self.key)
    }

    /// The order of the job.
    fn body(&self, file: &str) -> String {
        let job = NewJob {
            model: self.model,
            training_file: file,
            method: Method::of(self.settings),
            suffix: self.settings.suffix.as_deref(),
            seed: self.seed,
        };
        // Strings and finite numbers only: it always has a JSON form.
        serde_json::to_string(&job).unwrap_or_default()
    }
}

impl OpenAi {
    /// The digest of a prompt as it leaves: after redaction.
    pub fn digest_of(&self, prompt: &Prompt) -> Digest {
        prompt.redacted(&self.session.redactor).digest()
    }

    /// Has a model tuned and waits for it. `report` gets the seconds that were waited, and the most.
    ///
    /// # Errors
    /// The endpoint, its job or the budget ended before there was a model.
    pub fn fine_tune(
        &mut self,
        order: &TuningOrder<'_>,
        report: Report<'_>,
    ) -> Result<Tuned, NotTuned> {
        let model = order.model.unwrap_or(&self.session.config.model).to_owned();
        let plan = self.plan(&model, order);
        let kept = Kept::open(&self.tunings, &plan.key, (&plan.sha256, &plan.content))?;
        self.runtime.block_on(self.session.fine_tune(&plan, kept, report))
    }

    fn plan<'a>(&self, model: &'a str, order: &TuningOrder<'a>) -> Plan<'a> {
        let settings = order.settings;
        let config = &self.session.config;
        let content = file::lines(order.examples, &self.session.redactor);
        let digest = sha256(content.as_bytes());
        let seed = config.send_seed.then_some(order.seed & SEED_BITS);
        let most = most(&content, settings);
        let unnamed = Plan { model, settings, seed, content, sha256: digest, key: digest, most };
        // The order of the job, with the file by its digest.
        let order = unnamed.body(&digest.to_string());
        let named = format!("seal/tuning/v1\n{}\n{order}", config.base_url);
        let key = sha256(named.as_bytes());
        Plan { key, ..unnamed }
    }
}

/// Every token of the file once in each pass, its frame included.
fn most(content: &str, settings: &FineTuningConfig) -> Spent {
    let prices =
        Prices { input_per_million: settings.training_price_per_million, output_per_million: 0.0 };
    let pass = prices.most(content.len(), 0).input_tokens;
    prices.cost(pass.saturating_mul(u64::from(settings.n_epochs)), 0)
}
