use super::*;
use crate::error::Result;
use serde_json::{Value, json};
use std::path::Path;

fn parse(edit: impl FnOnce(&mut Value)) -> Result<DecoderConfig> {
    let mut config = json!({
        "architectures": ["LlamaForCausalLM"], "vocab_size": 16, "hidden_size": 8,
        "intermediate_size": 12, "num_hidden_layers": 3, "num_attention_heads": 2,
        "rms_norm_eps": 1e-5, "eos_token_id": [2, 3],
    });
    edit(&mut config);
    DecoderConfig::parse(config.to_string().as_bytes(), Path::new("config.json"))
}

/// A config of another family, with the key/value heads that family needs.
fn parse_as(family: Family, edit: impl FnOnce(&mut Value)) -> Result<DecoderConfig> {
    parse(|c| {
        c["architectures"] = json!([family.architecture()]);
        c["num_key_value_heads"] = json!(1);
        edit(c);
    })
}

#[track_caller]
fn check_refused(family: Family, field: &str, value: Value) {
    let error = parse_as(family, |c| c[field] = value.clone()).map(|_| ());
    let error = error.expect_err(&format!("{family:?} with {field} = {value}")).to_string();
    assert!(error.contains(field), "{error}");
}

#[track_caller]
fn check_round_trip(config: &DecoderConfig) {
    let again = DecoderConfig::parse(&config.to_json(), Path::new("config.json")).unwrap();
    assert_eq!(again, *config);
}

#[test]
fn a_config_survives_the_round_trip() {
    let config = parse(|_| {}).unwrap();
    assert_eq!((config.num_key_value_heads, config.head_dim), (2, 4));
    check_round_trip(&config);
}

#[test]
fn every_familys_options_survive_the_round_trip() {
    let scaled = |c: &mut Value, scaling: Value| c["rope_scaling"] = scaling;
    check_round_trip(
        &parse(|c| {
            c["attention_bias"] = json!(true);
            c["mlp_bias"] = json!(true);
            scaled(
                c,
                json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}),
            );
        })
        .unwrap(),
    );
    check_round_trip(&parse(|c| scaled(c, json!({"type": "linear", "factor": 2}))).unwrap());
    for size in [json!(7), Value::Null] {
        check_round_trip(&parse_as(Family::Mistral, |c| c["sliding_window"] = size).unwrap());
    }
    for family in [Family::Qwen2, Family::Qwen3] {
        let config = parse_as(family, |c| {
            c["use_sliding_window"] = json!(true);
            c["layer_types"] = json!(["sliding_attention", "full_attention", "sliding_attention"]);
            c["head_dim"] = json!(6);
            scaled(
                c,
                json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}),
            );
        });
        check_round_trip(&config.unwrap());
    }
    check_round_trip(&parse_as(Family::Qwen3, |c| c["attention_bias"] = json!(true)).unwrap());
}

#[test]
fn rope_theta_is_found_wherever_a_version_of_transformers_puts_it() {
    let theta = |edit: &dyn Fn(&mut Value)| parse(edit).unwrap().rope_theta;
    assert_eq!(theta(&|_| {}), 1e4);
    assert_eq!(theta(&|c| c["rope_theta"] = json!(500_000)), 5e5);
    for object in ["rope_parameters", "rope_scaling"] {
        let nested = json!({"rope_theta": 5e5, "rope_type": "default"});
        assert_eq!(theta(&|c| c[object] = nested.clone()), 5e5);
        // Inside counts more than outside.
        assert_eq!(
            theta(&|c| {
                c["rope_theta"] = json!(1e3);
                c[object] = nested.clone();
            }),
            5e5
        );
        let silent = json!({"rope_type": "linear", "factor": 2.0});
        assert_eq!(
            theta(&|c| {
                c["rope_theta"] = json!(1e3);
                c[object] = silent.clone();
            }),
            1e3
        );
    }
}

#[test]
fn of_two_rope_objects_transformers_reads_the_old_one() {
    let config = parse(|c| {
        c["rope_scaling"] = json!({"type": "linear", "factor": 2.0, "rope_theta": 1e3});
        c["rope_parameters"] = json!({"rope_type": "default", "rope_theta": 5e5});
    })
    .unwrap();
    assert_eq!(config.rope_theta, 1e3);
    assert_eq!(config.rope_scaling, RopeScaling::Linear { factor: 2.0 });
    let empty = parse(|c| {
        c["rope_scaling"] = json!({});
        c["rope_parameters"] = json!({"rope_type": "default", "rope_theta": 5e5});
    });
    assert_eq!(empty.unwrap().rope_theta, 5e5);
}

#[test]
fn llama3_scaling_is_the_same_in_both_layouts() {
    let numbers = json!({"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192});
    let scaling = |object: &str, extra: Value| {
        let config = parse(|c| {
            c[object] = numbers.clone();
            c[object].as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            c["rope_theta"] = json!(5e5);
        })
        .unwrap();
        (config.rope_theta, config.rope_scaling)
    };
    let old = scaling("rope_scaling", json!({"rope_type": "llama3"}));
    let new = scaling("rope_parameters", json!({"rope_type": "llama3", "rope_theta": 5e5}));
    assert_eq!(old, new);
    let RopeScaling::Llama3 { factor, original_max_position_embeddings, .. } = old.1 else {
        panic!("{old:?}")
    };
    assert_eq!((factor, original_max_position_embeddings), (8.0, 8192));
}

#[test]
fn yarn_infers_its_magnitude_as_transformers_does() {
    let magnitude = |extra: Value| {
        let config = parse(|c| {
            c["rope_scaling"] = json!({"rope_type": "yarn", "factor": 4.0});
            let rope = c["rope_scaling"].as_object_mut().unwrap();
            rope.extend(extra.as_object().unwrap().clone());
        })
        .unwrap();
        let RopeScaling::Yarn { attention_factor, original_max_position_embeddings, .. } =
            config.rope_scaling
        else {
            panic!("not yarn")
        };
        assert_eq!(original_max_position_embeddings, 2048);
        attention_factor
    };
    let expected = 0.1 * 4f64.ln() + 1.0;
    assert_eq!(magnitude(json!({})), expected);
    assert_eq!(magnitude(json!({"attention_factor": 1.5})), 1.5);
    assert_eq!(magnitude(json!({"attention_factor": null, "mscale": 0})), expected);
    assert_eq!(magnitude(json!({"mscale": 1.0, "mscale_all_dim": 1.0})), 1.0);
}

#[test]
fn what_the_engine_does_not_compute_is_refused_by_field() {
    for (field, value) in [
        ("architectures", json!(["GemmaForCausalLM"])),
        ("architectures", json!([])),
        ("model_type", json!("qwen2")),
        ("hidden_act", json!("gelu")),
        ("quantization_config", json!({"bits": 4})),
        ("auto_map", json!({"AutoModelForCausalLM": "modeling.Own"})),
        ("per_layer_config", json!({"0": {"head_dim": 8}})),
        ("is_causal", json!(false)),
        ("attention_dropout", json!(0.1)),
        ("partial_rotary_factor", json!(0.5)),
        ("rope_scaling", json!({"rope_type": "dynamic", "factor": 2.0})),
        ("rope_scaling", json!({"rope_type": "longrope", "factor": 2.0})),
        ("rope_scaling", json!({"rope_type": "default", "mrope_section": [1, 1]})),
        ("rope_parameters", json!({"full_attention": {"rope_type": "default"}})),
        ("rope_parameters.factor", json!(1)),
        ("sliding_window", json!(64)),
        ("layer_types", json!(["sliding_attention", "full_attention", "full_attention"])),
    ] {
        if let Some((outer, inner)) = field.split_once('.') {
            let error = parse(|c| c[outer] = json!({"rope_type": "linear"})).unwrap_err();
            assert!(error.to_string().contains(&format!("`{outer}.{inner}`")), "{error}");
            continue;
        }
        check_refused(Family::Llama, field, value);
    }
    let partial = parse(|c| c["rope_parameters"] = json!({"partial_rotary_factor": 0.25}));
    assert!(partial.unwrap_err().to_string().contains("`partial_rotary_factor`"));
    check_refused(Family::Mistral, "attention_bias", json!(true));
    check_refused(Family::Mistral, "layer_types", json!(vec!["full_attention"; 3]));
    for family in [Family::Mistral, Family::Qwen2, Family::Qwen3] {
        check_refused(family, "mlp_bias", json!(true));
    }
}

#[test]
fn a_scaling_that_gives_no_frequencies_is_refused() {
    for scaling in [
        json!({"rope_type": "linear", "factor": 0}),
        json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 2.0,
            "high_freq_factor": 2.0, "original_max_position_embeddings": 8192}),
        json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 0}),
        json!({"rope_type": "yarn", "factor": null, "original_max_position_embeddings": 0}),
        json!({"rope_type": "yarn", "factor": 4.0, "rope_theta": 1.0}),
    ] {
        assert!(parse(|c| c["rope_scaling"] = scaling.clone()).is_err(), "{scaling}");
    }
}

#[test]
fn fields_of_another_kind_are_refused_by_name() {
    for (field, value) in [
        ("hidden_size", json!("8")),
        ("max_window_layers", json!(-1)),
        ("use_sliding_window", json!("yes")),
        ("layer_types", json!("full_attention")),
        ("rope_scaling", json!("linear")),
        ("eos_token_id", json!(-2)),
    ] {
        check_refused(Family::Qwen2, field, value);
    }
}

#[test]
fn a_folder_without_architectures_is_known_by_its_model_type() {
    let config = parse(|c| {
        c["architectures"] = Value::Null;
        c["model_type"] = json!("qwen3");
        c["num_key_value_heads"] = json!(2);
    });
    assert_eq!(config.unwrap().family, Family::Qwen3);
    assert!(parse(|c| c["architectures"] = Value::Null).is_err());
}

/// The window of each of the three layers.
#[track_caller]
fn check_windows(family: Family, edit: impl FnOnce(&mut Value), expected: [Option<usize>; 3]) {
    let config = parse_as(family, edit).unwrap();
    assert_eq!([0, 1, 2].map(|layer| config.window(layer)), expected);
}

#[test]
fn mistrals_window_is_in_every_layer_and_4096_where_the_field_is_absent() {
    let off = |c: &mut Value| c["use_sliding_window"] = json!(false);
    check_windows(Family::Mistral, off, [Some(4096); 3]);
    check_windows(Family::Mistral, |c| c["sliding_window"] = json!(5), [Some(5); 3]);
    check_windows(Family::Mistral, |c| c["sliding_window"] = Value::Null, [None; 3]);
    check_refused(Family::Mistral, "sliding_window", json!(0));
}

#[test]
fn qwens_windows_are_off_unless_asked_for_and_begin_above_the_full_layers() {
    for family in [Family::Qwen2, Family::Qwen3] {
        let on = |c: &mut Value| c["use_sliding_window"] = json!(true);
        check_windows(family, |c| c["sliding_window"] = json!(5), [None; 3]);
        check_windows(family, on, [None; 3]);
        let above = |c: &mut Value| {
            on(c);
            c["max_window_layers"] = json!(1);
        };
        check_windows(family, above, [None, Some(4096), Some(4096)]);
        let null = |c: &mut Value| {
            above(c);
            c["sliding_window"] = Value::Null;
        };
        check_windows(family, null, [None; 3]);
        let named = |c: &mut Value| {
            above(c);
            c["sliding_window"] = json!(5);
            c["layer_types"] = json!(["sliding_attention", "full_attention", "full_attention"]);
        };
        check_windows(family, named, [Some(5), None, None]);
        check_refused(family, "layer_types", json!(vec!["sliding_attention"; 3]));
        check_refused(family, "layer_types", json!(vec!["linear_attention"; 3]));
        let short = parse_as(family, |c| {
            above(c);
            c["layer_types"] = json!(["sliding_attention"]);
        });
        assert!(short.unwrap_err().to_string().contains("`layer_types`"));
    }
}

#[test]
fn a_long_mistral_that_we_write_has_no_window_in_transformers_either() {
    let config = parse_as(Family::Mistral, |c| c["sliding_window"] = Value::Null).unwrap();
    let written: Value = serde_json::from_slice(&config.to_json()).unwrap();
    assert_eq!(written.get("sliding_window"), Some(&Value::Null));
}

#[test]
fn where_a_config_is_silent_transformers_defaults_hold() {
    let silent = |family| {
        parse_as(family, |c| {
            let fields = c.as_object_mut().unwrap();
            fields.remove("rms_norm_eps");
            fields.remove("eos_token_id");
        })
        .unwrap()
    };
    let llama = silent(Family::Llama);
    assert_eq!((llama.rms_norm_eps, llama.max_position_embeddings), (1e-6, 2048));
    assert_eq!((llama.bos_token_id, llama.eos_token_ids), (Some(1), vec![2]));
    assert_eq!(silent(Family::Mistral).max_position_embeddings, 131_072);
    let qwen = silent(Family::Qwen3);
    assert_eq!((qwen.head_dim, qwen.max_position_embeddings), (128, 32_768));
    assert_eq!((qwen.bos_token_id, qwen.eos_token_ids), (None, vec![]));
    let null = parse(|c| c["eos_token_id"] = Value::Null).unwrap();
    assert!(null.eos_token_ids.is_empty());
}

#[test]
fn key_value_heads_are_never_guessed_where_transformers_guesses_another_number() {
    for family in [Family::Mistral, Family::Qwen2, Family::Qwen3] {
        let absent = parse(|c| c["architectures"] = json!([family.architecture()]));
        assert!(absent.unwrap_err().to_string().contains("`num_key_value_heads`"));
        assert_eq!(parse_as(family, |_| {}).unwrap().num_key_value_heads, 1);
        let null = parse_as(family, |c| c["num_key_value_heads"] = Value::Null);
        assert_eq!(null.unwrap().num_key_value_heads, 2);
    }
}

#[test]
fn sizes_that_do_not_fit_are_refused_before_memory_is_asked_for() {
    check_refused(Family::Llama, "vocab_size", json!(1u64 << 40));
    check_refused(Family::Llama, "num_key_value_heads", json!(3));
    check_refused(Family::Llama, "num_attention_heads", json!(0));
    check_refused(Family::Llama, "num_hidden_layers", json!(0));
}
