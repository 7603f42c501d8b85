//! What ends a text besides its tokens: strings found across token borders, and constraints.

#![allow(clippy::unwrap_used)]

mod tiny;

use seal_model::{
    Decoder, Event, Finish, Generated, Generator, Limits, ModelError, Request, SamplingConfig,
    TokenConstraint, TokenMask, Tokenizer,
};
use std::ops::ControlFlow;
use std::sync::Arc;
use tiny::{BYTE_VOCABULARY, END, byte_tokenizer, decoder_with};

fn decoder() -> Decoder {
    decoder_with(BYTE_VOCABULARY, END, 256)
}

fn request(sampling: SamplingConfig, seed: u64) -> Request {
    Request {
        prompt: vec![65, 66],
        adapter: None,
        seed,
        sampling: Arc::new(sampling),
        constraint: None,
    }
}

/// Writes exactly these tokens, whatever the model wants.
struct Dictated {
    tokens: Vec<u32>,
    written: usize,
    /// Tokens offered as forced at once.
    run: usize,
    /// The text is whole after the last token; else an end token must follow.
    closes: bool,
}

impl Dictated {
    fn new(tokens: &[u32]) -> Self {
        Self { tokens: tokens.to_vec(), written: 0, run: 0, closes: true }
    }
}

impl TokenConstraint for Dictated {
    fn allowed(&mut self) -> Result<TokenMask, ModelError> {
        let mut mask = TokenMask::none(BYTE_VOCABULARY);
        mask.allow(self.tokens.get(self.written).copied().unwrap_or(END));
        Ok(mask)
    }

    fn accept(&mut self, token: u32) -> Result<(), ModelError> {
        assert_eq!(token, self.tokens[self.written]);
        self.written += 1;
        Ok(())
    }

    fn is_done(&mut self) -> bool {
        self.closes && self.written == self.tokens.len()
    }

    fn forced(&mut self) -> Vec<u32> {
        let end = self.tokens.len().min(self.written + self.run);
        self.tokens[self.written..end].to_vec()
    }
}

/// Everything the listener heard of one text, and its end.
fn hear(request: Request, tokenizer: Tokenizer) -> (Vec<String>, Result<Generated, ModelError>) {
    let mut generator =
        Generator::new(&decoder(), Limits::default()).with_tokenizer(Arc::new(tokenizer));
    generator.submit(request).unwrap();
    let (mut heard, mut end) = (Vec::new(), None);
    generator
        .run(&mut |_, event| {
            match event {
                Event::Token { text, .. } => heard.push(text.to_owned()),
                Event::End(text) => end = Some(text),
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    (heard, end.unwrap())
}

fn dictate(tokens: &[u32], sampling: SamplingConfig) -> (Vec<String>, Generated) {
    let dictated: Box<dyn TokenConstraint> = Box::new(Dictated::new(tokens));
    let request = Request { constraint: Some(dictated), ..request(sampling, 1) };
    let (heard, end) = hear(request, byte_tokenizer());
    (heard, end.unwrap())
}

/// One token for each byte.
fn bytes(text: &str) -> Vec<u32> {
    text.bytes().map(u32::from).collect()
}

fn stops(strings: &[&str]) -> SamplingConfig {
    let stop_strings = strings.iter().map(|&s| s.to_owned()).collect();
    SamplingConfig { stop_strings, ..SamplingConfig::default() }
}

#[test]
fn a_stop_string_ends_the_text_wherever_its_tokens_begin() {
    let tokenizer = byte_tokenizer();
    let text = "all in the end, or not";
    for tokens in [bytes(text), tokenizer.encode(text).unwrap()] {
        for (stop, before) in [("the", "all in "), ("n t", "all i"), ("end, or", "all in the ")] {
            let (heard, end) = dictate(&tokens, stops(&["zzz", stop]));
            assert_eq!(end.finish, Finish::StopString(1));
            assert_eq!(end.text.as_deref(), Some(before));
            assert_eq!(heard.concat(), before, "nothing of the stop string is shown");
            assert!(tokenizer.decode(&end.tokens).contains(stop));
            let shorter = tokenizer.decode(&end.tokens[..end.tokens.len() - 1]);
            assert!(!shorter.contains(stop), "it ended at once");
        }
    }
}

#[test]
fn the_first_stop_string_in_the_text_counts() {
    let (_, end) = dictate(&bytes("one two three"), stops(&["two three", "wo", "two t"]));
    assert_eq!((end.finish, end.text.as_deref()), (Finish::StopString(1), Some("one t")));
    let (_, end) = dictate(&bytes("one"), stops(&["onex", "two"]));
    assert_eq!((end.finish, end.text.as_deref()), (Finish::Constraint, Some("one")));
}

#[test]
fn what_may_become_a_stop_string_is_shown_once_it_cannot() {
    let (heard, end) = dictate(&bytes("a##b###"), stops(&["###"]));
    assert_eq!(heard, ["a", "", "", "##b", "", "", ""]);
    assert_eq!((end.finish, end.text.as_deref()), (Finish::StopString(0), Some("a##b")));
    let (heard, end) = dictate(&bytes("a##"), stops(&["###"]));
    assert_eq!(heard, ["a", "", "##"]);
    assert_eq!(end.text.as_deref(), Some("a##"));
}

#[test]
fn characters_of_several_tokens_are_shown_whole() {
    let (heard, end) = dictate(&bytes("é🙂."), stops(&["🙂."]));
    assert_eq!(heard, ["", "é", "", "", "", "", ""]);
    assert_eq!((end.finish, end.text.as_deref()), (Finish::StopString(0), Some("é")));
    // Cut off inside a character, and bytes that are none.
    let (heard, end) = dictate(&bytes("x🙂")[..3], stops(&[]));
    assert_eq!(heard[0], "x");
    assert_eq!(end.text.as_deref(), Some("x\u{fffd}"));
    let garbage: Vec<u32> = vec![0x80; 30];
    let (heard, end) = dictate(&garbage, stops(&[]));
    assert!(heard.iter().any(|text| !text.is_empty()), "not held back for ever");
    assert_eq!(end.text.unwrap(), heard.concat());
}

#[test]
fn a_special_token_is_no_text_but_may_be_a_stop_string() {
    let special = SamplingConfig { stop: vec![90], ..stops(&["<|end|>"]) };
    let decoder = decoder_with(BYTE_VOCABULARY, 0, 256);
    let mut generator =
        Generator::new(&decoder, Limits::default()).with_tokenizer(Arc::new(byte_tokenizer()));
    let constraint = Box::new(Dictated { closes: false, ..Dictated::new(&bytes("hi")) });
    generator.submit(Request { constraint: Some(constraint), ..request(special, 0) }).unwrap();
    let text = generator.write_all(&mut |_| {}).unwrap().remove(0);
    assert_eq!((text.finish, text.text.as_deref()), (Finish::StopString(0), Some("hi")));
}

#[test]
fn a_shown_text_is_the_decoded_text_whatever_the_model_writes() {
    let tokenizer = byte_tokenizer();
    for seed in 0..30 {
        let sampling = SamplingConfig { max_new_tokens: 40, ..stops(&["e", "in"]) };
        let (heard, end) = hear(request(sampling, seed), byte_tokenizer());
        let end = end.unwrap();
        let text = end.text.unwrap();
        assert_eq!(heard.concat(), text);
        assert_eq!(heard.len(), end.tokens.len());
        assert!(!text.contains("e") && !text.contains("in"), "{text}");
        let decoded = tokenizer.decode_plain(&end.tokens);
        assert!(decoded.starts_with(&text), "{decoded:?} begins with {text:?}");
        assert_eq!(matches!(end.finish, Finish::StopString(_)), decoded != text, "{decoded:?}");
    }
}

#[test]
fn an_early_stop_string_is_ignored_until_the_text_is_long_enough() {
    let sampling = SamplingConfig { min_new_tokens: 5, ..stops(&["b"]) };
    let (_, end) = dictate(&bytes("abcdeabc"), sampling);
    assert_eq!(end.text.as_deref(), Some("abcdea"));
}

#[test]
fn a_constraint_decides_every_token_and_the_end() {
    let tokens = bytes("dictated");
    for run in [0, 3, 100] {
        for closes in [true, false] {
            let constraint = Box::new(Dictated { run, closes, ..Dictated::new(&tokens) });
            let sampling = SamplingConfig { temperature: 3.0, ..SamplingConfig::default() };
            let request = Request { constraint: Some(constraint), ..request(sampling, 4) };
            let (heard, end) = hear(request, byte_tokenizer());
            let end = end.unwrap();
            assert_eq!(heard.concat(), "dictated");
            assert_eq!(end.content(), tokens);
            let expected = if closes { Finish::Constraint } else { Finish::EndToken(END) };
            assert_eq!(end.finish, expected);
        }
    }
}

#[test]
fn forced_tokens_change_no_later_token() {
    // After eight dictated tokens anything goes.
    struct Opening(Dictated);
    impl TokenConstraint for Opening {
        fn allowed(&mut self) -> Result<TokenMask, ModelError> {
            match self.0.written < self.0.tokens.len() {
                true => self.0.allowed(),
                false => Ok(TokenMask::all(BYTE_VOCABULARY)),
            }
        }
        fn accept(&mut self, token: u32) -> Result<(), ModelError> {
            if self.0.written < self.0.tokens.len() { self.0.accept(token) } else { Ok(()) }
        }
        fn is_done(&mut self) -> bool {
            false
        }
        fn forced(&mut self) -> Vec<u32> {
            self.0.forced()
        }
    }
    let write = |run| {
        let opening = Opening(Dictated { run, ..Dictated::new(&bytes("and then")) });
        let greedy = SamplingConfig { temperature: 0.0, max_new_tokens: 40, ..stops(&[]) };
        let request = Request { constraint: Some(Box::new(opening)), ..request(greedy, 4) };
        hear(request, byte_tokenizer()).1.unwrap()
    };
    assert_eq!(write(0), write(4));
    assert_eq!(write(0).tokens[..8], bytes("and then"));
}

#[test]
fn constrained_and_free_texts_share_a_batch() {
    let free = |seed| request(SamplingConfig { max_new_tokens: 12, ..stops(&[]) }, seed);
    let mut generator = Generator::new(&decoder(), Limits::default());
    generator.submit(free(1)).unwrap();
    let dictated: Box<dyn TokenConstraint> = Box::new(Dictated::new(&bytes("fixed")));
    generator.submit(Request { constraint: Some(dictated), ..free(2) }).unwrap();
    generator.submit(free(3)).unwrap();
    let together = generator.write_all(&mut |_| {}).unwrap();
    assert_eq!(together[1].tokens, bytes("fixed"));
    for (at, seed) in [(0, 1), (2, 3)] {
        let mut alone = Generator::new(&decoder(), Limits::default());
        alone.submit(free(seed)).unwrap();
        assert_eq!(alone.write_all(&mut |_| {}).unwrap()[0], together[at]);
    }
}

#[test]
fn a_constraint_that_allows_nothing_or_fails_is_an_error_of_its_text() {
    struct Broken(bool);
    impl TokenConstraint for Broken {
        fn allowed(&mut self) -> Result<TokenMask, ModelError> {
            match self.0 {
                true => Err(ModelError::Input("the grammar is too complex".into())),
                false => Ok(TokenMask::none(BYTE_VOCABULARY)),
            }
        }
        fn accept(&mut self, _: u32) -> Result<(), ModelError> {
            Ok(())
        }
        fn is_done(&mut self) -> bool {
            false
        }
    }
    for (fails, message) in [(true, "too complex"), (false, "allows no token")] {
        let broken: Box<dyn TokenConstraint> = Box::new(Broken(fails));
        let request = Request { constraint: Some(broken), ..request(stops(&[]), 0) };
        let error = hear(request, byte_tokenizer()).1.unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}
