//! What further runs are worth under as much noise as a reward may have.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::statistics::{bootstrap_mean, mean};

/// Groups that each scheme chooses from.
const GROUPS: usize = 4000;

/// Close to a standard normal number.
fn noise(rng: &mut ChaCha8Rng) -> f64 {
    (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0
}

/// A group of edits, whose true values have a variance of 1, and the noise of one run.
struct Group {
    truth: Vec<f64>,
    noise: f64,
    rewards: Vec<Vec<f64>>,
}

impl Group {
    /// Of one run, `reliability` is the share of variance between edits.
    fn new(edits: usize, reliability: f64, rng: &mut ChaCha8Rng) -> Self {
        let truth = (0..edits).map(|_| noise(rng)).collect();
        let noise = ((1.0 - reliability) / reliability).sqrt();
        Self { truth, noise, rewards: vec![Vec::new(); edits] }
    }

    fn run(&mut self, edits: &[usize], rng: &mut ChaCha8Rng) {
        for edit in edits {
            self.rewards[*edit].push(self.truth[*edit] + self.noise * noise(rng));
        }
    }

    /// What the chosen edit is truly worth after so many runs, as the gate repeats and chooses.
    fn chosen(mut self, repeats: Repeats, rng: &mut ChaCha8Rng) -> f64 {
        let mut going: Vec<usize> = (0..self.truth.len()).collect();
        for run in 1..=repeats.runs {
            self.run(&going, rng);
            if run < repeats.runs {
                let reward = |edit: usize| (edit, mean(&self.rewards[edit]).unwrap());
                going = repeats.next.of(going.into_iter().map(reward).collect());
            }
        }
        let estimates = estimates(&self.rewards.into_iter().map(Some).collect::<Vec<_>>());
        let best = crate::selection::first_best(estimates.into_iter().flatten()).unwrap();
        self.truth[best]
    }
}

/// What a scheme's choices are worth, in standard deviations between edits.
fn worth(edits: usize, runs: u32, next: Next, reliability: f64) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let repeats = Repeats { runs, next };
    let chosen = |_| Group::new(edits, reliability, &mut rng).chosen(repeats, &mut rng);
    (0..GROUPS).map(chosen).collect()
}

/// Prints the table of docs/REWARD.md: `cargo test -p seal-auditor --lib further_runs_pay -- --nocapture`.
#[test]
fn further_runs_pay_where_a_reward_is_noise_and_cost_edits_where_it_is_not() {
    let mut differences = Vec::new();
    for reliability in [0.13, 0.3, 0.5, 0.76, 0.92] {
        let all = worth(5, 3, Next::All, reliability);
        let halved = worth(9, 3, Next::Half, reliability);
        let once = worth(15, 1, Next::Half, reliability);
        let five = worth(5, 1, Next::Half, reliability);
        let five_halved = worth(5, 3, Next::Half, reliability);
        let shown = [&five, &five_halved, &all, &halved, &once].map(|values| mean(values).unwrap());
        let difference: Vec<f64> = halved.iter().zip(&once).map(|(a, b)| a - b).collect();
        let interval = bootstrap_mean(&difference, 0).unwrap();
        println!(
            "reliability of one run {reliability}: 5 edits once {:.2}, 5 halving {:.2}, 5 edits 3 times \
             {:.2}, 9 halving {:.2}, 15 once {:.2}; 9 halving beside 15 once {:+.2} [{:+.2}, {:+.2}]",
            shown[0],
            shown[1],
            shown[2],
            shown[3],
            shown[4],
            interval.mean,
            interval.low,
            interval.high
        );
        assert!(shown[1] > shown[0], "8 runs of the same edits are worth more than 5");
        differences.push(interval);
    }
    assert!(differences[0].low > 0.0, "{:?}", differences[0]);
    assert!(differences[4].high < 0.0, "{:?}", differences[4]);
}
