//! Rounds of alternating blocks.

use crate::flops::{self, to_f64};
use crate::machine::{Machine, peak_memory_bytes};
use crate::ours::{self, BlockTime};
use crate::peer::{Answering, Peer, Versions};
use crate::report::{Comparison, Report, Side, Spread};
use crate::shape::{Block, Shape};
use crate::target::Target;
use crate::work;
use anyhow::{Context, Result, ensure};
use seal_model::{Adapter, BaseModel, Decoder};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Steps whose losses both sides must agree on.
const CHECKED_STEPS: u64 = 3;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which shape.
    pub shape: Shape,
    /// What computes our side; the peer works on the same device.
    pub target: Target,
    /// Candidates trained together.
    pub candidates: usize,
    /// Rounds of alternating blocks.
    pub rounds: usize,
    /// Smaller blocks, for a first look.
    pub quick: bool,
    /// A Python with torch, transformers and peft.
    pub peer: Option<PathBuf>,
    /// Also one step of the published procedure.
    pub published: bool,
}

/// Seconds of one candidate's whole work.
#[derive(Clone, Copy)]
struct Seconds {
    training: f64,
    answering: f64,
}

impl Seconds {
    fn total(self) -> f64 {
        self.training + self.answering
    }
}

/// One round.
struct Round {
    together: Seconds,
    alone: Seconds,
    peer: Option<PeerRound>,
}

struct PeerRound {
    seconds: Seconds,
    batched_and_merged_s: f64,
}

/// Measures; `tell` hears what is being done.
///
/// # Errors
/// A machine without the memory or a folder for the weights; a peer that cannot be run, or whose
/// losses differ from ours.
pub fn run(settings: &Settings, tell: &dyn Fn(&str)) -> Result<Report> {
    let shape = settings.shape;
    let block = shape.block(settings.quick, &settings.target);
    tell(&format!("{}: drawing random weights", shape.name()));
    let decoder = settings.target.decoder(shape)?;
    let mut peer = settings.peer.as_ref().map(|_| meet(settings, &decoder, tell)).transpose()?;
    let peak_flops = settings.target.peak_flops()?;
    // The first block of a process pays for pages, packed weights and caches.
    ours::block(&decoder, 1, 2)?;
    let mut rounds = Vec::with_capacity(settings.rounds);
    for number in 1..=settings.rounds {
        tell(&format!("round {number} of {}", settings.rounds));
        let together = ours::block(&decoder, settings.candidates, block.steps)?;
        let other = peer.as_mut().map(|met| met.round(&decoder, block)).transpose()?;
        let alone = ours::block(&decoder, 1, block.steps)?;
        rounds.push(Round {
            together: seconds(together, settings.candidates),
            alone: seconds(alone, 1),
            peer: other,
        });
    }
    let published = match &mut peer {
        Some(met) if settings.published => {
            tell("one step of the published procedure");
            Some(met.published_step(&decoder)?)
        }
        _ => None,
    };
    let comparison = peer.map(|met| met.compare(&rounds, published));
    Ok(report(settings, &decoder, peak_flops, &rounds, comparison))
}

fn seconds(time: BlockTime, candidates: usize) -> Seconds {
    let candidates = to_f64(candidates);
    Seconds { training: time.training_s / candidates, answering: time.answering_s / candidates }
}

/// A peer that does the same work, as its losses showed.
struct Met {
    peer: Peer,
    versions: Versions,
    losses: (Vec<f32>, Vec<f32>),
    equal_tokens: (usize, usize),
}

/// Starts the peer on our weights and compares its first losses with ours.
fn meet(settings: &Settings, decoder: &Decoder, tell: &dyn Fn(&str)) -> Result<Met> {
    let python = settings.peer.as_ref().context("no peer was named")?;
    let folder = tempfile::tempdir().context("cannot make a folder for the weights")?;
    let (model, start) = (folder.path().join("model"), folder.path().join("adapter"));
    tell("handing the weights to the peer");
    hand_over(decoder, &model)?;
    let adapter = Adapter::init(decoder.config(), &work::recipe(1, None)?.lora, 0)?;
    // The peer reads no digest, and that of a large model takes a minute.
    let base = BaseModel { name: "seal-bench", revision: None, digest: &[0; 32] };
    adapter.save_peft(&start, base)?;
    let mut peer = Peer::start(python, folder.path())?;
    let recipe = (work::LEARNING_RATE, work::STEPS);
    let versions =
        peer.load(&model, &start, rayon::current_num_threads(), recipe, &settings.target)?;
    tell("comparing losses");
    let sequences = work::sequences(decoder.config(), 0);
    let losses = (
        ours::losses(decoder, adapter.clone(), CHECKED_STEPS)?,
        peer.losses(&sequences, CHECKED_STEPS)?,
    );
    let agree = |(step, (ours, theirs)): (usize, (&f32, &f32))| {
        settings.target.losses_agree(step, (*ours, *theirs), losses.1[0])
    };
    ensure!(
        losses.0.len() == losses.1.len() && losses.0.iter().zip(&losses.1).enumerate().all(agree),
        "the two sides do not do the same work: losses {:?} and {:?}",
        losses.0,
        losses.1
    );
    let question = &work::questions(decoder.config(), 0)[..1];
    let theirs = peer.answer(question, work::ANSWER_TOKENS, Answering::OneAfterAnother)?.first;
    let ours = ours::first_answer(decoder, &adapter)?;
    let equal = ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
    Ok(Met { peer, versions, losses, equal_tokens: (equal, ours.len()) })
}

/// Writes the model folder that the peer loads, each weight in the dtype that we compute with.
fn hand_over(decoder: &Decoder, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("config.json"), decoder.config().to_json())?;
    let tensors: HashMap<_, _> = decoder.weights().tensors(decoder.config()).into_iter().collect();
    candle_core::safetensors::save(&tensors, folder.join("model.safetensors"))?;
    Ok(())
}

impl Met {
    fn round(&mut self, decoder: &Decoder, block: Block) -> Result<PeerRound> {
        let (sequences, questions) =
            (work::sequences(decoder.config(), 0), work::questions(decoder.config(), 0));
        let trained = self.peer.train(&sequences, block.steps, None)?;
        let training = work::of_all_steps(trained.seconds, trained.later_step_s, block.steps);
        let some = &questions[..block.peer_questions];
        let one = self.peer.answer(some, work::ANSWER_TOKENS, Answering::OneAfterAnother)?;
        let all = self.peer.answer(&questions, work::ANSWER_TOKENS, Answering::BatchedAndMerged)?;
        let expected = (some.len() * work::ANSWER_TOKENS, questions.len() * work::ANSWER_TOKENS);
        ensure!((one.tokens, all.tokens) == expected, "the peer's answers have another length");
        let share = to_f64(work::QUESTIONS) / to_f64(block.peer_questions);
        Ok(PeerRound {
            seconds: Seconds { training, answering: one.seconds * share },
            batched_and_merged_s: training + all.seconds,
        })
    }

    /// Seconds of one step padded as published.
    fn published_step(&mut self, decoder: &Decoder) -> Result<f64> {
        let sequences = work::sequences(decoder.config(), 0);
        Ok(self.peer.train(&sequences, 1, Some(work::PUBLISHED_TOKENS))?.seconds)
    }

    fn compare(self, rounds: &[Round], published_s: Option<f64>) -> Comparison {
        let both = || rounds.iter().filter_map(|r| r.peer.as_ref().map(|peer| (r, peer)));
        let ratio = |of: fn(&Round, &PeerRound) -> f64| Spread::of(both().map(|(r, p)| of(r, p)));
        let steps = to_f64(work::STEPS as usize);
        let our_step = Spread::of(rounds.iter().map(|r| r.together.training / steps)).median;
        Comparison {
            versions: self.versions,
            seconds: side(both().map(|(_, peer)| peer.seconds)),
            training_ratio: ratio(|r, p| p.seconds.training / r.together.training),
            answering_ratio: ratio(|r, p| p.seconds.answering / r.together.answering),
            ratio: ratio(|r, p| p.seconds.total() / r.together.total()),
            ratio_alone: ratio(|r, p| p.seconds.total() / r.alone.total()),
            ratio_batched_and_merged: ratio(|r, p| p.batched_and_merged_s / r.together.total()),
            published_step_ratio: published_s.map(|seconds| seconds / our_step),
            losses: self.losses,
            equal_tokens: self.equal_tokens,
        }
    }
}

fn side(seconds: impl Iterator<Item = Seconds> + Clone) -> Side {
    Side {
        training_s: Spread::of(seconds.clone().map(|s| s.training)),
        answering_s: Spread::of(seconds.clone().map(|s| s.answering)),
        candidate_s: Spread::of(seconds.map(Seconds::total)),
    }
}

fn report(
    settings: &Settings,
    decoder: &Decoder,
    peak_flops: f64,
    rounds: &[Round],
    peer: Option<Comparison>,
) -> Report {
    let config = decoder.config();
    let flops = flops::count(config);
    let together = side(rounds.iter().map(|r| r.together));
    let (training, answering) = (together.training_s.median, together.answering_s.median);
    let trained = to_f64((work::SEQUENCE_TOKENS - 1) * work::STEPS as usize);
    let lora = work::recipe(1, None).map(|recipe| recipe.lora);
    let factors = lora.map(|lora| seal_model::lora::factor_shapes(config, &lora));
    Report {
        machine: Machine::with(&settings.target),
        shape: settings.shape,
        parameters: decoder.parameter_count(),
        adapter_parameters: factors.map_or(0, |f| f.iter().map(|shape| shape.len()).sum()),
        candidates: settings.candidates,
        rounds: rounds.len(),
        together,
        alone: side(rounds.iter().map(|r| r.alone)),
        candidates_per_minute: 60.0 / together.candidate_s.median,
        training_tokens_per_s: trained / training,
        answer_tokens_per_s: to_f64(work::QUESTIONS * work::ANSWER_TOKENS) / answering,
        training_flops: flops.training,
        answering_flops: flops.answering,
        peak_flops,
        utilisation: flops.training / training / peak_flops,
        peak_memory_bytes: peak_memory_bytes(),
        peer,
    }
}
