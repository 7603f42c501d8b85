//! A bundle that proved itself on its own tests, and its decisions.
//!
//! **Invariant:** only `data.seal.allow` being literally `true` allows. Undefined, another type, an
//! error or too much time is a refusal with its name.
//! **Invariant:** a decision follows from bundle and input alone: no clock, no chance, no network.

use std::num::NonZeroU32;
use std::time::Duration;

use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, LimitError, Value};
use seal_protocol::Digest;
use seal_trust::CanonicalError;

use super::bundle::{Bundle, BundleError};
use super::input::PolicyInput;
use super::{self_test, source};

/// Decides.
const ALLOW: &str = "data.seal.allow";
/// Explains, and never decides: a set of names.
const REASONS: &str = "data.seal.reasons";
/// Most names that are kept of one refusal.
const MAX_REASONS: usize = 32;
/// Steps between two looks at the clock.
const CHECK_INTERVAL: NonZeroU32 = NonZeroU32::new(64).expect("64 is not 0");

/// A policy that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The folder or the kept form.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// No digest.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// A function whose value does not follow from the input.
    #[error(
        "`{file}` line {line}: `{name}` is not available: a decision must follow from the input alone \
         (the time is `input.request.at`); take it out, from comments too"
    )]
    Forbidden {
        /// Which file.
        file: String,
        /// From 1.
        line: usize,
        /// As written.
        name: String,
    },
    /// Rego that does not hold.
    #[error("the policy does not compile: {0}")]
    Rego(String),
    /// No rule to ask.
    #[error(
        "no rule `allow` in `package seal`: write `default allow := false` and `allow if {{ … }}`"
    )]
    NoAllow,
    /// A bundle that shows nothing.
    #[error(
        "the policy has no test: add a file with rules `test_…` that `opa test` would run, at least \
         one for what is allowed and one for what is not"
    )]
    NoTest,
    /// A test of the bundle is not true.
    #[error("`{file}`: test `{name}` fails ({how}); mend the rule or the test")]
    Test {
        /// Which file.
        file: String,
        /// Its name.
        name: String,
        /// `false`, `undefined` or an error.
        how: String,
    },
}

/// What a policy said of one candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Literally true.
    Allowed,
    /// False, with the names that the policy gives.
    Refused(Vec<String>),
    /// Nothing.
    Undefined,
    /// Something that is neither true nor false.
    NotBoolean,
    /// Nothing in time.
    TimedOut,
    /// An error, in words for the log.
    Failed(String),
}

/// Name of a refusal for want of time: the one that depends on the machine.
pub const TIMEOUT: &str = "policy.timeout";

impl Said {
    /// Stable names of what spoke against the candidate; empty only when allowed.
    pub fn reasons(&self) -> Vec<String> {
        let name = match self {
            Self::Allowed => return Vec::new(),
            Self::Refused(_) => "policy.refused",
            Self::Undefined => "policy.undefined",
            Self::NotBoolean => "policy.not-boolean",
            Self::TimedOut => TIMEOUT,
            Self::Failed(_) => "policy.error",
        };
        let named: &[String] = if let Self::Refused(named) = self { named } else { &[] };
        let named = named.iter().map(|name| format!("policy.{name}"));
        std::iter::once(name.to_owned()).chain(named).collect()
    }
}

/// Written policy, ready to decide.
#[derive(Clone)]
pub struct Policy {
    engine: Engine,
    bundle: Bundle,
    digest: Digest,
    tests: usize,
}

impl Policy {
    /// Compiles a bundle and runs its tests.
    ///
    /// # Errors
    /// A function that is not available, Rego that does not compile, a missing `allow`, a bundle
    /// without tests, a test that fails.
    pub fn new(bundle: Bundle, time_limit: Duration) -> Result<Self, PolicyError> {
        bundle.rego().try_for_each(|(file, text)| source::refuse_forbidden(file, text))?;
        let mut engine = engine(time_limit)?;
        for (file, text) in bundle.rego() {
            engine.add_policy(file.to_owned(), text.to_owned()).map_err(compile_error)?;
        }
        if let Some(data) = bundle.data() {
            engine.add_data_json(data).map_err(compile_error)?;
        }
        if !source::declares_allow(&bundle) {
            return Err(PolicyError::NoAllow);
        }
        let digest = bundle.digest()?;
        let tests = self_test::run(&engine, &bundle)?;
        Ok(Self { engine, bundle, digest, tests })
    }

    /// What `[policy]` and every verdict name it by.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The files.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// Tests that were run and passed.
    pub fn tests(&self) -> usize {
        self.tests
    }

    /// Judges one candidate.
    pub fn decide(&self, input: &PolicyInput) -> Said {
        match serde_json::to_string(input) {
            Ok(json) => self.decide_json(&json),
            Err(error) => Said::Failed(error.to_string()),
        }
    }

    /// Judges an input that no type has checked: for tests of what Rego makes of broken input.
    pub(super) fn decide_json(&self, input: &str) -> Said {
        let mut engine = self.engine.clone();
        if let Err(error) = engine.set_input_json(input) {
            return failed(&error);
        }
        match engine.eval_rule(ALLOW.to_owned()) {
            Ok(Value::Bool(true)) => Said::Allowed,
            Ok(Value::Bool(false)) => Said::Refused(named(&mut engine)),
            Ok(Value::Undefined) => Said::Undefined,
            Ok(_) => Said::NotBoolean,
            Err(error) => failed(&error),
        }
    }
}

fn engine(time_limit: Duration) -> Result<Engine, PolicyError> {
    let mut engine = Engine::new();
    // A built-in function that fails is an error here and not "undefined", which `not` would turn
    // into true.
    engine.set_strict_builtin_errors(true);
    engine.set_gather_prints(true);
    engine.set_execution_timer_config(ExecutionTimerConfig {
        limit: time_limit,
        check_interval: CHECK_INTERVAL,
    });
    for (name, arguments) in source::SHADOWED {
        let refuse = move |_: Vec<Value>| anyhow::bail!("`{name}` is not available to a policy");
        engine
            .add_extension(name.to_owned(), arguments, Box::new(refuse))
            .map_err(compile_error)?;
    }
    Ok(engine)
}

/// The set of names beside a refusal. A policy without one refuses all the same.
fn named(engine: &mut Engine) -> Vec<String> {
    let Ok(Value::Set(names)) = engine.eval_rule(REASONS.to_owned()) else { return Vec::new() };
    let text = |value: &Value| value.as_string().ok().map(|text| text.to_string());
    let mut names: Vec<String> =
        names.iter().filter_map(text).filter(|name| source::is_name(name)).collect();
    names.sort();
    names.truncate(MAX_REASONS);
    names
}

pub(super) fn failed(error: &anyhow::Error) -> Said {
    let timer = |cause: &(dyn std::error::Error + 'static)| {
        matches!(cause.downcast_ref(), Some(LimitError::TimeLimitExceeded { .. }))
    };
    if error.chain().any(timer) { Said::TimedOut } else { Said::Failed(error.to_string()) }
}

fn compile_error(error: anyhow::Error) -> PolicyError {
    PolicyError::Rego(format!("{error:#}"))
}
