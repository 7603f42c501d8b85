//! A template's source, made ready for the engine.
//!
//! **Invariant:** what a template nests is bounded before anything recurses over it.

use super::error::ChatError;
use super::functions::GENERATION;
use minijinja::machinery::{Token, WhitespaceConfig, tokenize};
use minijinja::syntax::SyntaxConfig;
use std::borrow::Cow;
use std::ops::Range;

/// Longest template, in bytes. The longest that we know have 40 KB.
pub(super) const MAX_BYTES: usize = 256 << 10;
/// Most tokens of one `{{ … }}` or `{% … %}`.
const MAX_TAG_TOKENS: usize = 1000;
/// Most `elif` of one template: each nests in the one before it.
const MAX_ELIFS: usize = 500;
/// White space as transformers has it.
pub(super) const WHITESPACE: WhitespaceConfig =
    WhitespaceConfig { keep_trailing_newline: false, lstrip_blocks: true, trim_blocks: true };

/// The source with `\n` as its only line end and each `{% generation %}` as a call that the engine
/// knows; and whether it has such blocks.
pub(super) fn prepare(source: &str) -> Result<(String, bool), ChatError> {
    if source.len() > MAX_BYTES {
        return Err(ChatError::Limit("256 KiB"));
    }
    let source = if source.contains('\r') {
        Cow::Owned(source.replace("\r\n", "\n").replace('\r', "\n"))
    } else {
        Cow::Borrowed(source)
    };
    let edits = edits(&source)?;
    let mut prepared = String::with_capacity(source.len() + 16 * edits.len());
    let mut copied = 0;
    for (place, replacement) in &edits {
        prepared.push_str(&source[copied..place.start]);
        prepared.push_str(replacement);
        copied = place.end;
    }
    prepared.push_str(&source[copied..]);
    Ok((prepared, !edits.is_empty()))
}

/// Where the words `generation` and `endgeneration` stand as tags, and what takes their place.
fn edits(source: &str) -> Result<Vec<(Range<usize>, String)>, ChatError> {
    let mut edits = Vec::new();
    let (mut in_tag, mut opens_block, mut elifs) = (0, false, 0);
    for token in tokenize(source, false, SyntaxConfig, WHITESPACE) {
        // What is no token is told by the parser, with its place.
        let Ok((token, span)) = token else { break };
        match &token {
            Token::BlockStart | Token::VariableStart | Token::TemplateData(_) => in_tag = 0,
            Token::Ident(word) if opens_block => {
                let place = span.start_offset as usize..span.end_offset as usize;
                match *word {
                    "generation" => edits.push((place, format!("call {GENERATION}()"))),
                    "endgeneration" => edits.push((place, "endcall".to_owned())),
                    "elif" => elifs += 1,
                    _ => {}
                }
            }
            _ => {}
        }
        opens_block = matches!(token, Token::BlockStart);
        in_tag += 1;
        if in_tag > MAX_TAG_TOKENS || elifs > MAX_ELIFS {
            return Err(ChatError::Limit("1000 words in a tag or 500 `elif`"));
        }
    }
    Ok(edits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_blocks_become_calls_where_they_are_tags_and_nowhere_else() {
        let (prepared, has) = prepare("{%- generation -%}a{% endgeneration %}").unwrap();
        assert_eq!(prepared, "{%- call __generation__() -%}a{% endcall %}");
        assert!(has);
        let text = "{% raw %}{% generation %}{% endraw %}{# {% generation %} #}{{ generation }}";
        assert_eq!(prepare(text).unwrap(), (text.to_owned(), false));
        assert_eq!(prepare("a\r\nb\rc").unwrap().0, "a\nb\nc");
    }

    #[test]
    fn what_nests_too_deeply_is_refused_before_it_is_parsed() {
        let nots = format!("{{{{ {} 1 }}}}", "not ".repeat(100_000 / 4));
        let sums = format!("{{{{ 1{} }}}}", " ~ 1".repeat(10_000));
        let elifs = format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(5000));
        for template in [nots, sums, elifs, " ".repeat(MAX_BYTES + 1)] {
            assert!(matches!(prepare(&template), Err(ChatError::Limit(_))));
        }
    }
}
