//! What a model is to do, in bytes.

use seal_model::fit::{Engine, Fit, MARGIN_PERCENT, Need, Work, human, what};
use seal_model::{DecoderConfig, LoraSpec};
use serde::Serialize;

use crate::cli::Plan;

/// One kind of work, and whether it fits.
#[derive(Serialize)]
pub(super) struct Job {
    pub(super) name: &'static str,
    /// The work in words.
    pub(super) what: String,
    need: Need,
    /// Everything, with the margin.
    pub(super) total_bytes: u64,
    pub(super) fits: bool,
    /// What would make it fit, the mildest first.
    pub(super) mends: Vec<String>,
}

/// The work of a student, of a teacher with a local policy, and of whoever answers; of a GGUF file, which
/// no student has, that of a teacher whose policy learns by adapters.
pub(super) fn all(
    config: &DecoderConfig,
    engine: Engine,
    plan: &Plan,
    available: Option<u64>,
    gguf: bool,
) -> Vec<Job> {
    let checkpointing = plan.checkpointing;
    let lora = LoraSpec::all(plan.rank);
    let trained = |candidates, step_tokens| Work::InnerUpdate {
        candidates,
        step_tokens,
        lora: lora.clone(),
        checkpointing,
    };
    // Over what was learned before, as all but the first step of a sequence and the first M-step are.
    let on_top = |work| Work::Merged { work: Box::new(work), lora: lora.clone() };
    let adapters = match gguf {
        false => vec![
            ("inner update", trained(plan.candidates, plan.step_tokens)),
            ("step of a sequence", on_top(trained(1, plan.step_tokens))),
        ],
        true => vec![("LoRA M-step", on_top(trained(1, plan.m_step_tokens)))],
    };
    let m_step = Work::FineTune { step_tokens: plan.m_step_tokens, checkpointing };
    let answering = Work::Serve { texts: plan.texts, tokens: plan.text_tokens };
    let named = adapters.into_iter().chain([("M-step", m_step), ("answering", answering)]);
    named.map(|(name, work)| job(name, config, engine, &work, available)).collect()
}

fn job(
    name: &'static str,
    config: &DecoderConfig,
    engine: Engine,
    work: &Work,
    available: Option<u64>,
) -> Job {
    let fit = Fit::new(config, engine, work, available);
    Job {
        name,
        what: what(work),
        need: fit.need,
        total_bytes: fit.need.total(),
        fits: fit.fits(),
        mends: fit.mends,
    }
}

/// A column for each job, a row for each part that any of them has.
pub(super) fn table(jobs: &[Job]) -> String {
    let row = |head: &str, cell: &dyn Fn(&Job) -> String| {
        std::iter::once(head.to_owned()).chain(jobs.iter().map(cell)).collect::<Vec<String>>()
    };
    let shown = |bytes: u64| if bytes == 0 { String::new() } else { human(bytes) };
    let mut rows = vec![row("", &|job| job.name.to_owned())];
    for (part, (name, _)) in Need::default().parts().into_iter().enumerate() {
        if jobs.iter().any(|job| job.need.parts()[part].1 > 0) {
            rows.push(row(name, &|job| shown(job.need.parts()[part].1)));
        }
    }
    rows.push(row(&format!("with {MARGIN_PERCENT} % more"), &|job| human(job.total_bytes)));
    rows.push(row("fits", &|job| if job.fits { "yes" } else { "no" }.to_owned()));
    crate::text::table(&rows)
}
