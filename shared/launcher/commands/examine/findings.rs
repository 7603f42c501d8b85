//! What a model folder or a GGUF file holds, in a line each.

use std::path::Path;

use seal_model::device::Opened;
use seal_model::device::hardware;
use seal_model::fit::human;
use seal_model::gguf::GgufFile;
use seal_model::{DecoderConfig, ModelError, ModelFolder, RopeScaling, Tokenizer};
use serde_json::Value;

use crate::commands::doctor::{Finding, Level};

/// Settings of `generation_config.json` that are worth a look.
const GENERATION: [&str; 7] =
    ["do_sample", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "max_new_tokens"];

/// Everything about the folder.
pub(super) fn of(folder: &ModelFolder) -> Vec<Finding> {
    let (config, path) = (folder.config(), folder.path());
    let mut findings = vec![ok("family", family(config)), weights(folder)];
    findings.extend(unused(folder));
    findings.push(ok("context", context(config)));
    let needed = [
        ("begin token", "bos_token_id", "the auditor", Tokenizer::bos as Token),
        ("end token", "eos_token_id", "the student", Tokenizer::eos),
    ];
    let read = Tokenizer::load(path);
    let mend = "; fetch `tokenizer.json` with the model";
    findings.extend(tokenizer(config, read.as_ref(), mend, &needed));
    findings.extend([template(path), generation(path)]);
    findings
}

/// Everything about a file.
pub(super) fn of_file(file: &GgufFile) -> Vec<Finding> {
    let config = file.config();
    let mut findings = vec![ok("family", family(config)), blocks(file)];
    findings.push(ok("context", context(config)));
    let texts = file.texts();
    let needed = [("end token", "eos_token_id", "the teacher", Tokenizer::eos as Token)];
    let read = texts.as_ref().map(|texts| texts.tokenizer());
    findings.extend(tokenizer(config, read, "", &needed));
    findings.extend(texts.ok().map(|texts| {
        let text = match texts.has_template() {
            true => "in the file: `layout = \"chat\"` asks by it",
            false => "none: a base model, for plain prompts",
        };
        ok("template", text.into())
    }));
    findings
}

/// How the file stores its weights, and that they are not computed with as they are stored.
fn blocks(file: &GgufFile) -> Finding {
    let stored = file.stored_bytes();
    let all = human(stored.values().sum());
    let by_kind: Vec<String> =
        stored.iter().map(|(kind, bytes)| format!("{kind} {}", human(*bytes))).collect();
    let text = format!(
        "1 GGUF file, {all}: {}; taken out of their blocks when they are read, f32 on a CPU and bf16 on \
         a GPU",
        by_kind.join(", ")
    );
    ok("weights", text)
}

/// A special token of a tokenizer.
type Token = fn(&Tokenizer) -> Option<u32>;

/// What computes.
pub(super) fn device(opened: &Opened, available: Option<u64>) -> Finding {
    let on_cpu = opened.device.is_cpu();
    let kind = if on_cpu { "CPU, f32" } else { "GPU, bf16" };
    let mut text = format!("{kind}, {}", hardware(&opened.device));
    if on_cpu {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        text = format!("{text}, {cores} cores");
    }
    match available {
        Some(bytes) => ok("device", format!("{text}, {} free", human(bytes))),
        None => warn("device", format!("{text}; what is free is not known, so nothing is refused")),
    }
}

fn family(config: &DecoderConfig) -> String {
    let parameters: usize = seal_model::decoder::parameters(config)
        .iter()
        .map(|(_, shape)| shape.iter().product::<usize>())
        .sum();
    let tied = if config.tie_word_embeddings { ", tied embeddings" } else { "" };
    format!(
        "{:?}, {} parameters: {} layers of width {}, {} heads over {} of keys and values, a vocabulary of {}{tied}",
        config.family,
        rounded(parameters),
        config.num_hidden_layers,
        config.hidden_size,
        config.num_attention_heads,
        config.num_key_value_heads,
        config.vocab_size,
    )
}

/// `494.0 M`.
#[allow(clippy::cast_precision_loss)]
fn rounded(count: usize) -> String {
    match count as f64 {
        few if few < 1e6 => format!("{:.1} k", few / 1e3),
        some if some < 1e9 => format!("{:.1} M", some / 1e6),
        many => format!("{:.2} B", many / 1e9),
    }
}

fn weights(folder: &ModelFolder) -> Finding {
    let files = match folder.shards() {
        1 => "1 file".to_owned(),
        shards => format!("{shards} shards"),
    };
    let stored = folder.stored_bytes();
    let stored: Vec<String> =
        stored.iter().map(|(dtype, bytes)| format!("{dtype} {}", human(*bytes))).collect();
    ok("weights", format!("{files}, {}", stored.join(", ")))
}

fn unused(folder: &ModelFolder) -> Option<Finding> {
    let unused = folder.unused_tensors();
    let first = unused.first()?;
    let text = format!("{} tensors that the decoder does not use, such as `{first}`", unused.len());
    Some(warn("unused", text))
}

fn context(config: &DecoderConfig) -> String {
    let stretched = match &config.rope_scaling {
        RopeScaling::None => String::new(),
        RopeScaling::Linear { factor } => format!(", RoPE stretched linearly by {factor}"),
        RopeScaling::Llama3 { factor, .. } => format!(", RoPE stretched by llama3, {factor}"),
        RopeScaling::Yarn { factor, .. } => format!(", RoPE stretched by yarn, {factor}"),
    };
    let window = config.sliding_window.as_ref().map_or_else(String::new, |window| {
        let layers = window.layers.iter().filter(|&&has| has).count();
        format!(", a window of {} in {layers} of {} layers", window.size, window.layers.len())
    });
    format!("{} tokens{stretched}{window}", config.max_position_embeddings)
}

/// The tokenizer and the ids it needs from its neighbours.
fn tokenizer(
    config: &DecoderConfig,
    read: Result<&Tokenizer, &ModelError>,
    mend: &str,
    needed: &[(&'static str, &str, &str, Token)],
) -> Vec<Finding> {
    let tokenizer = match read {
        Ok(tokenizer) => tokenizer,
        Err(error) => return vec![fail("tokenizer", format!("{}{mend}", with_cause(error)))],
    };
    let (tokens, embeddings) = (tokenizer.vocab_size(), config.vocab_size);
    let named = |id: Option<u32>| {
        id.map_or("none".to_owned(), |id| format!("`{}` ({id})", tokenizer.decode(&[id])))
    };
    let (bos, eos) = (tokenizer.bos(), tokenizer.eos());
    let text = format!("{tokens} tokens, begins with {}, ends with {}", named(bos), named(eos));
    let mut findings = Vec::new();
    if tokens > embeddings {
        let text =
            format!("{text}; the model embeds only {embeddings}: take the tokenizer it came with");
        findings.push(fail("tokenizer", text));
    } else {
        findings.push(ok("tokenizer", text));
    }
    for &(what, field, who, token) in needed {
        if token(tokenizer).is_none() {
            let text = format!("{who} needs one: set `{field}` in generation_config.json");
            findings.push(fail(what, text));
        }
    }
    findings
}

/// An error and what the system said.
fn with_cause(error: &ModelError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn template(folder: &Path) -> Finding {
    if folder.join("chat_template.jinja").is_file() {
        return ok("template", "chat_template.jinja".into());
    }
    let field = read(&folder.join("tokenizer_config.json"))
        .and_then(|config| config.get("chat_template").cloned());
    match field.filter(|template| !template.is_null()) {
        Some(Value::Array(several)) => {
            ok("template", format!("{} in tokenizer_config.json", several.len()))
        }
        Some(_) => ok("template", "in tokenizer_config.json".into()),
        None => ok("template", "none: a base model, for plain prompts".into()),
    }
}

fn generation(folder: &Path) -> Finding {
    let Some(config) = read(&folder.join("generation_config.json")) else {
        return ok(
            "generation",
            "no generation_config.json: greedy unless a config says more".into(),
        );
    };
    let set =
        |field: &&str| Some(format!("{field} {}", config.get(field).filter(|v| !v.is_null())?));
    let set: Vec<String> = GENERATION.iter().filter_map(set).collect();
    match set.is_empty() {
        true => ok("generation", "generation_config.json names no sampling".into()),
        false => ok("generation", set.join(", ")),
    }
}

/// A small JSON file, if it is there and reads.
fn read(path: &Path) -> Option<Value> {
    let text = std::fs::read(path).ok().filter(|text| text.len() < 8 << 20)?;
    serde_json::from_slice(&text).ok()
}

fn ok(what: &'static str, text: String) -> Finding {
    Finding { what, level: Level::Ok, text }
}

fn warn(what: &'static str, text: String) -> Finding {
    Finding { what, level: Level::Warn, text }
}

fn fail(what: &'static str, text: String) -> Finding {
    Finding { what, level: Level::Fail, text }
}
