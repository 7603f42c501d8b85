//! `seal bench`: how fast this machine trains and asks candidates.

use anyhow::{Context, Result};
use seal_bench::{
    Comparison, Machine, Report, RoundReport, RoundSettings, Settings, Shape, Side, Spread, Target,
};

use super::{hint, print_json};
use crate::cli::{Bench, Global};
use crate::exit::{Ended, Failure, OrEnd};
use crate::text::table;

pub(crate) fn bench(global: &Global, args: &Bench) -> Result<Option<Ended>, Failure> {
    let shape = Shape::from_name(&args.shape).context("no such shape")?;
    let tell = |text: &str| {
        if !global.quiet {
            eprintln!("{text}");
        }
    };
    let opened = args.device.open().or_end(Ended::Environment)?;
    opened.note.iter().for_each(|note| tell(note));
    let target = Target::of(opened);
    let candidates = args.candidates.map_or_else(|| shape.candidates(&target), |n| n as usize);
    if let Some(contexts) = args.round {
        let contexts = contexts as usize;
        let settings = RoundSettings { shape, target, candidates, contexts };
        let report = on_threads(args.threads, || seal_bench::paper_round(&settings, &tell))??;
        if global.json {
            print_json(&report)?;
        } else {
            print_round(&report);
        }
        return Ok(None);
    }
    let settings = Settings {
        shape,
        target,
        candidates,
        rounds: args.rounds as usize,
        quick: args.quick,
        peer: args.peer.clone(),
        published: args.published,
    };
    let report = on_threads(args.threads, || seal_bench::run(&settings, &tell))??;
    if global.json {
        print_json(&report)?;
    } else {
        print(&report);
    }
    if settings.peer.is_none() {
        hint(global, "seal bench --peer PYTHON, beside PyTorch and PEFT");
    }
    Ok(None)
}

/// Runs `work` in a pool of that many threads.
fn on_threads<T: Send>(threads: Option<u32>, work: impl FnOnce() -> T + Send) -> Result<T> {
    let threads = threads.map_or(0, |n| n as usize);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    Ok(pool.context("cannot start the threads")?.install(work))
}

fn print_machine(machine: &Machine) {
    if let Some(device) = &machine.device {
        out!("{}", crate::text::printable(device));
    }
    out!(
        "{}, {} threads, {}, {} MiB of memory",
        crate::text::printable(&machine.processor),
        machine.threads,
        machine.instruction_set,
        machine.memory_bytes >> 20
    );
}

fn print_round(report: &RoundReport) {
    print_machine(&report.machine);
    out!(
        "{}: {:.1} M weights; {} of 50 contexts, {} candidates, at most {} together",
        report.shape.name(),
        millions(report.parameters),
        report.contexts,
        report.candidates,
        report.together
    );
    out!(
        "{:.1} minutes: {:.1} s of training, {:.1} s of answers; {:.1} candidates per minute",
        report.minutes,
        report.training_s,
        report.answering_s,
        report.candidates_per_minute
    );
    out!(
        "{} steps on {} tokens, {:.0} a second; {} tokens written, {:.0} a second",
        report.steps,
        report.trained_tokens,
        report.training_tokens_per_s,
        report.written_tokens,
        report.answer_tokens_per_s
    );
    out!(
        "training reaches {:.1} % of {:.1} TFLOP/s",
        report.utilisation * 100.0,
        report.peak_flops / 1e12
    );
}

fn print(report: &Report) {
    print_machine(&report.machine);
    out!(
        "{}: {:.1} M weights, {:.2} M per adapter, {} candidates together, median of {} rounds",
        report.shape.name(),
        millions(report.parameters),
        millions(report.adapter_parameters),
        report.candidates,
        report.rounds
    );
    out!("");
    out!("Seconds per candidate");
    let mut rows = vec![heads(["", "training", "answers", "both", "range"])];
    rows.push(side("ours, together", &report.together));
    rows.push(side("ours, alone", &report.alone));
    if let Some(peer) = &report.peer {
        rows.push(side("PyTorch + PEFT", &peer.seconds));
    }
    out!("{}", table(&rows));
    out!(
        "{:.1} candidates per minute; {:.0} trained and {:.0} written tokens per second",
        report.candidates_per_minute,
        report.training_tokens_per_s,
        report.answer_tokens_per_s
    );
    out!(
        "{:.1} GFLOP of training and {:.1} of answers per candidate; training reaches {:.0} % of the \
         kernel's {:.0} GFLOP/s",
        report.training_flops / 1e9,
        report.answering_flops / 1e9,
        report.utilisation * 100.0,
        report.peak_flops / 1e9
    );
    out!("at most {} MiB held", report.peak_memory_bytes >> 20);
    if let Some(peer) = &report.peer {
        out!("");
        print_peer(peer);
    }
}

fn print_peer(peer: &Comparison) {
    let versions = &peer.versions;
    out!(
        "Times as fast as torch {}, transformers {}, peft {} on {} threads ({})",
        versions.torch,
        versions.transformers,
        versions.peft,
        versions.threads,
        versions.capability
    );
    let mut rows = vec![heads(["", "median", "range"])];
    rows.push(ratio("training", peer.training_ratio));
    rows.push(ratio("answers", peer.answering_ratio));
    rows.push(ratio("both", peer.ratio));
    rows.push(ratio("both, our candidates one by one", peer.ratio_alone));
    rows.push(ratio(
        "both, their answers batched with merged weights",
        peer.ratio_batched_and_merged,
    ));
    out!("{}", table(&rows));
    if let Some(ratio) = peer.published_step_ratio {
        out!("one of their steps padded to 2048 tokens takes {ratio:.0} times one of ours");
    }
    out!(
        "same work: losses {:?} and {:?}; {} of {} greedy tokens equal",
        peer.losses.0,
        peer.losses.1,
        peer.equal_tokens.0,
        peer.equal_tokens.1
    );
}

fn heads<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

fn side(name: &str, side: &Side) -> Vec<String> {
    let seconds = |spread: Spread| format!("{:.3}", spread.median);
    vec![
        name.to_owned(),
        seconds(side.training_s),
        seconds(side.answering_s),
        seconds(side.candidate_s),
        format!("{:.3} – {:.3}", side.candidate_s.least, side.candidate_s.most),
    ]
}

fn ratio(name: &str, spread: Spread) -> Vec<String> {
    vec![
        name.to_owned(),
        format!("{:.2}", spread.median),
        format!("{:.2} – {:.2}", spread.least, spread.most),
    ]
}

#[allow(clippy::cast_precision_loss)]
fn millions(count: usize) -> f64 {
    count as f64 / 1e6
}
