//! From a policy's reply to the lines of a self-edit.
//!
//! A reply reads `directive* line (separator line)* end`. Directives are kept as labels and stripped
//! from what is trained on; duplicate lines and lines with a stray control word are dropped.
//!
//! **Invariant:** pure; a reply that yields no edit is a typed outcome, never a panic.

use std::collections::BTreeSet;

use serde::Deserialize;

/// `[prompt_family]` of `teacher.toml`: how a prompt is written and a reply is read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptFamily {
    /// Its name, recorded in every edit.
    pub name: String,
    /// First token of the prompt.
    pub start: String,
    /// The prompt; `{context}` stands for the context's text.
    pub prompt: String,
    /// Word between two lines.
    pub line_separator: String,
    /// Word that ends a reply.
    pub end: String,
    /// Words at the head of a reply that start so are directives.
    pub directive_prefixes: Vec<String>,
    /// Control words that no context and no line may hold, beside those named above.
    #[serde(default)]
    pub reserved: Vec<String>,
}

/// What a reply says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParsedReply {
    /// The directives, in order.
    pub labels: Vec<String>,
    /// The distinct lines, in order of first appearance.
    pub lines: Vec<String>,
}

/// Why a reply yields no edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unparsed {
    /// Nothing was written.
    #[error("the reply is empty")]
    Empty,
    /// The sampler's limit came before the end.
    #[error("the reply has no end marker: it was cut off at the token limit")]
    NoEnd,
    /// Only directives, separators or lines with control words.
    #[error("the reply has no line to train on")]
    NoLines,
}

impl PromptFamily {
    /// Whether a word steers the policy and is no part of any text.
    pub fn is_control(&self, word: &str) -> bool {
        let named = [&self.start, &self.line_separator, &self.end];
        named.into_iter().any(|control| control == word)
            || self.reserved.iter().any(|control| control == word)
            || self.is_directive(word)
    }

    /// Whether a word at the head of a reply is a directive.
    pub fn is_directive(&self, word: &str) -> bool {
        let mut prefixes = self.directive_prefixes.iter();
        prefixes.any(|prefix| word.starts_with(prefix.as_str()))
    }

    /// Splits a reply into labels and distinct lines.
    ///
    /// # Errors
    /// The reply is empty, does not end, or holds no usable line.
    pub fn parse(&self, words: &[String]) -> Result<ParsedReply, Unparsed> {
        let end = words.iter().position(|word| *word == self.end);
        let body = match end {
            None if words.is_empty() => return Err(Unparsed::Empty),
            None => return Err(Unparsed::NoEnd),
            Some(0) => return Err(Unparsed::Empty),
            Some(end) => &words[..end],
        };
        let head = body.iter().take_while(|word| self.is_directive(word));
        let labels: Vec<String> = head.cloned().collect();
        let lines = self.distinct_lines(&body[labels.len()..]);
        if lines.is_empty() {
            return Err(Unparsed::NoLines);
        }
        Ok(ParsedReply { labels, lines })
    }

    fn distinct_lines(&self, words: &[String]) -> Vec<String> {
        let mut seen = BTreeSet::new();
        words
            .split(|word| *word == self.line_separator)
            .filter(|line| !line.is_empty() && !line.iter().any(|word| self.is_control(word)))
            .map(|line| line.join(" "))
            .filter(|line| seen.insert(line.clone()))
            .collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn family() -> PromptFamily {
        PromptFamily {
            name: "plan-and-lines".to_owned(),
            start: "<bos>".to_owned(),
            prompt: "{context} <edit>".to_owned(),
            line_separator: "<nl>".to_owned(),
            end: "<eos>".to_owned(),
            directive_prefixes: vec!["plan_".to_owned(), "size_".to_owned()],
            reserved: vec!["<edit>".to_owned(), "<pad>".to_owned()],
        }
    }

    fn parse(reply: &str) -> Result<ParsedReply, Unparsed> {
        let words: Vec<String> = reply.split_whitespace().map(str::to_owned).collect();
        family().parse(&words)
    }

    #[test]
    fn directives_become_labels_and_lines_keep_their_order() {
        let parsed = parse("plan_mixed size_6 b c . <nl> a . <eos>").unwrap();
        assert_eq!(parsed.labels, ["plan_mixed", "size_6"]);
        assert_eq!(parsed.lines, ["b c .", "a ."]);
    }

    #[test]
    fn duplicate_lines_are_dropped() {
        let parsed = parse("a . <nl> b . <nl> a . <eos>").unwrap();
        assert_eq!(parsed.lines, ["a .", "b ."]);
    }

    #[test]
    fn a_line_with_a_control_word_is_never_trained_on() {
        let parsed = parse("plan_qa a . <nl> b <edit> c <nl> d size_3 <nl> <bos> e <eos>").unwrap();
        assert_eq!(parsed.lines, ["a ."]);
    }

    #[test]
    fn words_after_the_end_do_not_count() {
        assert_eq!(parse("a . <eos> b . <nl>").unwrap().lines, ["a ."]);
    }

    #[test]
    fn replies_without_an_edit_say_why() {
        assert_eq!(parse(""), Err(Unparsed::Empty));
        assert_eq!(parse("<eos>"), Err(Unparsed::Empty));
        assert_eq!(parse("plan_qa a . <nl> b ."), Err(Unparsed::NoEnd));
        assert_eq!(parse("plan_qa size_3 <eos>"), Err(Unparsed::NoLines));
        assert_eq!(parse("<nl> <nl> <eos>"), Err(Unparsed::NoLines));
    }
}
