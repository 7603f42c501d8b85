//! Chat templates render as in transformers: texts, refusals, masks, folders.

#![allow(clippy::unwrap_used)]

mod chat_support;

use chat_support::{Case, Golden, check, golden, golden_folder, template};
use seal_model::Tokenizer;
use seal_model::chat::{Chat, ChatError, ChatTemplate, Message};
use std::collections::BTreeMap;
use std::path::Path;

#[test]
fn every_template_renders_every_conversation_as_in_transformers() {
    let golden = golden();
    let mut compared = (0, 0);
    for (name, cases) in &golden.texts {
        let template = template(&golden_folder().join(format!("{name}.jinja")));
        for (conversation, expected) in cases {
            let what = format!("{name}, {conversation}");
            check(&what, &template, &golden.conversations[conversation], expected).unwrap();
            match expected {
                Case::Text { .. } => compared.0 += 1,
                Case::Refused { .. } => compared.1 += 1,
            }
        }
    }
    assert!(compared.0 > 250 && compared.1 > 25, "only {compared:?}");
}

fn tokenizer() -> Tokenizer {
    Tokenizer::load(&golden_folder()).unwrap()
}

#[test]
fn the_assistants_tokens_are_those_of_transformers() {
    let (golden, tokenizer) = (golden(), tokenizer());
    for (name, cases) in &golden.masks {
        let template = template(&golden_folder().join(format!("{name}.jinja")));
        for (conversation, expected) in cases {
            let chat = &golden.conversations[conversation];
            let (ids, mask) = template.token_mask(&tokenizer, chat).unwrap();
            let mask: Vec<u8> = mask.into_iter().map(u8::from).collect();
            assert_eq!((&ids, &mask), (&expected.ids, &expected.mask), "{name}, {conversation}");
        }
    }
    let marked = golden.masks.values().flat_map(BTreeMap::values);
    assert!(marked.filter(|case| case.mask.contains(&1)).count() > 20);
}

#[test]
fn a_folders_templates_and_special_tokens_are_found_where_transformers_finds_them() {
    let Golden { conversations, folders, .. } = golden();
    let question = Chat::of(conversations["a question"].messages.clone());
    let tools = Chat { tools: conversations["tools offered"].tools.clone(), ..question.clone() };
    for (name, case) in folders {
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in &case.files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        match ChatTemplate::load(dir.path()) {
            Ok(template) => {
                check(&name, &template, &question, &case.plain).unwrap();
                check(&name, &template, &tools, &case.tools).unwrap();
            }
            Err(error) => {
                assert!(matches!(error, ChatError::Missing { .. }), "{name}: {error}");
                assert!(matches!(case.plain, Case::Refused { .. }), "{name}: {error}");
            }
        }
    }
}

/// Templates of other families that ask for what we do not do, and what.
const EXCEPTIONS: [(&str, &str); 2] = [
    ("meetkai-functionary-medium-v3.1", "`safe` makes what is added to it HTML"),
    ("llama-cpp-deepseek-r1", "what `map` yields has no JSON in Python"),
];

/// Templates that others wrote, from outside the repository.
#[test]
fn the_families_own_templates_render_as_in_transformers() {
    let (Ok(folder), Ok(python)) =
        (std::env::var("SEAL_CHAT_TEMPLATES"), std::env::var("SEAL_CHAT_PYTHON"))
    else {
        println!("skipped: SEAL_CHAT_TEMPLATES and SEAL_CHAT_PYTHON name no folder and no python");
        return;
    };
    let out = tempfile::NamedTempFile::new().unwrap();
    let script =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/peers/make_golden_chat.py");
    let mut command = std::process::Command::new(python);
    command.arg(script).args(["--templates", &folder, "--out"]).arg(out.path());
    assert!(command.status().unwrap().success());
    let golden: Golden = serde_json::from_slice(&std::fs::read(out.path()).unwrap()).unwrap();
    let mut differences = Vec::new();
    let mut compared = 0;
    for (name, cases) in &golden.texts {
        if let Some((_, why)) = EXCEPTIONS.iter().find(|(exception, _)| exception == name) {
            println!("left out: {name}: {why}");
            continue;
        }
        let path = Path::new(&folder).join(format!("{name}.jinja"));
        let template = match ChatTemplate::from_source(
            &std::fs::read_to_string(path).unwrap(),
            chat_support::specials(),
        ) {
            Ok(template) => template,
            Err(error) => {
                differences.push(format!("{name}: {error}"));
                continue;
            }
        };
        for (conversation, expected) in cases {
            let what = format!("{name}, {conversation}");
            let chat = &golden.conversations[conversation];
            differences.extend(check(&what, &template, chat, expected).err());
            compared += 1;
        }
    }
    println!("{} templates, {compared} texts", golden.texts.len());
    assert!(differences.is_empty(), "{}:\n{}", differences.len(), differences.join("\n"));
}

fn talk() -> Chat {
    let turn = Message::new;
    Chat::of(vec![
        turn("user", "Who?"),
        turn("assistant", "Ada."),
        turn("user", "When?"),
        turn("assistant", "In 1912."),
    ])
}

/// The learned stretches of a conversation, as texts.
fn learned_texts(name: &str, chat: &Chat, ends: &[&str]) -> Result<Vec<Vec<String>>, ChatError> {
    let tokenizer = tokenizer();
    let ends: Vec<u32> = ends.iter().map(|end| tokenizer.token_id(end).unwrap()).collect();
    let template = template(&golden_folder().join(format!("{name}.jinja")));
    let sequences = template.learned(&tokenizer, &ends, chat)?;
    Ok(sequences
        .iter()
        .map(|sequence| {
            let tokens = sequence.tokens.iter().zip(&sequence.learned).collect::<Vec<_>>();
            let runs = tokens.chunk_by(|a, b| a.1 == b.1).filter(|run| *run[0].1);
            runs.map(|run| tokenizer.decode(&run.iter().map(|(t, _)| **t).collect::<Vec<_>>()))
                .collect()
        })
        .collect())
}

#[test]
fn learned_is_what_the_assistant_said_and_that_it_stopped() {
    let both = |end: &str| vec![vec![format!("Ada.{end}"), format!("In 1912.{end}")]];
    let check = |name: &str, end: &str, expected: Vec<Vec<String>>| {
        assert_eq!(learned_texts(name, &talk(), &[end]).unwrap(), expected, "{name}");
    };
    check("llama_marked", "<|turn|>", both("<|turn|>"));
    check("llama", "<|turn|>", both("<|turn|>"));
    check("qwen2", "<|/turn|>", both("<|/turn|>"));
    let mistral = vec![vec![" Ada.</s>".to_owned(), " In 1912.</s>".to_owned()]];
    check("mistral", "</s>", mistral);
    // The line end behind the turn's end stands in the block and is not learned.
    let marked = vec![vec!["\nAda.<|/turn|>".to_owned(), "\nIn 1912.<|/turn|>".to_owned()]];
    check("qwen2_marked", "<|/turn|>", marked);
}

#[test]
fn a_template_that_rewrites_earlier_turns_yields_each_turn_as_the_model_would_have_seen_it() {
    let answer = |text: &str| vec![format!("<think>\n\n</think>\n\n{text}<|/turn|>")];
    let found = learned_texts("qwen3", &talk(), &["<|/turn|>"]).unwrap();
    assert_eq!(found, [answer("Ada."), answer("In 1912.")]);
}

#[test]
fn a_turn_that_would_not_learn_to_stop_is_refused_with_its_consequence() {
    for name in ["llama_marked", "llama"] {
        let error = learned_texts(name, &talk(), &["</s>"]).unwrap_err();
        assert!(matches!(error, ChatError::NeverStops { turn: 1 }), "{name}: {error}");
        assert!(error.to_string().contains("never learn to stop"), "{error}");
    }
    let asked = Chat::of(vec![Message::new("user", "Who?")]);
    let error = learned_texts("llama", &asked, &["<|turn|>"]).unwrap_err();
    assert!(error.to_string().contains("no assistant turn"), "{error}");
}

#[test]
fn the_same_conversation_renders_alike_on_every_day_unless_a_date_is_named() {
    let source = "{{ strftime_now('%d %b %Y') }}";
    let template = ChatTemplate::from_source(source, BTreeMap::new()).unwrap();
    let chat = Chat::of(vec![Message::new("user", "What day is it?")]);
    assert_eq!(template.render(&chat).unwrap(), "26 Jul 2024");
}
