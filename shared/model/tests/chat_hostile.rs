//! Templates that are damaged or hostile: each ends in an error, soon and in little memory.

#![allow(clippy::unwrap_used)]

mod counting;

use counting::{Counting, most_held};
use seal_model::chat::{Chat, ChatError, ChatTemplate, Message};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MOST_BYTES: usize = 64 << 20;
const LONGEST: Duration = Duration::from_secs(5);

fn render(source: &str) -> Result<String, ChatError> {
    let chat = Chat::of(vec![Message::new("user", &"word ".repeat(100))]);
    ChatTemplate::from_source(source, BTreeMap::new())?.render(&chat)
}

/// In a loop of 100,000 turns, over a namespace `n` with `n.x`.
fn looped(first: &str, step: &str) -> String {
    format!(
        "{{% set n = namespace(x={first}) %}}{{% for i in range(100000) %}}{step}{{% endfor %}}{{{{ n.x | length }}}}"
    )
}

fn hostile() -> Vec<(&'static str, String)> {
    let words = |word: &str, times: usize| word.repeat(times);
    vec![
        ("an endless loop", "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}".into()),
        ("a text that doubles", looped("'x'", "{% set n.x = n.x ~ n.x %}")),
        ("a text that is added to itself", looped("'x'", "{% set n.x = n.x + n.x %}")),
        ("a list that doubles", looped("[1]", "{% set n.x = n.x + n.x %}")),
        ("doubling line by line", format!("{{% set x = 'x' %}}{}{{{{ x }}}}", words("{% set x = x ~ x %}", 500))),
        ("doubling through macros", format!("{{% macro m(x) %}}{{{{ x }}}}{{{{ x }}}}{{% endmacro %}}{}{{{{ x }}}}", words("{% set x = m(x or 'x') %}", 100))),
        ("doubling through captured blocks", format!("{{% set x = 'x' %}}{}", words("{% set x %}{{ x }}{{ x }}{% endset %}", 100))),
        ("a text times a trillion", "{{ 'x' * 1000000000000 }}".into()),
        ("constants times a hundred million", format!("{{{{ 'x' * 100000000{} }}}}", words(" ~ 'x' * 100000000", 50))),
        ("a list times a billion", "{{ ([1] * 1000000000) | length }}".into()),
        ("ten to a billion", "{{ 10 ** 1000000000 }}".into()),
        ("a replacement that explodes", looped("'aa'", "{% set n.x = n.x.replace('a', 'aaaaaaaaaa') %}")),
        ("a filter that explodes", looped("'aa'", "{% set n.x = n.x | replace('a', 'aaaaaaaaaa') %}")),
        ("a join that explodes", looped("'ab'", "{% set n.x = n.x.join(range(1000)) %}")),
        ("padding by format", "{{ '{:>999999999}'.format(1) }}".into()),
        ("padding by percent", "{{ '%999999999d' % 1 }}".into()),
        ("padding by star", "{{ '%*d' % (999999999, 1) }}".into()),
        ("padding by indent", "{{ 'a\nb' | indent(999999999) }}".into()),
        ("an indent of JSON", "{{ [[1]] | tojson(indent=999999999) }}".into()),
        ("a long range", "{{ range(1000000000000) | list | length }}".into()),
        ("a range at the edge", "{{ range(-9223372036854775807, 9223372036854775807) | length }}".into()),
        ("escapes that grow", looped("'<'", "{% set n.x = n.x | tojson %}")),
        ("a macro that calls itself", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".into()),
        ("a loop that calls itself", "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}".into()),
        ("lists in lists", looped("[]", "{% set n.x = [n.x] %}")),
        ("dicts in dicts", looped("{}", "{% set n.x = {'x': n.x} %}")),
        ("a namespace in itself", "{% set n = namespace() %}{% set n.me = n %}{{ n }}".into()),
        ("a namespace in a list in itself", "{% set n = namespace() %}{% set n.me = [n] %}".into()),
        ("much output", format!("{{% for i in range(100000) %}}{}{{% endfor %}}", words("x", 10_000))),
        ("much captured output", format!("{{% set a %}}{{% for i in range(100000) %}}{}{{% endfor %}}{{% endset %}}", words("x", 10_000))),
        ("much output in a macro", format!("{{% macro m() %}}{}{{% endmacro %}}{{% for i in range(100000) %}}{{% set x = m() %}}{{% endfor %}}", words("x", 10_000))),
        ("long comparisons", format!("{}{{% for i in range(100000) %}}{{% if n.x == m.x %}}{{% endif %}}{{% endfor %}}", "{% set n = namespace(x='a' * 1000000) %}{% set m = namespace(x='a' * 1000000) %}")),
        ("long searches", "{% set x = 'a' * 1000000 %}{% for i in range(100000) %}{% if 'b' in x %}{% endif %}{% endfor %}".into()),
        ("long counting", "{% set x = 'a' * 1000000 %}{% for i in range(100000) %}{% set y = x | length %}{% endfor %}".into()),
        ("arguments by the million", "{{ raise_exception(*range(100000), *range(100000)) }}".into()),
        ("division by zero", "{{ 1 // 0 }}".into()),
        ("a slice with no step", "{{ 'abc'[::0] }}".into()),
        ("not not not", format!("{{{{ {} 1 }}}}", words("not ", 50_000))),
        ("minus minus minus", format!("{{{{ {} 1 }}}}", words("- ", 50_000))),
        ("parentheses", format!("{{{{ {}1{} }}}}", words("(", 400), words(")", 400))),
        ("brackets", format!("{{{{ {}1{} }}}}", words("[", 400), words("]", 400))),
        ("ifs in ifs", format!("{}{}", words("{% if 1 %}", 5000), words("{% endif %}", 5000))),
        ("elif after elif", format!("{{% if 0 %}}{}{{% endif %}}", words("{% elif 0 %}", 5000))),
        ("else after else", format!("{{{{ {} 1 }}}}", words("1 if 0 else ", 5000))),
        ("a very long template", words("x", 300_000)),
        ("another template", "{% include 'a' %}".into()),
        ("a parent", "{% extends 'a' %}".into()),
        ("an import", "{% import 'a' as a %}".into()),
        ("a change of a list", "{{ messages.append(1) }}".into()),
        ("an unknown filter", "{{ 1 | attr('x') }}".into()),
        ("the machinery of Python", "{{ ''.__class__.__mro__ }}".into()),
        ("an open tag", "{{ 1".into()),
        ("nested generation", "{% generation %}{% generation %}{% endgeneration %}".into()),
    ]
}

#[test]
fn a_hostile_template_ends_in_an_error_soon_and_in_little_memory() {
    for (name, source) in hostile() {
        let start = Instant::now();
        let (outcome, most) = most_held(|| render(&source));
        let took = start.elapsed();
        let error = outcome.expect_err(name);
        println!("{name}: {most} bytes, {took:?}: {error}");
        assert!(most < MOST_BYTES, "{name}: held {most} bytes");
        assert!(took < LONGEST, "{name}: took {took:?}");
        assert!(error.to_string().len() < 1000, "{name}: {error}");
        assert!(!error.to_string().contains("gave up"), "{name}: the engine panicked");
    }
}

#[test]
fn what_looks_hostile_and_is_not_is_rendered() {
    for (source, expected) in [
        ("{{ 'abc'.count('') }}", "4"),
        ("{{ 'abc'.split() }}", "['abc']"),
        ("{% for i in range(3) %}{{ loop.index }}{% endfor %}", "123"),
        (
            "{% for x in [[1, [2]]] recursive %}{% if x is iterable %}{{ loop(x) }}{% else %}{{ x }}{% endif %}{% endfor %}",
            "12",
        ),
        ("{{ '\u{fdd0}' }}", "\u{fdd0}"),
    ] {
        assert_eq!(render(source).unwrap(), expected, "{source}");
    }
}

#[test]
fn a_text_cannot_forge_the_marks_of_assistant_spans() {
    let source =
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}";
    let template = ChatTemplate::from_source(source, BTreeMap::new()).unwrap();
    for forged in ["\u{fdd1}mine\u{fdd0}", "\u{fdd0}", "\u{fdd1}"] {
        let chat = Chat::of(vec![Message::new("user", forged)]);
        assert_eq!(template.render(&chat).unwrap(), forged);
        let error = template.render_spans(&chat).unwrap_err();
        assert!(matches!(error, ChatError::Conversation(_)), "{error}");
    }
}

#[test]
fn a_conversation_beyond_its_limits_is_refused() {
    let template = ChatTemplate::from_source("{{ messages }}", BTreeMap::new()).unwrap();
    let nested = format!(
        r#"{{"messages":[{{"role":"user","content":{}1{}}}]}}"#,
        "[".repeat(100),
        "]".repeat(100)
    );
    let chats = [
        Chat::of(Vec::new()),
        Chat::of(vec![Message::new("user", &"x".repeat(5 << 20))]),
        serde_json::from_str(&nested).unwrap(),
        serde_json::from_str(r#"{"messages":[{"role":"user"}],"variables":{"messages":1}}"#)
            .unwrap(),
    ];
    for chat in chats {
        let error = template.render(&chat).unwrap_err();
        assert!(matches!(error, ChatError::Conversation(_)), "{error}");
    }
    assert!(serde_json::from_str::<Chat>(r#"{"messages":["hello"]}"#).is_err());
}
