//! Written policy: Rego files of the organisation, asked last, over typed measurements.
//!
//! The auditor measures and its gate decides by numbers; what else an organisation demands of a
//! change of weights it writes down here, in files that stock `opa` runs as well. A bundle is named
//! by digest in every verdict, and a change of it is a row of the ledger.
//!
//! **Invariant:** a policy only ever refuses what the gate would accept; it cannot accept what the
//! gate refuses.
//! **Absent:** texts of edits and questions, the clock, chance, the network.

mod bundle;
mod engine;
mod examine;
mod input;
mod self_test;
mod source;
mod stage;

pub use bundle::{Bundle, BundleError};
pub use engine::{Policy, PolicyError, Said, TIMEOUT};
pub use examine::{Examined, examine};
pub use input::{
    AttemptFacts, AuditorFacts, CandidateFacts, EditFacts, Estimate, Facts, Gate, Gates,
    INPUT_VERSION, Incomplete, InputError, Measurement, Measurements, PolicyInput, RequestFacts,
};
pub use stage::{Asked, stage};

#[cfg(test)]
mod stock_opa_tests;
#[cfg(test)]
mod tests;
