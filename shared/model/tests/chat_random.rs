//! Random templates and damaged ones over random conversations: a text or an error, never a panic.

#![allow(clippy::unwrap_used)]

mod chat_support;

use chat_support::{golden, golden_folder, specials};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use seal_model::chat::{Chat, ChatError, ChatTemplate};

const VALUES: [&str; 24] = [
    "messages",
    "message",
    "tools",
    "bos_token",
    "x",
    "ns",
    "ns.a",
    "loop",
    "loop.index0",
    "1",
    "0",
    "2.5",
    "'a'",
    "\"ä b\"",
    "''",
    "none",
    "true",
    "['a', 1]",
    "{'k': [none]}",
    "range(3)",
    "missing",
    "namespace(a=1)",
    "strftime_now('%Y')",
    "message['role']",
];
const OPERATORS: [&str; 17] = [
    "+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", ">=", "in", "not in", "and", "or",
    "if",
];
const SUFFIXES: [&str; 34] = [
    " | trim",
    " | tojson",
    " | tojson(indent=2)",
    " | length",
    " | join(',')",
    " | upper",
    " | first",
    " | last",
    " | list",
    " | map(attribute='role')",
    " | selectattr('role', 'eq', 'user')",
    " | default('d')",
    " | sort",
    " | indent(2)",
    " | replace('a', 'b')",
    " | items",
    " | dictsort",
    ".split('a')",
    ".strip()",
    ".get('role')",
    ".items()",
    ".format(1)",
    ".find('a')",
    ".content",
    ".role",
    "['content']",
    "[0]",
    "[-1]",
    "[1:]",
    "[::-1]",
    " is string",
    " is defined",
    " | string",
    " is iterable",
];
const BLOCKS: [(&str, &str); 11] = [
    ("{% for message in messages %}", "{% endfor %}"),
    ("{%- for x in EXPR recursive -%}", "{% else %}{% endfor %}"),
    ("{% if EXPR %}", "{% elif EXPR %}{% else %}{% endif %}"),
    ("{% set x = EXPR %}", ""),
    ("{% set ns = namespace(a=EXPR) %}{% set ns.a = EXPR %}", "{{ ns.a }}"),
    ("{% set x %}", "{% endset %}"),
    ("{% macro m(x, y=EXPR) %}", "{% endmacro %}{{ m(EXPR) }}"),
    ("{% macro w() %}{{ caller() }}{% endmacro %}{% call w() %}", "{% endcall %}"),
    ("{% generation %}", "{% endgeneration %}"),
    ("{% filter upper %}", "{% endfilter %}"),
    ("{% with x = EXPR %}", "{% endwith %}"),
];

fn expression(rng: &mut ChaCha8Rng) -> String {
    let mut expression = (*VALUES.choose(rng).unwrap()).to_owned();
    for _ in 0..rng.random_range(0..4) {
        match rng.random_range(0..3) {
            0 => {
                let (operator, value) =
                    (OPERATORS.choose(rng).unwrap(), VALUES.choose(rng).unwrap());
                expression = format!("({expression} {operator} {value})");
            }
            _ => expression.push_str(SUFFIXES.choose(rng).unwrap()),
        }
    }
    expression
}

fn filled(text: &str, rng: &mut ChaCha8Rng) -> String {
    let mut parts = text.split("EXPR");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| format!("{text}{}{part}", expression(rng)))
}

fn random_template(rng: &mut ChaCha8Rng, depth: usize) -> String {
    let mut template = String::new();
    for _ in 0..rng.random_range(1..3) {
        if depth == 0 || rng.random_bool(0.5) {
            template.push_str(&filled("text {{ EXPR }}\n", rng));
        } else {
            let (open, close) = BLOCKS.choose(rng).unwrap();
            template.push_str(&filled(open, rng));
            template.push_str(&random_template(rng, depth - 1));
            template.push_str(&filled(close, rng));
        }
    }
    template
}

/// One of our templates with some of its characters gone, doubled or moved.
fn damaged(template: &str, rng: &mut ChaCha8Rng) -> String {
    let mut characters: Vec<char> = template.chars().collect();
    for _ in 0..rng.random_range(1..6) {
        let at = rng.random_range(0..characters.len());
        let end = (at + rng.random_range(1..30)).min(characters.len());
        match rng.random_range(0..3) {
            0 => drop(characters.drain(at..end)),
            1 => {
                let copy = characters[at..end].to_vec();
                let to = rng.random_range(0..characters.len());
                characters.splice(to..to, copy);
            }
            _ => {
                characters[at] =
                    *['{', '}', '%', '-', '\'', '(', ')', 'x', '0'].choose(rng).unwrap()
            }
        }
        if characters.is_empty() {
            characters.push(' ');
        }
    }
    characters.into_iter().collect()
}

/// Whether it rendered.
#[track_caller]
fn survives(source: &str, chat: &Chat) -> bool {
    let rendered = ChatTemplate::from_source(source, specials())
        .and_then(|template| template.render(chat).and_then(|_| template.render_spans(chat)));
    match rendered {
        Ok(rendered) => {
            assert!(
                rendered.assistant.iter().all(|span| rendered.text.get(span.clone()).is_some())
            );
            true
        }
        Err(ChatError::Template { problem, .. }) => {
            assert!(!problem.contains("gave up"), "the engine panicked on:\n{source}");
            false
        }
        Err(_) => false,
    }
}

#[test]
fn random_templates_never_panic() {
    let chats: Vec<Chat> = golden().conversations.into_values().collect();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut rendered = 0;
    for _ in 0..6000 {
        let template = random_template(&mut rng, 3);
        rendered += usize::from(survives(&template, chats.choose(&mut rng).unwrap()));
    }
    println!("{rendered} of 6000 rendered");
    assert!(rendered > 300, "only {rendered} of 6000 rendered: the templates are too random");
}

#[test]
fn damaged_templates_never_panic() {
    let chats: Vec<Chat> = golden().conversations.into_values().collect();
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        (path.extension()? == "jinja").then(|| std::fs::read_to_string(path).unwrap())
    };
    let mut templates: Vec<String> =
        std::fs::read_dir(golden_folder()).unwrap().filter_map(read).collect();
    templates.sort();
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut rendered = 0;
    for _ in 0..1500 {
        let template = damaged(templates.choose(&mut rng).unwrap(), &mut rng);
        rendered += usize::from(survives(&template, chats.choose(&mut rng).unwrap()));
    }
    assert!(rendered > 100, "only {rendered} of 1500 rendered: the templates are too damaged");
}
