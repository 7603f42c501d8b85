//! Adapters from elsewhere: what is sound loads unchanged, every malformed one is refused by its
//! own error before a number is used.

#![allow(clippy::unwrap_used)]

mod small;

use seal_model::folder::{HeaderError, Refusal};
use seal_model::{Adapter, AdapterError, BaseModel, LoraSpec};
use serde_json::{Value, json};
use small::{adapter, config};

const DIGEST: [u8; 32] = [7; 32];
const BASE: BaseModel<'static> =
    BaseModel { name: "base", revision: Some("main"), digest: &DIGEST };

fn bytes() -> (Vec<u8>, Vec<u8>) {
    adapter().to_peft_bytes(BASE).unwrap()
}

fn load(config_json: &[u8], weights: &[u8]) -> AdapterError {
    Adapter::from_peft_bytes(config_json, weights, &config(), Some(&DIGEST)).unwrap_err()
}

/// The refusal of an adapter whose config was edited.
fn with_config(edit: impl FnOnce(&mut Value)) -> AdapterError {
    let (adapter_config, weights) = bytes();
    let mut value: Value = serde_json::from_slice(&adapter_config).unwrap();
    edit(&mut value);
    load(value.to_string().as_bytes(), &weights)
}

/// The refusal of an adapter whose safetensors header and data were edited.
fn with_weights(edit: impl FnOnce(&mut String, &mut Vec<u8>)) -> AdapterError {
    let (adapter_config, weights) = bytes();
    let length = u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
    let mut header =
        String::from_utf8(weights[8..8 + length].to_vec()).unwrap().trim_end().to_owned();
    let mut data = weights[8 + length..].to_vec();
    edit(&mut header, &mut data);
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
    load(&adapter_config, &file)
}

const DOWN_A: &str = "base_model.model.model.layers.0.mlp.down_proj.lora_A.weight";

#[test]
fn an_adapter_survives_the_folder_with_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    adapter().save_peft(dir.path(), BASE).unwrap();
    for loaded in [
        Adapter::load_peft(dir.path(), &config()).unwrap(),
        Adapter::load_peft_over(dir.path(), &config(), &DIGEST).unwrap(),
    ] {
        assert_eq!(loaded.flat().unwrap(), adapter().flat().unwrap());
        assert_eq!(loaded.to_peft_bytes(BASE).unwrap(), bytes());
    }
}

#[test]
fn dropout_and_a_rank_stabilised_scale_survive_the_folder() {
    let spec = LoraSpec { dropout: 0.1, use_rslora: true, ..adapter().spec().clone() };
    let stabilised = Adapter::from_flat(&config(), &spec, &adapter().flat().unwrap()).unwrap();
    let (adapter_config, weights) = stabilised.to_peft_bytes(BASE).unwrap();
    let loaded = Adapter::from_peft_bytes(&adapter_config, &weights, &config(), None).unwrap();
    assert_eq!(loaded.spec(), &spec);
    assert_ne!(loaded.scale(), adapter().scale());
    assert_eq!(loaded.to_peft_bytes(BASE).unwrap(), (adapter_config, weights));
}

#[test]
fn a_config_that_is_not_plain_lora_is_refused_by_field() {
    for (field, value) in [
        ("peft_type", json!("IA3")),
        ("bias", json!("all")),
        ("modules_to_save", json!(["lm_head"])),
        ("use_dora", json!(true)),
        ("rank_pattern", json!({"q_proj": 4})),
        ("target_modules", json!(["q_proj", "lm_head"])),
        ("layers_to_transform", json!([0])),
        ("fan_in_fan_out", json!(true)),
        ("something_new", json!(1)),
    ] {
        let error = with_config(|c| c[field] = value);
        assert!(
            matches!(error, AdapterError::Unsupported { .. }) && error.to_string().contains(field),
            "{error}"
        );
    }
}

#[test]
fn a_start_that_may_change_the_base_is_refused_by_its_own_error() {
    for init in ["pissa", "pissa_niter_16", "olora", "corda", "loftq", "eva", "mica", "Gaussian"] {
        let error = with_config(|c| c["init_lora_weights"] = json!(init));
        assert!(matches!(&error, AdapterError::Init(value) if value.contains(init)), "{error}");
        assert!(error.to_string().contains("`init_lora_weights`"), "{error}");
    }
    assert!(matches!(with_config(|c| c["init_lora_weights"] = json!(1)), AdapterError::Init(_)));
}

#[test]
fn a_start_that_leaves_the_base_alone_is_accepted() {
    let (adapter_config, weights) = bytes();
    for init in [json!(null), json!(true), json!(false), json!("gaussian")] {
        let mut value: Value = serde_json::from_slice(&adapter_config).unwrap();
        value["init_lora_weights"] = init;
        let loaded =
            Adapter::from_peft_bytes(value.to_string().as_bytes(), &weights, &config(), None)
                .unwrap();
        assert_eq!(loaded.flat().unwrap(), adapter().flat().unwrap());
    }
}

#[test]
fn an_adapter_read_from_a_file_has_its_targets_in_the_order_of_the_flat_vector() {
    let spec = LoraSpec::all(2);
    let fresh = Adapter::init(&config(), &spec, 1).unwrap();
    let (adapter_config, weights) = fresh.to_peft_bytes(BASE).unwrap();
    let loaded = Adapter::from_peft_bytes(&adapter_config, &weights, &config(), None).unwrap();
    assert_eq!(loaded.spec(), &spec);
}

#[test]
fn a_config_out_of_range_or_out_of_bounds_is_refused() {
    assert!(matches!(with_config(|c| c["r"] = json!(0)), AdapterError::Config(_)));
    assert!(matches!(with_config(|c| c["lora_alpha"] = json!(-1.0)), AdapterError::Config(_)));
    assert!(matches!(load(b"{", &bytes().1), AdapterError::Config(_)));
    assert!(matches!(load(&vec![b' '; 70_000], &bytes().1), AdapterError::TooLarge { .. }));
}

#[test]
fn a_rank_that_the_tensors_do_not_have_is_a_wrong_shape() {
    assert!(matches!(with_config(|c| c["r"] = json!(4)), AdapterError::Shape { .. }));
}

#[test]
fn tensors_too_few_too_many_or_twice_are_each_refused() {
    let missing = with_config(|c| c["target_modules"] = json!(["q_proj", "down_proj", "v_proj"]));
    assert!(
        matches!(&missing, AdapterError::MissingTensor(name) if name.contains("v_proj")),
        "{missing}"
    );
    let unexpected = with_config(|c| c["target_modules"] = json!(["q_proj"]));
    assert!(
        matches!(&unexpected, AdapterError::UnexpectedTensor(name) if name.contains("down_proj")),
        "{unexpected}"
    );
    let twice = with_weights(|header, _| {
        let entry = header.find(&format!("\"{DOWN_A}\"")).unwrap();
        let end = entry + header[entry..].find('}').unwrap() + 1;
        let copy = header[entry..end].to_owned();
        header.insert_str(1, &format!("{copy},"));
    });
    assert!(
        matches!(header_error(&twice), Some(HeaderError::Duplicate(name)) if name == DOWN_A),
        "{twice}"
    );
    let many = with_weights(|header, _| {
        let empty = "{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}";
        let entries: Vec<String> = (0..5000).map(|i| format!("\"t{i}\":{empty}")).collect();
        *header = format!("{{{}}}", entries.join(","));
    });
    assert!(matches!(header_error(&many), Some(HeaderError::TooMany(4096))), "{many}");
}

/// What is wrong with the header, if that is why.
fn header_error(error: &AdapterError) -> Option<&HeaderError> {
    match error {
        AdapterError::Refused { reason: Refusal::Header(error), .. } => Some(error),
        _ => None,
    }
}

#[test]
fn headers_that_lie_about_their_length_are_refused() {
    let (adapter_config, weights) = bytes();
    let refused = |weights: &[u8]| {
        let error = load(&adapter_config, weights);
        header_error(&error).unwrap_or_else(|| panic!("{error}")).clone()
    };
    assert_eq!(refused(&weights[..4]), HeaderError::TooShort(4));
    assert!(matches!(refused(&weights[..40]), HeaderError::Truncated { found: 40, .. }));
    let mut long = weights.clone();
    long[..8].copy_from_slice(&(1u64 << 40).to_le_bytes());
    assert!(matches!(refused(&long), HeaderError::TooLong { .. }));
    let short = &weights[..weights.len() - 4];
    assert!(matches!(refused(short), HeaderError::Truncated { .. }));
    assert_eq!(refused(&[&weights[..], &[0]].concat()), HeaderError::Trailing(1));
    let list = with_weights(|header, _| *header = "{}[1]".into());
    assert!(matches!(header_error(&list), Some(HeaderError::Json(_))), "{list}");
}

#[test]
fn an_adapter_of_another_base_or_of_none_is_refused_where_the_base_is_known() {
    let (adapter_config, weights) = bytes();
    let over = |base: Option<&[u8; 32]>, weights: &[u8]| {
        Adapter::from_peft_bytes(&adapter_config, weights, &config(), base)
    };
    let error = over(Some(&[8; 32]), &weights).unwrap_err();
    assert!(matches!(&error, AdapterError::WrongBase { .. }), "{error}");
    assert!(error.to_string().contains(&"07".repeat(32)), "{error}");
    let anonymous = with_weights(|header, _| {
        *header = header.replace("seal_base_model_sha256", "another_note");
    });
    assert!(matches!(anonymous, AdapterError::NoBase(_)), "{anonymous}");
    assert!(over(None, &weights).is_ok());
}

#[test]
fn a_dtype_that_is_no_float_is_refused() {
    let error = with_weights(|header, _| *header = header.replace("\"F32\"", "\"I32\""));
    assert!(matches!(error, AdapterError::Dtype { .. }), "{error}");
}

#[test]
fn numbers_that_are_not_finite_or_absurd_are_refused() {
    let plant = |x: f32| with_weights(move |_, data| data[..4].copy_from_slice(&x.to_le_bytes()));
    assert!(matches!(plant(f32::NAN), AdapterError::NotFinite(_)));
    assert!(matches!(plant(f32::INFINITY), AdapterError::NotFinite(_)));
    assert!(matches!(plant(1e30), AdapterError::Norm { .. }));
}

#[test]
fn a_missing_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = Adapter::load_peft(dir.path(), &config()).unwrap_err();
    assert!(error.to_string().contains("adapter_config.json"), "{error}");
}
