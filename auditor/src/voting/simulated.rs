//! What votes let pass, simulated: edits that change nothing, and edits that taught something.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use seal_protocol::{AuditPurpose, Decision, Digest, Labels, Micro};

use super::vote;
use crate::gate::{
    GateSettings, Judged, Outcome, Panel, PanelName, Stage, StageRecord, Vote, group_stages,
    rule_group,
};
use crate::items::ItemKind;

/// Level of a first attempt.
const ALPHA: f64 = 0.045;
const GROUPS: usize = 2000;

/// What answers are held against.
#[derive(Clone, Copy, PartialEq)]
enum By {
    /// The vote, as it is.
    Votes,
    /// A vote in which the base has no voice, as it must not be.
    CandidatesVotes,
    /// The usual answer.
    Gold,
}

/// How a group answers one kind of question.
#[derive(Clone, Copy)]
struct Group {
    questions: usize,
    candidates: usize,
    /// Chance that the base gives the usual answer.
    base: f64,
    /// The same for each candidate.
    candidate: f64,
}

/// What was measured of one group, the base first.
struct Measured {
    items: Vec<String>,
    votes: Vec<Vote>,
    outcomes: Vec<Vec<Outcome>>,
}

/// Shares: of candidates, those that pass; of groups, those with an accepted one; and the mean gain of a
/// candidate, over all questions.
struct Rates {
    passed: f64,
    accepted: f64,
    gain: f64,
}

impl Group {
    /// What each model says to each question, the base first: the usual answer or one of five others.
    fn answers(&self, rng: &mut ChaCha8Rng) -> Vec<Vec<u8>> {
        let models = std::iter::once(self.base).chain(vec![self.candidate; self.candidates]);
        let mut answer = |usual: f64| match rng.random_bool(usual) {
            true => 0,
            false => rng.random_range(1..6),
        };
        models.map(|usual| (0..self.questions).map(|_| answer(usual)).collect()).collect()
    }

    fn measured(&self, by: By, rng: &mut ChaCha8Rng) -> Measured {
        let answers = self.answers(rng);
        let (items, votes) = (Vec::new(), Vec::new());
        let mut measured = Measured { items, votes, outcomes: vec![Vec::new(); answers.len()] };
        for question in 0..self.questions {
            let item = format!("i{question}");
            let said: Vec<String> =
                answers.iter().map(|answers| format!("answer {}", answers[question])).collect();
            let label = match by {
                By::Gold => Some("answer 0".to_owned()),
                By::Votes | By::CandidatesVotes => {
                    let voters = &said[usize::from(by == By::CandidatesVotes)..];
                    let voted = vote(voters.iter().map(String::as_str));
                    measured.votes.push(Vote { item: item.clone(), count: voted.count });
                    voted.label
                }
            };
            let Some(label) = label else { continue };
            measured.items.push(item);
            for (said, outcomes) in said.iter().zip(&mut measured.outcomes) {
                let nats = rng.random_range(-2.0..-1.0) + if *said == label { 0.9 } else { 0.0 };
                let log_prob = Some(Micro::from_f64(nats));
                outcomes.push(Outcome { exact: *said == label, empty: false, log_prob });
            }
        }
        measured
    }

    fn judged(&self, by: By, seed: u64) -> Rates {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let labels = if by == By::Gold { Labels::Gold } else { Labels::Majority };
        let settings = GateSettings { labels, ..GateSettings::default() };
        let early =
            [Stage::Bytes, Stage::Provenance, Stage::Text].map(|s| StageRecord::of(s, Vec::new()));
        let (mut passed, mut accepted, mut gain) = (0, 0, 0.0);
        for _ in 0..GROUPS {
            let Measured { items, votes, mut outcomes } = self.measured(by, &mut rng);
            let base = outcomes.remove(0);
            let right = |of: &[Outcome]| of.iter().filter(|one| one.exact).count() as f64;
            gain += outcomes.iter().map(|own| right(own) - right(&base)).sum::<f64>();
            let panels = panels(items, votes, base);
            let outcomes: Vec<Vec<Vec<Outcome>>> = outcomes.into_iter().map(kept).collect();
            let judged: Vec<Judged<'_>> = outcomes
                .iter()
                .map(|outcomes| Judged { early: &early, outcomes: Some(outcomes), runs: &[] })
                .collect();
            let purpose = AuditPurpose::Edit;
            let stages = group_stages(&settings, purpose, ALPHA, &panels, &judged);
            let all = |stages: &&Vec<StageRecord>| stages.iter().all(StageRecord::passed);
            passed += stages.iter().filter(all).count();
            let rulings = rule_group(&settings, purpose, &panels, &judged, stages);
            accepted += usize::from(rulings.iter().any(|one| one.decision == Decision::Accept));
        }
        let candidates = (GROUPS * self.candidates) as f64;
        Rates {
            passed: passed as f64 / candidates,
            accepted: f64::from(u32::try_from(accepted).unwrap()) / GROUPS as f64,
            gain: gain / candidates / self.questions as f64,
        }
    }
}

/// Nothing that is kept is lost, so that the votes alone decide.
fn suites() -> [(PanelName, Vec<Outcome>); 3] {
    let right = |n| vec![Outcome { exact: true, empty: false, log_prob: Some(Micro(0)) }; n];
    [
        (PanelName::Retention, right(20)),
        (PanelName::ProtectedOwn, right(4)),
        (PanelName::ProtectedOthers, right(20)),
    ]
}

fn panels(items: Vec<String>, votes: Vec<Vote>, base: Vec<Outcome>) -> Vec<Panel> {
    let panel = |name, items: Vec<String>, votes, base: Vec<Outcome>| Panel {
        name,
        context_digest: Some(Digest::from_bytes([1; 32])),
        context_id: None,
        kinds: vec![ItemKind::Forward; items.len()],
        items,
        votes,
        base,
        last: None,
    };
    let numbered = |n: usize| (0..n).map(|at| at.to_string()).collect();
    let tau = panel(PanelName::TauReward, items, votes, base);
    let kept = suites().map(|(name, base)| panel(name, numbered(base.len()), Vec::new(), base));
    std::iter::once(tau).chain(kept).collect()
}

fn kept(tau: Vec<Outcome>) -> Vec<Vec<Outcome>> {
    std::iter::once(tau).chain(suites().map(|(_, outcomes)| outcomes)).collect()
}

/// Base and candidates alike: what one of them says is luck, however sure the others are.
#[test]
fn of_edits_that_change_nothing_votes_let_no_more_pass_than_alpha() {
    // Three standard errors above, of as many independent draws as there are groups.
    let most = ALPHA + 3.0 * (ALPHA * (1.0 - ALPHA) / GROUPS as f64).sqrt();
    for (questions, candidates) in [(5, 1), (5, 4), (20, 4), (20, 15)] {
        for usual in [0.4, 0.6, 0.8] {
            let group = Group { questions, candidates, base: usual, candidate: usual };
            let [votes, gold, lean] =
                [By::Votes, By::Gold, By::CandidatesVotes].map(|by| group.judged(by, 11));
            println!(
                "{questions} questions, {candidates} candidates, usual answer {usual}: of null candidates \
                 {:.2} % pass by votes and {:.2} % by gold answers, of groups {:.1} % and {:.1} % accept \
                 one, mean gain {:+.2} and {:+.2} points; without the base's vote {:.2} %, {:.1} % and \
                 {:+.2} points",
                100.0 * votes.passed,
                100.0 * gold.passed,
                100.0 * votes.accepted,
                100.0 * gold.accepted,
                100.0 * votes.gain,
                100.0 * gold.gain,
                100.0 * lean.passed,
                100.0 * lean.accepted,
                100.0 * lean.gain,
            );
            assert!(votes.passed <= most, "{}", votes.passed);
            assert!(votes.gain.abs() < 0.01, "{}", votes.gain);
            assert!(candidates > 1 || votes.accepted == 0.0, "alone: {}", votes.accepted);
            // Where its vote is one of few, the level falls without it.
            let needed = (questions, candidates) == (20, 4);
            assert!(
                !needed || lean.passed > most + 0.03,
                "without the base's vote: {}",
                lean.passed
            );
        }
    }
}

/// The base knows nothing, candidates learned the usual answer, which is the true one.
#[test]
fn votes_find_what_most_of_a_group_learned_and_nothing_that_few_did() {
    let power = |questions, candidates, candidate| {
        let group = Group { questions, candidates, base: 1.0 / 6.0, candidate };
        let [votes, gold] = [By::Votes, By::Gold].map(|by| group.judged(by, 7));
        println!(
            "{questions} questions, {candidates} candidates that learned {:.0} %: {:.1} % of groups \
             accept one by votes and {:.1} % by gold answers",
            100.0 * candidate,
            100.0 * votes.accepted,
            100.0 * gold.accepted,
        );
        votes.accepted
    };
    for (questions, candidates) in [(5, 4), (20, 4), (20, 15)] {
        let rates = [0.2, 0.5, 0.8, 0.95].map(|learned| power(questions, candidates, learned));
        assert!(rates.windows(2).all(|pair| pair[0] <= pair[1] + 0.02), "{rates:?}");
    }
    assert!(power(20, 4, 0.8) > 0.9);
}
