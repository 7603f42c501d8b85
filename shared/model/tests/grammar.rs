//! Texts under a grammar: whatever a random model would like to write, they follow it.

#![allow(clippy::unwrap_used)]

mod tiny;

use seal_model::grammar::{CompiledGrammar, Grammar, GrammarError, Grammars};
use seal_model::{
    Decoder, Finish, Generated, Generator, Limits, Request, SamplingConfig, TokenMask, Tokenizer,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tiny::{BYTE_VOCABULARY, END, byte_tokenizer, decoder_with, fallback_tokenizer};

/// A model that writes whatever its weights say, with its tokenizer.
struct Scribe {
    decoder: Decoder,
    tokenizer: Arc<Tokenizer>,
    grammars: Grammars,
}

impl Scribe {
    fn new(tokenizer: Tokenizer, vocab_size: usize, end: u32) -> Self {
        let decoder = decoder_with(vocab_size, end, 1024);
        let grammars = Grammars::new(&tokenizer, decoder.config()).unwrap();
        Self { decoder, tokenizer: Arc::new(tokenizer), grammars }
    }

    fn byte_level() -> Self {
        Self::new(byte_tokenizer(), BYTE_VOCABULARY, END)
    }

    /// With rows in the model that no token has, as real models have them.
    fn byte_fallback() -> Self {
        let tokenizer = fallback_tokenizer();
        let size = tokenizer.vocab_size() + 9;
        Self::new(tokenizer, size, 2)
    }

    fn both() -> [Self; 2] {
        [Self::byte_level(), Self::byte_fallback()]
    }

    fn compile(&self, grammar: &Grammar) -> CompiledGrammar {
        self.grammars.compile(grammar).unwrap_or_else(|error| panic!("{grammar:?}: {error}"))
    }

    /// One text for each seed, all in one batch.
    fn write(
        &self,
        grammar: Option<&CompiledGrammar>,
        seeds: std::ops::Range<u64>,
        sampling: &SamplingConfig,
    ) -> Vec<Generated> {
        let mut generator =
            Generator::new(&self.decoder, Limits::default()).with_tokenizer(self.tokenizer.clone());
        for seed in seeds {
            generator.submit(self.request(grammar, seed, sampling)).unwrap();
        }
        generator.write_all(&mut |_| {}).unwrap()
    }

    fn request(
        &self,
        grammar: Option<&CompiledGrammar>,
        seed: u64,
        sampling: &SamplingConfig,
    ) -> Request {
        Request {
            prompt: vec![65, 66, 67],
            adapter: None,
            seed,
            sampling: Arc::new(sampling.clone()),
            constraint: grammar.map(CompiledGrammar::constraint),
        }
    }
}

fn hot() -> SamplingConfig {
    SamplingConfig { max_new_tokens: 900, temperature: 1.5, ..SamplingConfig::default() }
}

fn text(generated: &Generated) -> &str {
    assert!(generated.finish.is_complete(), "{generated:?}");
    generated.text.as_deref().unwrap()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    title: String,
    kind: Kind,
    lines: Vec<Line>,
    weight: f64,
    extra: Option<BTreeMap<String, bool>>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Fact,
    Question,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: u8,
    code: String,
    next: Option<()>,
}

fn edit_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "title": {"type": "string", "minLength": 1, "maxLength": 12},
            "kind": {"enum": ["fact", "question"]},
            "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}, "minItems": 1,
                "maxItems": 3},
            "weight": {"type": "number", "minimum": 0, "maximum": 1},
            "extra": {"anyOf": [{"type": "null"}, {"type": "object", "properties": {
                "a/b": {"type": "boolean"}, "é": {"type": "boolean"}},
                "additionalProperties": false}]},
        },
        "required": ["title", "kind", "lines", "weight"],
        "additionalProperties": false,
        "$defs": {"line": {
            "type": "object",
            "properties": {
                "id": {"type": "integer", "minimum": 3, "maximum": 250},
                "code": {"type": "string", "pattern": "^[a-f]{2}-[0-9]{1,3}$"},
                "next": {"anyOf": [{"$ref": "#/$defs/nothing"}, {"$ref": "#/$defs/nothing"}]},
            },
            "required": ["id", "code"],
            "additionalProperties": false,
        }, "nothing": {"type": "null"}},
    })
}

fn check_line(line: &Line) {
    assert!((3..=250).contains(&line.id), "{line:?}");
    let (letters, digits) = line.code.split_once('-').unwrap();
    assert!(letters.len() == 2 && letters.chars().all(|c| ('a'..='f').contains(&c)), "{line:?}");
    assert!((1..=3).contains(&digits.len()) && digits.chars().all(|c| c.is_ascii_digit()));
    assert_eq!(line.next, None);
}

#[test]
fn every_text_under_a_schema_is_a_value_of_it() {
    for scribe in Scribe::both() {
        let grammar = scribe.compile(&Grammar::JsonSchema(edit_schema()));
        let mut kinds = Vec::new();
        for generated in scribe.write(Some(&grammar), 0..100, &hot()) {
            let text = text(&generated);
            let edit: Edit = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
            assert!((1..=12).contains(&edit.title.chars().count()), "{text}");
            assert!((1..=3).contains(&edit.lines.len()) && (0.0..=1.0).contains(&edit.weight));
            edit.lines.iter().for_each(check_line);
            if let Some(extra) = &edit.extra {
                assert!(extra.keys().all(|key| key == "a/b" || key == "é"), "{text}");
            }
            kinds.push(edit.kind);
        }
        assert!(
            kinds.contains(&Kind::Fact) && kinds.contains(&Kind::Question),
            "the model chooses"
        );
    }
}

#[test]
fn every_text_under_a_regular_expression_matches_it_as_a_whole() {
    for scribe in Scribe::both() {
        let regex = "(the |é🙂|漢字|[x-z]{2,4})+-[0-9]{3}";
        let grammar = scribe.compile(&Grammar::Regex(regex.to_owned()));
        for generated in scribe.write(Some(&grammar), 0..100, &hot()) {
            let text = text(&generated);
            let (words, digits) = text.split_at(text.len() - 4);
            assert!(
                digits.strip_prefix('-').unwrap().chars().all(|c| c.is_ascii_digit()),
                "{text}"
            );
            let rest =
                ["the ", "é🙂", "漢字"].iter().fold(words.to_owned(), |t, w| t.replace(w, "|"));
            let runs = rest.split('|').filter(|run| !run.is_empty());
            for run in runs {
                assert!(run.len() >= 2 && run.chars().all(|c| ('x'..='z').contains(&c)), "{text}");
            }
        }
    }
}

#[test]
fn every_text_under_a_lark_grammar_is_one_of_its_sentences() {
    let lark = r#"
        start: sum
        sum: product ("+" product){1,2}
        product: NUMBER ("*" "(" NUMBER ")")?
        NUMBER: /[1-9][0-9]?/
    "#;
    for scribe in Scribe::both() {
        let grammar = scribe.compile(&Grammar::Lark(lark.to_owned()));
        for generated in scribe.write(Some(&grammar), 0..100, &hot()) {
            let text = text(&generated);
            let products: Vec<&str> = text.split('+').collect();
            assert!((2..=3).contains(&products.len()), "{text}");
            for factor in products.iter().flat_map(|product| product.split('*')) {
                let number: u8 = factor.trim_matches(['(', ')']).parse().unwrap();
                assert!((1..=99).contains(&number), "{text}");
            }
        }
    }
}

#[test]
fn the_end_of_the_grammar_ends_the_text() {
    for scribe in Scribe::both() {
        let fixed = scribe.compile(&Grammar::Regex("the é12".to_owned()));
        let generated = &scribe.write(Some(&fixed), 1..2, &hot())[0];
        assert_eq!((generated.finish, text(generated)), (Finish::Constraint, "the é12"));
        // Where more could follow, the model says when to end.
        let open = scribe.compile(&Grammar::Regex("a+".to_owned()));
        let texts = scribe.write(Some(&open), 0..30, &hot());
        let ended = |t: &&Generated| matches!(t.finish, Finish::EndToken(_));
        assert!(texts.iter().filter(ended).count() > 10);
        assert!(texts.iter().all(|t| t.text.as_deref().unwrap().chars().all(|c| c == 'a')));
    }
}

#[test]
fn a_special_token_is_part_of_no_text() {
    for scribe in Scribe::both() {
        let anything = scribe.compile(&Grammar::Regex("(?s:.*)".to_owned()));
        let mask = anything.constraint().allowed().unwrap();
        let ends = &scribe.decoder.config().eos_token_ids;
        for token in 0..u32::try_from(scribe.decoder.config().vocab_size).unwrap() {
            let text = !scribe.tokenizer.decode_plain(&[token]).is_empty();
            assert!(!mask.allows(token) || text || ends.contains(&token), "token {token}");
        }
        assert!(!mask.is_empty() && mask != TokenMask::all(scribe.decoder.config().vocab_size));
    }
}

#[test]
fn grammar_and_seed_fix_the_text_alone_and_beside_free_texts() {
    let scribe = Scribe::byte_level();
    let grammar = scribe.compile(&Grammar::JsonSchema(edit_schema()));
    let alone: Vec<Generated> =
        (0..6).flat_map(|seed| scribe.write(Some(&grammar), seed..seed + 1, &hot())).collect();
    let free = SamplingConfig { max_new_tokens: 30, ..hot() };
    let mut generator =
        Generator::new(&scribe.decoder, Limits::default()).with_tokenizer(scribe.tokenizer.clone());
    for seed in 0..6 {
        generator.submit(scribe.request(Some(&grammar), seed, &hot())).unwrap();
        generator.submit(scribe.request(None, seed, &free)).unwrap();
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    let together = pool.install(|| generator.write_all(&mut |_| {}).unwrap());
    assert!(together.iter().step_by(2).eq(&alone));
    let free = scribe.write(None, 0..6, &free);
    assert!(together.iter().skip(1).step_by(2).eq(&free));
}

#[test]
fn asking_for_log_probabilities_changes_no_token() {
    let scribe = Scribe::byte_level();
    let grammar = scribe.compile(&Grammar::JsonSchema(edit_schema()));
    let judged = SamplingConfig { log_probs: Some(1), ..hot() };
    let plain = scribe.write(Some(&grammar), 0..8, &hot());
    for (plain, judged) in plain.iter().zip(scribe.write(Some(&grammar), 0..8, &judged)) {
        assert_eq!(plain.tokens, judged.tokens);
        assert_eq!(judged.log_probs.len(), judged.tokens.len());
    }
}

#[test]
fn a_tokenizer_whose_tokens_are_words_is_refused() {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../miniature/base");
    let tokenizer = Tokenizer::load(&base).unwrap();
    let refused = Grammars::new(&tokenizer, &tiny::config()).err().unwrap();
    assert!(matches!(refused, GrammarError::Tokenizer(_)), "{refused}");
}

#[track_caller]
fn refuse_schema(grammars: &Grammars, schema: Value) -> GrammarError {
    grammars
        .compile(&Grammar::JsonSchema(schema.clone()))
        .err()
        .unwrap_or_else(|| panic!("{schema}"))
}

#[test]
fn a_schema_that_is_wrong_is_refused_by_its_path() {
    let scribe = Scribe::byte_level();
    let wrong = [
        (
            "#/properties/age/minimum",
            json!({"properties": {"age": {"type": "integer", "minimum": "x"}}}),
        ),
        ("#/properties/a/items", json!({"properties": {"a": {"items": {"type": "strin"}}}})),
        (
            "#/$defs/n/properties/m",
            json!({"$ref": "#/$defs/n", "$defs": {"n": {
            "properties": {"m": {"type": "string", "pattern": "("}}}}}),
        ),
        ("#/anyOf/1", json!({"anyOf": [{"type": "null"}, {"not": {"type": "string"}}]})),
        ("#/properties/f", json!({"properties": {"f": {"type": "string", "format": "no-such"}}})),
        ("#/items/oneOf", json!({"items": {"oneOf": [{"type": "string"}, {"maxLength": 3}]}})),
        (
            "#/properties/r/$ref",
            json!({"properties": {"r": {"$ref": "https://example.org/s.json"}}}),
        ),
        ("#/properties/r/$ref", json!({"properties": {"r": {"$ref": "other.json#/a"}}})),
        ("#/properties/n/maxLength", json!({"properties": {"n": {"maxLength": 1e12}}})),
        ("#/x-guidance", json!({"x-guidance": {"whitespace_pattern": ".*"}})),
        ("#/type", json!({"type": 5})),
        ("#", json!([1, 2])),
        ("#", json!({"$ref": "#"})),
        ("#", json!({"type": "integer", "minimum": 5, "maximum": 4})),
    ];
    for (path, schema) in wrong {
        let error = refuse_schema(&scribe.grammars, schema.clone());
        let GrammarError::Schema { path: found, .. } = &error else { panic!("{error:?}") };
        assert!(path.starts_with(found.as_str()), "{schema}: {error}");
    }
}

#[test]
fn hostile_grammars_are_refused_or_compiled_and_nothing_else() {
    let scribe = Scribe::byte_level();
    let mut deep = json!({"type": "null"});
    for _ in 0..100 {
        deep = json!({"items": deep});
    }
    let pairs = |n: usize| -> Vec<Value> {
        (0..n)
            .map(|i| {
                json!({"anyOf": [{"properties": {format!("p{i}"): {"type": "null"}}},
            {"properties": {format!("q{i}"): {"type": "string"}}}]})
            })
            .collect()
    };
    let wide: BTreeMap<String, Value> =
        (0..30_000).map(|i| (format!("p{i}"), json!({"type": "string"}))).collect();
    let grammars = vec![
        ("deep", false, Grammar::JsonSchema(deep)),
        ("wide", false, Grammar::JsonSchema(json!({"properties": wide}))),
        ("product", false, Grammar::JsonSchema(json!({"allOf": pairs(30)}))),
        ("loop", false, Grammar::JsonSchema(json!({"$ref": "#"}))),
        ("loop all", false, Grammar::JsonSchema(json!({"allOf": [{"$ref": "#"}, {"$ref": "#"}]}))),
        (
            "loop any",
            false,
            Grammar::JsonSchema(json!({"$ref": "#/$defs/a", "$defs": {
            "a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"allOf": [{"$ref": "#/$defs/a"}]}}})),
        ),
        ("ref nowhere", false, Grammar::JsonSchema(json!({"$ref": "#/$defs/none"}))),
        (
            "items",
            true,
            Grammar::JsonSchema(json!({"items": {"items": {"items": {"type": "string",
            "maxLength": 9999}, "maxItems": 9999}, "maxItems": 9999}, "minItems": 9999})),
        ),
        (
            "lengths",
            false,
            Grammar::JsonSchema(json!({"minLength": 9998, "maxLength": 9999,
            "pattern": "^(a|ab|abc)*(b|c){9,99}"})),
        ),
        (
            "multiple",
            false,
            Grammar::JsonSchema(json!({"type": "integer", "multipleOf": 123_456_789,
            "minimum": 1, "maximum": 1e300})),
        ),
        ("enum", true, Grammar::JsonSchema(json!({"enum": (0..19_000).collect::<Vec<u32>>()}))),
        ("repeats", true, Grammar::Regex("((a{1000}){1000}){1000}".to_owned())),
        ("suffix", true, Grammar::Regex("(a|b)*a(a|b){60}".to_owned())),
        ("unicode", true, Grammar::Regex(r"(\p{L}{900}){900}".to_owned())),
        ("nested", false, Grammar::Regex(format!("{}a{}", "(".repeat(9999), ")".repeat(9999)))),
        ("long", false, Grammar::Regex("a".repeat(1 << 20))),
        ("look", false, Grammar::Regex("(?=a)b".to_owned())),
        ("empty lark", false, Grammar::Lark(String::new())),
        ("left", false, Grammar::Lark("start: start \"a\"".to_owned())),
        ("forever", true, Grammar::Lark("start: start start | start | \"\"".to_owned())),
        (
            "ambiguous",
            true,
            Grammar::Lark("start: a a a a a a a a\na: \"x\" a | a \"x\" | \"\"".to_owned()),
        ),
        ("special", false, Grammar::Lark("start: <|end|> \"a\"".to_owned())),
        ("file", true, Grammar::Lark("%import common.NUMBER\nstart: NUMBER".to_owned())),
        ("json", false, Grammar::Lark("start: %json {\"$ref\": \"#\"}".to_owned())),
    ];
    for (name, compiles, grammar) in grammars {
        match scribe.grammars.compile(&grammar) {
            Err(error) => {
                assert!(!compiles, "{name}: {error}");
                assert!(!error.to_string().contains("panic"), "{name}: {error}");
            }
            Ok(compiled) => {
                assert!(compiles, "{name} compiled");
                let mut constraint = compiled.constraint();
                for _ in 0..100 {
                    let Ok(mask) = constraint.allowed() else { break };
                    let Some(token) = (0..256).find(|&token| mask.allows(token)) else { break };
                    if constraint.accept(token).is_err() || constraint.is_done() {
                        break;
                    }
                }
            }
        }
    }
}

#[test]
fn the_tokens_of_a_text_follow_the_grammar_that_is_this_text() {
    for scribe in Scribe::both() {
        for text in ["the other", "a é 漢字🙂\n", "{\"in\":12, \"x\": \"the\"}", "  \t "] {
            let literal: String =
                text.chars().map(|c| format!("\\x{{{:x}}}", u32::from(c))).collect();
            let mut constraint = scribe.compile(&Grammar::Regex(literal)).constraint();
            let tokens = scribe.tokenizer.encode(text).unwrap();
            for (at, &token) in tokens.iter().enumerate() {
                assert!(!constraint.is_done(), "{text:?}");
                assert!(constraint.allowed().unwrap().allows(token), "{text:?}: token {at}");
                constraint.accept(token).unwrap();
            }
            assert!(constraint.is_done(), "{text:?} is whole");
        }
    }
}
