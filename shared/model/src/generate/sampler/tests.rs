use super::*;
use std::path::Path;

/// The probabilities that `draw` picks from.
fn probabilities(sampler: &Sampler, logits: &[f32]) -> Vec<f64> {
    let mut logits = logits.to_vec();
    sampler.process(&mut logits, None, &[]);
    temper(&mut logits, sampler.config.temperature);
    softmax_row(&mut logits);
    let mut probabilities = vec![0.0; logits.len()];
    let kept = if keeps_all(&sampler.config) {
        logits.iter().copied().zip(0..).collect()
    } else {
        kept(&logits, &sampler.config)
    };
    let total: f64 = kept.iter().map(|&(p, _)| f64::from(p)).sum();
    for (p, token) in kept {
        probabilities[token as usize] = f64::from(p) / total;
    }
    probabilities
}

fn sampler(config: SamplingConfig, seed: u64) -> Sampler {
    Sampler::new(Arc::new(config), &[], seed)
}

#[test]
fn processed_probabilities_equal_those_of_transformers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/sampling.safetensors");
    let golden = candle_core::safetensors::load(&path, &candle_core::Device::Cpu).unwrap();
    let ids = |name: &str| -> Vec<u32> {
        let ids = golden[name].to_vec1::<i64>().unwrap();
        ids.into_iter().map(|id| u32::try_from(id).unwrap()).collect()
    };
    let logits = golden["logits"].to_vec2::<f32>().unwrap();
    let mut cases = 0;
    while let Some(settings) = golden.get(&format!("settings.{cases}")) {
        let settings = settings.to_vec1::<u8>().unwrap();
        let config: SamplingConfig = serde_json::from_slice(&settings).unwrap();
        let expected = golden[&format!("expected.{cases}")].to_vec2::<f32>().unwrap();
        for (row, (logits, expected)) in logits.iter().zip(&expected).enumerate() {
            let prompt = ids(&format!("prompt.{row}"));
            let mut sampler = Sampler::new(Arc::new(config.clone()), &prompt, 0);
            ids(&format!("text.{row}")).into_iter().for_each(|token| sampler.push(token));
            let ours = probabilities(&sampler, logits);
            let differ = |(a, b): (&f64, &f32)| (a - f64::from(*b)).abs();
            let worst = ours.iter().zip(expected).map(differ).fold(0.0, f64::max);
            assert!(worst <= 1e-5, "case {cases}, row {row}: {worst:e} with {config:?}");
        }
        cases += 1;
    }
    assert!(cases >= 19, "{cases} cases");
}

#[test]
fn tokens_are_drawn_as_often_as_their_probabilities_say() {
    let logits: Vec<f32> = (0..12).map(|i| ((i * 5) % 12) as f32 * 0.3).collect();
    for config in [
        SamplingConfig { temperature: 0.8, ..SamplingConfig::default() },
        SamplingConfig { top_k: 6, top_p: 0.9, ..SamplingConfig::default() },
        SamplingConfig { min_p: 0.2, typical_p: 0.9, ..SamplingConfig::default() },
    ] {
        let mut sampler = sampler(config, 11);
        let expected = probabilities(&sampler, &logits);
        let draws = 40_000;
        let mut counts = [0u32; 12];
        for _ in 0..draws {
            counts[sampler.draw(&mut logits.clone(), None, &[]).unwrap() as usize] += 1;
        }
        for (token, (&count, &p)) in counts.iter().zip(&expected).enumerate() {
            let deviation = (p * (1.0 - p) / f64::from(draws)).sqrt();
            let seen = f64::from(count) / f64::from(draws);
            assert!((seen - p).abs() <= 5.0 * deviation, "token {token}: {seen}, expected {p}");
        }
    }
}

#[test]
fn the_seed_fixes_the_draws() {
    let logits = [0.1, 0.5, 0.2, 0.9];
    let draws = |seed| {
        let mut sampler = sampler(SamplingConfig::default(), seed);
        (0..50).map(|_| sampler.draw(&mut logits.clone(), None, &[]).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(draws(1), draws(1));
    assert_ne!(draws(1), draws(2));
}

#[test]
fn what_is_not_allowed_is_never_drawn() {
    let mut allowed = TokenMask::none(100);
    [3, 40, 99].iter().for_each(|&token| allowed.allow(token));
    let logits: Vec<f32> = (0..100).map(|i| (i % 7) as f32).collect();
    for temperature in [0.0, 1.0, 50.0] {
        for top_k in [0, 5] {
            let config = SamplingConfig { temperature, top_k, ..SamplingConfig::default() };
            let mut sampler = sampler(config, 5);
            for _ in 0..200 {
                let token = sampler.draw(&mut logits.clone(), Some(&allowed), &[40]).unwrap();
                assert!(token == 3 || token == 99, "{token}");
            }
            assert_eq!(sampler.draw(&mut logits.clone(), Some(&TokenMask::none(100)), &[]), None);
        }
    }
}

#[test]
fn a_mask_of_words_has_the_tokens_of_its_bits() {
    let mask = TokenMask::from_words(&[1 << 31, 0b101], 35);
    let tokens: Vec<u32> = (0..200).filter(|&token| mask.allows(token)).collect();
    assert_eq!(tokens, [31, 32, 34]);
    assert!((0..35).all(|token| TokenMask::all(35).allows(token)));
}
